"""Evaluation of finished runs as tasks: scores, and a comparison that can be a gate."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from airflow_gemini_batch._compat import AirflowFailException
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.evals.scorers import AskingScorer, as_scorers
from airflow_gemini_batch.links import GeminiBatchRunLink
from airflow_gemini_batch.operators._arguments import amount_of, check_arguments, is_resolved_later
from airflow_gemini_batch.operators.base import GeminiOperator

if TYPE_CHECKING:
    import os

    from airflow.sdk import Context, ObjectStoragePath, XComArg
    from typing_extensions import Unpack

    from airflow_gemini_batch.operators._airflow_arguments import GeminiOperatorArguments

log = logging.getLogger(__name__)


class _EvaluationOperator(GeminiOperator):
    """What both share: scorers with their labels, and what their judges may cost."""

    template_fields: Sequence[str] = ("labels", "reuse", "max_cost_usd", *GeminiOperator.template_fields)
    operator_extra_links = (GeminiBatchRunLink(),)
    checked: ClassVar[tuple[str, ...]] = ("reuse", "max_cost_usd", "options")

    def __init__(
        self,
        *,
        scorers: Any,
        labels: Any = None,
        label_key: str = "key",
        reuse: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | XComArg | None = None,
        max_cost_usd: float | str | XComArg | None = None,
        options: BatchOptions | Mapping[str, Any] | None = None,
        **kwargs: Unpack[GeminiOperatorArguments],
    ) -> None:
        super().__init__(**kwargs)
        check_arguments({"reuse": reuse, "max_cost_usd": max_cost_usd, "options": options})
        if scorers is not None and not is_resolved_later(scorers):
            as_scorers(scorers)  # says what is wrong with them
        self.scorers = scorers
        self.label_key = label_key
        self.options = options
        # Any: each may be an XComArg until Airflow has rendered it.
        self.labels: Any = labels
        self.reuse: Any = reuse
        self.max_cost_usd: Any = max_cost_usd

    @property
    def how(self) -> dict[str, Any]:
        """What ``score`` and ``compare`` are told alike. The connection is read only where a judge is asked."""
        from airflow_gemini_batch._locations import locate, plain_source

        asks = self.scorers is not None and any(isinstance(one, AskingScorer) for one in as_scorers(self.scorers))
        return {
            "labels": plain_source(self.labels),
            "label_key": self.label_key,
            "reuse": plain_source(self.reuse),
            "max_cost_usd": amount_of(self.max_cost_usd),
            "options": self.options,
            "endpoint": self.hook.endpoint if asks else None,
            "locate": locate,
            "progress": False,
        }


class GeminiBatchScoreOperator(_EvaluationOperator):
    """Score every row of a finished run, and write ``scores/<name>/part-*.parquet`` below its destination.

    Dead letters are scored as "missing" and never dropped. Judges are asked in batch runs of their own; the task keeps its worker
    slot while it waits for them. If it is killed or retried, it continues, and no verdict is paid for twice.

    It returns the scores as a plain dict: ``destination``, ``name``, ``uri``, ``rows``, ``judge_cost_usd`` and ``scorers``, each
    with ``name``, ``mean`` and the rows that are ``scored``, ``missing``, ``errors`` and ``unlabelled``.

    :param destination: URI of the run, an ``ObjectStoragePath``, or the summary that ``GeminiBatchFinishOperator`` or
        ``GeminiBatchOperator`` returns (their ``.output``). (templated)
    :param scorers: One or a list, as for ``score``: ``ExactMatch(…)`` and its like, ``Judge(…)``, ``PairwiseJudge(…)``,
        ``Scorer(…)``, or functions of a row.
    :param name: Of the scores; scores of that name are replaced. Default: ``default``. (templated)
    :param labels: A table with expected values, joined by key. Default: None. (URIs are templated.)
    :param label_key: The column of ``labels`` that holds the keys. Default: ``key``.
    :param reuse: Other runs, or folders of runs, whose judges' verdicts are taken where the question is the same. (templated)
    :param max_cost_usd: The judges are not asked if that may cost more than this, in all. Default: None, no limit. (templated)
    :param options: Of the judges' runs: a ``BatchOptions``, or a dict of its fields.
    :param gemini_conn_id: The connection's id, which only judges need. Default: ``gemini_default``. (templated)

    Raises InputError while the DAG is parsed, for an argument that cannot be valid. When the task runs, raises
    AirflowFailException when the run is not finished or has no such column, and otherwise what ``GeminiBatchOperator`` raises.
    """

    template_fields: Sequence[str] = ("destination", "name", *_EvaluationOperator.template_fields)
    checked: ClassVar[tuple[str, ...]] = ("destination", *_EvaluationOperator.checked)

    def __init__(
        self,
        *,
        destination: str | os.PathLike[str] | ObjectStoragePath | Mapping[str, Any] | XComArg,
        scorers: Any,
        name: str | XComArg = "default",
        labels: Any = None,
        label_key: str = "key",
        reuse: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | XComArg | None = None,
        max_cost_usd: float | str | XComArg | None = None,
        options: BatchOptions | Mapping[str, Any] | None = None,
        **kwargs: Unpack[GeminiOperatorArguments],
    ) -> None:
        super().__init__(
            scorers=scorers,
            labels=labels,
            label_key=label_key,
            reuse=reuse,
            max_cost_usd=max_cost_usd,
            options=options,
            **kwargs,
        )
        check_arguments({} if isinstance(destination, Mapping) else {"destination": destination})
        self.destination: Any = destination
        self.name: Any = name

    def execute(self, context: Context) -> dict[str, Any]:
        from airflow_gemini_batch._locations import run_uri_of
        from airflow_gemini_batch.evals.scoring import score

        with self.one_pass(context):
            scores = score(run_uri_of(self.destination, "destination"), self.scorers, name=self.name, **self.how)
        log.info("Scored %s: %s", scores.destination, scores)
        return scores.as_dict()


class GeminiBatchCompareOperator(_EvaluationOperator):
    """Compare finished runs of the same keys with a baseline, and decide whether a candidate may replace it.

    It writes ``comparison.json``, the table of pairs and ``report.html`` below the first candidate's ``comparisons/<name>``. With
    a ``margin`` it is a gate: the verdict is "pass" if the loss is smaller than the margin, "fail" if it is larger, each by a
    one-sided bound, and "undecided" if there are too few rows to tell.

    It returns a plain dict, which is in XCom when the task fails by its verdict too: ``uri``, ``verdict``, ``words`` (the finding
    in sentences) and ``candidates``, each with keys, costs and ``scorers``, of which each has the means of both runs,
    ``difference``, ``ci``, ``p_holm``, ``improved``, ``regressed``, ``missing``, ``gate`` with ``rows_needed``, and more.

    :param baseline: URI of the run, or its summary (``.output`` of the operator that made it). (templated)
    :param candidate: The run that is compared with it, likewise, or a list of several. (templated)
    :param scorers: The runs are scored by these first, as ``GeminiBatchScoreOperator`` does. Default: None, the scores that all
        runs have.
    :param scores: Name of the scores that are read, or made. Default: None, those named ``default``, or the only ones that all
        runs have. (templated)
    :param name: Of the comparison; another one of that name is replaced. Default: ``default``. (templated)
    :param labels, label_key, reuse, max_cost_usd, options: As for ``GeminiBatchScoreOperator``, for the scorers.
    :param cluster: A carried column whose values group keys that depend on each other. Default: None, keys are independent.
    :param primary: The scorer that decides, which then needs no correction. Default: None, all, corrected together.
    :param margin: The loss that is accepted, in units of the score, for all scorers or by scorer. Default: None, no verdict.
    :param level: Of the intervals, and of the one-sided bounds of the gate. Default: 0.95.
    :param slices: Carried columns; each of their more frequent values is compared by itself. Default: none.
    :param on_fail: What the verdict "fail" does to the task: "fail" it (the default, without a retry) or "warn".
    :param on_undecided: What the verdict "undecided" does to the task: "warn" (the default) or "fail".
    :param gemini_conn_id: The connection's id, which only judges need. Default: ``gemini_default``. (templated)

    Raises InputError while the DAG is parsed, for an argument that cannot be valid. When the task runs, raises
    AirflowFailException for a verdict that fails it, and when the runs cannot be compared.
    """

    template_fields: Sequence[str] = ("baseline", "candidate", "scores", "name", *_EvaluationOperator.template_fields)
    checked: ClassVar[tuple[str, ...]] = (
        *("baseline", "candidate", "margin", "on_fail", "on_undecided"),
        *_EvaluationOperator.checked,
    )

    def __init__(
        self,
        *,
        baseline: str | os.PathLike[str] | ObjectStoragePath | Mapping[str, Any] | XComArg,
        candidate: Any,
        scorers: Any = None,
        scores: str | XComArg | None = None,
        name: str | XComArg = "default",
        labels: Any = None,
        label_key: str = "key",
        cluster: str | None = None,
        primary: str | None = None,
        margin: float | Mapping[str, float] | None = None,
        level: float = 0.95,
        slices: str | Sequence[str] = (),
        on_fail: Literal["fail", "warn"] = "fail",
        on_undecided: Literal["fail", "warn"] = "warn",
        reuse: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | XComArg | None = None,
        max_cost_usd: float | str | XComArg | None = None,
        options: BatchOptions | Mapping[str, Any] | None = None,
        **kwargs: Unpack[GeminiOperatorArguments],
    ) -> None:
        super().__init__(
            scorers=scorers,
            labels=labels,
            label_key=label_key,
            reuse=reuse,
            max_cost_usd=max_cost_usd,
            options=options,
            **kwargs,
        )
        given = {"baseline": baseline, "candidate": candidate, "margin": margin}
        check_arguments({**given, "on_fail": on_fail, "on_undecided": on_undecided})
        self.baseline: Any = baseline
        self.candidate: Any = candidate
        self.scores: Any = scores
        self.name: Any = name
        self.cluster = cluster
        self.primary = primary
        self.margin = margin
        self.level = level
        self.slices = slices
        self.on_fail = on_fail
        self.on_undecided = on_undecided

    @property
    def destination(self) -> Any:
        """The first candidate: the run whose page has the comparison."""
        return self._candidates[0]

    @property
    def _candidates(self) -> list[Any]:
        several = isinstance(self.candidate, (list, tuple))
        return list(self.candidate) if several else [self.candidate]

    def execute(self, context: Context) -> dict[str, Any]:
        from airflow_gemini_batch._locations import run_uri_of
        from airflow_gemini_batch.evals.comparing.compare import compare
        from airflow_gemini_batch.evals.outcome import outcome_of

        with self.one_pass(context):
            comparison = compare(
                run_uri_of(self.baseline, "baseline"),
                *(run_uri_of(one, "candidate") for one in self._candidates),
                scorers=self.scorers,
                scores=self.scores,
                name=self.name,
                cluster=self.cluster,
                primary=self.primary,
                margin=self.margin,
                level=self.level,
                slices=self.slices,
                **self.how,
            )
        outcome = outcome_of(comparison)
        self._decide(context, outcome)
        return outcome

    def _decide(self, context: Context, outcome: Mapping[str, Any]) -> None:
        """Say the verdict; raise for one that fails the task, with the numbers in XCom."""
        verdict, said = outcome["verdict"], " ".join(outcome["words"])
        policy = {"fail": self.on_fail, "undecided": self.on_undecided}.get(verdict)
        if policy is None:
            log.info("%s%s", "" if verdict is None else f"The verdict is {verdict}. ", said)
            return
        if policy == "warn":
            log.warning("The verdict is %s. %s", verdict, said)
            return
        # A task that fails returns nothing, so Airflow would push nothing.
        context["ti"].xcom_push(key="return_value", value=dict(outcome))
        raise AirflowFailException(f"The verdict is {verdict}. {said} All of it is in {outcome['uri']}.")
