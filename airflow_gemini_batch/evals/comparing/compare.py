"""``compare``: finished runs against a baseline, key by key.

<candidate>/comparisons/<name>/
  pairs-00000.parquet     one row for each key and scorer; one file for each candidate
  comparison.json         written last: its presence means that the comparison is complete
  report.html             the same for people (see ``evals.report``)
  _claims/                who is writing it (see ``claims``)
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from airflow_gemini_batch.engine.errors import CorruptRunError
from airflow_gemini_batch.engine.gemini.client import Endpoint
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.run import storage
from airflow_gemini_batch.engine.run.layout import read_json
from airflow_gemini_batch.engine.run.storage import Location
from airflow_gemini_batch.evals.claims import Claim
from airflow_gemini_batch.evals.comparing import arguments
from airflow_gemini_batch.evals.comparing.answers import LabelsTable
from airflow_gemini_batch.evals.comparing.document import Frame, document_of
from airflow_gemini_batch.evals.comparing.fields import fields_of
from airflow_gemini_batch.evals.comparing.findings import Rules, findings
from airflow_gemini_batch.evals.comparing.pair import PairedRuns, on_disk
from airflow_gemini_batch.evals.comparing.pairs_table import pairs_file
from airflow_gemini_batch.evals.comparing.partitions import partitions_of
from airflow_gemini_batch.evals.comparing.sides import Reasons, Side
from airflow_gemini_batch.evals.comparison import COMPARISON_VERSION, Comparison
from airflow_gemini_batch.evals.report.comparison_page import draw_report
from airflow_gemini_batch.evals.runs import FinishedRun
from airflow_gemini_batch.evals.scores import Scores
from airflow_gemini_batch.evals.scoring import score
from airflow_gemini_batch.evals.statistics.quantiles import special_functions

log = logging.getLogger(__name__)


def compare(
    baseline: Any,
    *candidates: Any,
    scorers: Any = None,
    scores: str | None = None,
    name: str = "default",
    labels: Any = None,
    label_key: str = "key",
    cluster: str | None = None,
    primary: str | None = None,
    margin: float | Mapping[str, float] | None = None,
    level: float = 0.95,
    slices: str | Sequence[str] = (),
    resamples: int = 0,
    seed: int = 0,
    output: str | None = None,
    reuse: str | Sequence[str] | None = None,
    max_cost_usd: float | None = None,
    options: BatchOptions | Mapping[str, Any] | None = None,
    endpoint: Endpoint | None = None,
    storage_options: Mapping[str, Any] | None = None,
    locate: Callable[[str], Location] | None = None,
    progress: bool | None = None,
) -> Comparison:
    """Compare finished runs of the same keys with a baseline, and write ``comparison.json`` and the table of pairs.

    One difference is made of each key that both runs have a score of, with repeats averaged; docs/statistics.md says which method
    is used when. Keys without a score are counted with the reason, never dropped. The same call again reads what it has written;
    if interrupted, call it again with the same arguments. A second call at the same time waits for the first.

    :param baseline: URI of the run's destination, or its summary; ``candidates`` likewise, one or several.
    :param scorers: the runs are scored by these first, as ``score`` does; judges are asked. Default (None): the scores that all
        runs have.
    :param scores: the name of the scores that are read, or made. Default (None): without scorers those named ``default``, or
        the only ones that all runs have; with scorers a name that follows from them.
    :param name: of the comparison: it is written below ``comparisons/<name>`` of the first candidate. Another comparison of that
        name is replaced.
    :param labels, label_key, reuse, options, endpoint, progress: for ``score``; ``options`` also says how long this call waits
        for another one. ``max_cost_usd`` limits the judges of each run.
    :param cluster: a carried column whose values group keys that depend on each other, such as a document or a user. Default:
        keys are independent.
    :param primary: the scorer that decides, which then needs no correction. Default: all, corrected together.
    :param margin: the loss that is accepted, in units of the score (0.02: two points of accuracy), for all scorers or by scorer.
        The verdict is pass, fail or undecided. Default: no verdict.
    :param level: of the intervals, and of the one-sided bounds of the gate; more than 0.5, less than 1.
    :param slices: carried columns; each of their more frequent values is compared by itself.
    :param resamples: of a bootstrap interval and a sign-flip test beside the others. Default: 0, none. ``seed`` is theirs.
    :param output: URI of another folder to write to, without ``comparisons/<name>``.
    :param storage_options: for the file system, when ``locate`` is not given.

    Raises InputError for arguments that do not fit the runs, and without SciPy (extra ``evals``); DestinationError for a run that
    is not finished or has no scores, or that changes meanwhile; WaitTimeoutError and UnsettledError as ``score`` does, and with
    scorers what it raises.
    """
    find = locate or functools.partial(storage.locate, **(storage_options or {}))
    special_functions()
    runs = arguments.opened(baseline, candidates, find)
    settings = BatchOptions.of(options)
    question = Question(
        cluster=cluster,
        primary=primary,
        level=arguments.level_of(level),
        slices=arguments.slices_of(slices),
        resamples=arguments.whole_number("resamples", resamples),
        seed=arguments.whole_number("seed", seed),
    )
    arguments.require_independent(resamples, cluster)
    arguments.require_columns(runs, question.context)
    folder = arguments.folder_of(runs[1], name, output, find)
    table = None if labels is None else LabelsTable(labels, label_key, find)
    if scorers is None:
        read = arguments.existing(runs, scores)
    else:
        how = {"labels": labels, "label_key": label_key, "reuse": reuse, "max_cost_usd": max_cost_usd, "options": settings}
        how |= {"endpoint": endpoint, "locate": find, "progress": progress}
        read = [score(run.destination, scorers, name=scores or arguments.derived_name(scorers), **how) for run in runs]
    made = _Comparing(runs, read, question, margin, folder, arguments.expected_of(scorers), table)
    if (earlier := made.standing()) is not None:
        return earlier
    timeout = settings.timeout.total_seconds()
    with Claim(folder / "_claims", f"the comparison {folder}", lease=settings.claim_lease, timeout=timeout) as claim:
        if (earlier := made.standing()) is not None:  # another call has made it
            return earlier
        found = made.write(claim)
    log.info("Compared %s with %s: %s", found.candidate.run, found.baseline.run, " ".join(found.words))
    return found


@dataclass(frozen=True)
class Question:
    """What is asked of the runs; the fields are arguments of ``compare``."""

    cluster: str | None
    primary: str | None
    level: float
    slices: tuple[str, ...]
    resamples: int
    seed: int

    @property
    def context(self) -> tuple[str, ...]:
        """The carried columns that are read, the clusters first."""
        return tuple(dict.fromkeys((*(() if self.cluster is None else (self.cluster,)), *self.slices)))


class _Comparing:
    """One call: raises InputError for scorers and margins that do not fit the scores."""

    def __init__(
        self,
        runs: Sequence[FinishedRun],
        scores: Sequence[Scores],
        question: Question,
        margin: Any,
        folder: Location,
        expected: Mapping[str, str],
        labels: LabelsTable | None,
    ) -> None:
        self._expected, self._labels = expected, labels
        self._runs, self._scores, self._question, self._folder = runs, scores, question, folder
        averaged = any(run.summary.repeats > 1 for run in runs)
        self._scorers = arguments.compared(scores, averaged=averaged, primary=question.primary)
        margins = arguments.margins_of(margin, self._scorers)
        self._rules = Rules(question.level, question.primary, margins, question.resamples, question.seed)
        self._fingerprint = _fingerprint(runs, scores, question, margins)

    def standing(self) -> Comparison | None:
        """What an earlier call has written, if it is what this one asks for."""
        try:
            found = read_json(self._folder / "comparison.json", Comparison)
        except CorruptRunError as torn:
            log.warning("%s It is written again.", torn)
            return None
        if found is None or found.fingerprint != self._fingerprint:
            return None
        log.info("%s is there already.", found.uri)
        return found

    def write(self, claim: Claim) -> Comparison:
        claim.require()
        for stale in (self._folder / "comparison.json", self._folder / "report.html"):
            stale.delete()
        reasons, question = Reasons(), self._question
        context = question.context
        fields = fields_of([run.schema() for run in self._runs])
        sides = [Side(run, scores, context, reasons, fields) for run, scores in zip(self._runs, self._scores, strict=True)]
        partitions = partitions_of(max(run.summary.rows for run in self._runs))
        names = [scorer.name for scorer in self._scorers]
        paired = []
        with on_disk(sides[0], names, partitions) as baseline:
            for number, side in enumerate(sides[1:]):
                claim.require()
                pair = PairedRuns(
                    sides[0], side, self._scorers, question.cluster, question.slices, reasons, question.resamples > 0
                )
                with on_disk(side, names, partitions) as candidate:
                    pair.read(baseline, candidate, self._folder / pairs_file(number))
                paired.append(pair)
        self._remove_stale_pairs(len(paired))
        found = self._documents(paired, reasons)
        claim.require()
        for run, scores in zip(self._runs, self._scores, strict=True):
            arguments.require_unchanged(run, scores)
        draw_report(found, self._folder)
        (self._folder / "comparison.json").write(msgspec.json.format(msgspec.json.encode(found), indent=1))
        return found

    def _remove_stale_pairs(self, candidates: int) -> None:
        written = {pairs_file(number) for number in range(candidates)}
        for file in self._folder.children():
            if file.name.startswith("pairs-") and file.name not in written:
                file.delete()

    def _documents(self, paired: Sequence[PairedRuns], reasons: Reasons) -> Comparison:
        """Of the first candidate, with those of the others."""
        created = dt.datetime.now(dt.timezone.utc).isoformat()
        frame = Frame(created, self._folder.uri, self._fingerprint, self._rules, self._expected, self._labels)
        found = findings([pair.tallies for pair in paired], self._rules, reasons)
        several = [document_of(pair, scorers, frame) for pair, scorers in zip(paired, found, strict=True)]
        return msgspec.structs.replace(several[0], others=tuple(several[1:]))


def _fingerprint(runs: Sequence[FinishedRun], scores: Sequence[Scores], question: Question, margins: Mapping[str, float]) -> str:
    """Of all that decides the comparison."""
    read = [
        [msgspec.json.encode(one).decode(), "" if one.fingerprint else _content_of(run, one)]
        for run, one in zip(runs, scores, strict=True)
    ]
    asked = [COMPARISON_VERSION, read, dataclasses.asdict(question), dict(margins)]
    return hashlib.sha256(msgspec.json.encode(asked, order="deterministic")).hexdigest()


def _content_of(run: FinishedRun, scores: Scores) -> str:
    """Digest of scores whose scorers do not say whether they have changed."""
    digest = hashlib.sha256()
    for name in scores.parts:
        digest.update((run.destination / "scores" / scores.name / name).sha256().encode())
    return digest.hexdigest()
