"""The batch runs that judges are: built, finished, and reused, so that no verdict is paid for twice.

<destination>/scores/<name>/_judges/<judge>/<question>-<labels>-<rows>/      a run like any other

The name says what was asked (``Asking.question``), with which labels, and about which rows. So the same call finds the run that
it has begun, and a call about other rows, such as those of a redriven run, makes a run of its own that reuses all verdicts on the
same question.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from airflow_gemini_batch.engine.advance import advance
from airflow_gemini_batch.engine.api import drive
from airflow_gemini_batch.engine.build.budget import meter_of
from airflow_gemini_batch.engine.build.building import build_run
from airflow_gemini_batch.engine.build.call import RunSpec
from airflow_gemini_batch.engine.build.earlier_runs import runs_at
from airflow_gemini_batch.engine.costs.total import in_dollars
from airflow_gemini_batch.engine.errors import BudgetError, CorruptRunError
from airflow_gemini_batch.engine.finish.summary import Summary, summary_of
from airflow_gemini_batch.engine.gemini.client import Endpoint, GeminiClient
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.run.layout import JUDGES, Manifest, Run, judge_folders
from airflow_gemini_batch.engine.run.ledger import Ledger
from airflow_gemini_batch.engine.run.snapshot import Snapshot
from airflow_gemini_batch.engine.run.storage import Location, locate
from airflow_gemini_batch.engine.wait.reports import report_to
from airflow_gemini_batch.evals.asking import Asking
from airflow_gemini_batch.evals.claims import Claim
from airflow_gemini_batch.evals.judge_sources import JudgedRows
from airflow_gemini_batch.evals.runs import FinishedRun

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class How:
    """How judges are asked. The fields are arguments of ``score``."""

    options: BatchOptions = field(default_factory=BatchOptions)
    endpoint: Endpoint | None = None
    reuse: Sequence[str] = ()
    max_cost_usd: float | None = None
    progress: bool | None = None
    locate: Callable[[str], Location] = locate

    def claim(self, folder: Location, what: str) -> Claim:
        timeout = self.options.timeout.total_seconds()
        return Claim(folder, what, lease=self.options.claim_lease, timeout=timeout)


@dataclass(frozen=True)
class Question:
    """One judge, and the rows that it is asked about.

    :param folder: of the scores.
    """

    judge: Asking
    source: JudgedRows
    folder: Location

    @property
    def same_labels(self) -> str:
        """How the names of the runs begin that asked the same with the same labels."""
        return f"{self.judge.question}-{self.source.labels_digest}-"

    @property
    def destination(self) -> Location:
        return self.folder / JUDGES / self.judge.name / f"{self.same_labels}{self.source.fingerprint()}"


def ask(judged: FinishedRun, questions: Sequence[Question], how: How) -> list[Summary]:
    """Ask each question in a run of its own, and wait for all of them. Judges that differ only in what they make of the answers
    share one.

    Raises as ``run_batch`` does; what can be refused is refused before anything is sent.
    """
    first: dict[tuple[str, str], Question] = {}
    for question in questions:
        first.setdefault((question.judge.question, question.source.fingerprint()), question)
    with contextlib.ExitStack() as stack:
        claims = judged.destination / "scores" / "_claims" / "judges"
        for asked in sorted({question for question, _ in first}):  # in one order, so that no two calls wait for each other
            stack.enter_context(how.claim(claims / asked, f"the judge of {judged.destination}"))
        client = stack.enter_context(GeminiClient(how.endpoint or Endpoint()))
        asking = _Asking(judged, list(first.values()), how, client)
        summaries = dict(zip(first, asking.finish(), strict=True))
    return [summaries[question.judge.question, question.source.fingerprint()] for question in questions]


def spec_of(judged: FinishedRun, question: Question, how: How, *, max_cost_usd: float | None = None) -> RunSpec:
    """The run that a question is."""
    return RunSpec(
        question.source,
        question.judge.request(),
        question.judge.model,
        question.source.row,
        reuse=[place.uri for place in _earlier(judged, question, how)],
        labels=judged.summary.labels,
        max_cost_usd=max_cost_usd,
        locate=how.locate,
    )


def _earlier(judged: FinishedRun, question: Question, how: How) -> list[Location]:
    """The folders with runs of the same question: of this run's scores, of any name, and of the runs that ``reuse`` names."""
    runs = [judged.run]
    for uri in how.reuse:
        runs += runs_at(how.locate(uri), how.locate)
    folders = (folder for run in runs for folder in judge_folders(run) if any(_asks(one, question) for one in folder.folders()))
    return list({folder.uri: folder for folder in folders}.values())


class _Asking:
    """One call's way to the answers."""

    def __init__(self, judged: FinishedRun, questions: Sequence[Question], how: How, client: GeminiClient) -> None:
        self._judged, self._questions, self._how, self._client = judged, questions, how, client

    def finish(self) -> list[Summary]:
        for question in self._questions:
            self._finish_begun(question)
        limits, runs = [], []
        left = self._how.max_cost_usd
        for question in self._questions:
            run = Run(question.destination, self._how.locate)
            manifest = self._build(run, question, left)
            high = 0.0 if left is None else self._high_end(run, manifest)
            runs.append(run)
            limits.append(None if left is None else high)
            left = None if left is None else left - high
        # Each may use what the others leave.
        limits = [None if limit is None else limit + (left or 0.0) for limit in limits]
        for run, limit in zip(runs, limits, strict=True):  # all jobs are at the service before the first is waited for
            advance(run, self._client, self._how.options, max_cost_usd=limit)
        return [self._drive(run, self._how.options, limit) for run, limit in zip(runs, limits, strict=True)]

    def _build(self, run: Run, question: Question, left: float | None) -> Manifest:
        if left is not None and left <= 0:
            raise BudgetError(
                f"max_cost_usd is {in_dollars(self._how.max_cost_usd or 0.0)}, and the judges before {question.judge.name!r} may "
                "cost all of it. Raise it, lower max_output_tokens, or score with fewer judges. Nothing was sent."
            )
        spec = spec_of(self._judged, question, self._how, max_cost_usd=left)
        return build_run(run, spec, self._how.options, client=self._client)

    def _high_end(self, run: Run, manifest: Manifest) -> float:
        """What a run may cost in all, in USD."""
        summary = summary_of(run)
        if summary is not None:
            return summary.cost.usd or 0.0
        meter = meter_of(manifest.model, manifest.prices, self._how.max_cost_usd or 0.0)
        for shard in manifest.shards:
            if shard.requests:
                with run.requests_file(shard.id).open() as lines:
                    meter.add(lines)
        return meter.bounds.high_usd or 0.0

    def _drive(self, run: Run, options: BatchOptions, limit: float | None) -> Summary:
        deadline = time.time() + options.timeout.total_seconds()
        with report_to(self._how.progress) as report:
            return drive(run, self._client, options, deadline=deadline, report=report, max_cost_usd=limit)

    def _finish_begun(self, question: Question) -> None:
        """Finish the runs of the same question that another call left unfinished, so that what they have paid for is reused.

        Nothing is resubmitted in them; and where they show other labels nothing is sent that was not sent then.
        """
        options = dataclasses.replace(self._how.options, max_redrives=0, max_dead_letter_ratio=1.0)
        for folder in judge_folders(self._judged.run):
            for place in folder.folders():
                if not _asks(place, question) or place.path == question.destination.path:
                    continue
                run = Run(place, self._how.locate)
                try:
                    if _is_worth_finishing(run, same_labels=place.name.startswith(question.same_labels)):
                        log.info("%s was begun and not finished; it is finished first.", place)
                        self._drive(run, options, self._how.max_cost_usd)
                except CorruptRunError as error:
                    log.warning("%s Its verdicts are not reused.", error)


def _is_worth_finishing(run: Run, *, same_labels: bool) -> bool:
    manifest = run.manifest()
    if manifest is None or summary_of(run) is not None or not Ledger(run).has_submissions():
        return False
    snapshot = Snapshot(run, manifest)
    sent = all(snapshot.has(shard.id, "job") or not shard.requests for shard in manifest.shards)
    if not sent and not same_labels:
        log.warning(
            "%s is unfinished, and asks about other labels: what it has not sent is not sent, and it is left.", run.destination
        )
    return sent or same_labels


def _asks(place: Location, question: Question) -> bool:
    return place.name.startswith(f"{question.judge.question}-")
