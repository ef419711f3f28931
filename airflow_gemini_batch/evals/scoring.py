"""``score``: every row of a finished run gets a score by each scorer, part by part."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pyarrow as pa

from airflow_gemini_batch.engine.build.budget import require_limit
from airflow_gemini_batch.engine.build.call import uris_of
from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.gemini.client import Endpoint
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.run import storage
from airflow_gemini_batch.engine.run.layout import TABLES, Table
from airflow_gemini_batch.engine.run.storage import Location
from airflow_gemini_batch.engine.run.tables import PartWriter
from airflow_gemini_batch.evals.claims import Claim
from airflow_gemini_batch.evals.judge_runs import How
from airflow_gemini_batch.evals.judging import Judges, said_the_same_since
from airflow_gemini_batch.evals.labels import Labels
from airflow_gemini_batch.evals.runs import FinishedRun, batches_of
from airflow_gemini_batch.evals.scorers import AskingScorer, Judged, Kind, Scorer, as_scorers, score_row
from airflow_gemini_batch.evals.scores import SCORES_SCHEMA, ScorerTotals, Scores, scores_folder, scores_of

log = logging.getLogger(__name__)

#: Large, and rarely what a scorer looks at: read only where a scorer names them.
_ON_REQUEST = ("response", "media")


def score(
    run: Any,
    scorers: Any,
    *,
    name: str = "default",
    labels: Any = None,
    label_key: str = "key",
    reuse: str | Sequence[str] | None = None,
    max_cost_usd: float | None = None,
    options: BatchOptions | Mapping[str, Any] | None = None,
    endpoint: Endpoint | None = None,
    storage_options: Mapping[str, Any] | None = None,
    locate: Callable[[str], Location] | None = None,
    progress: bool | None = None,
) -> Scores:
    """Score every row of a finished run, and write ``scores/<name>/part-*.parquet`` below its destination.

    Dead letters are scored as "missing" and never dropped; a scorer that raises on a row makes that row an explained error. The
    same call again writes the same files, or nothing where the scorers can tell that nothing has changed. A second call at the
    same time waits for the first.

    Judges are asked in batch runs of their own, below the scores. This blocks for minutes to hours; if interrupted, call it again
    with the same arguments: no verdict is paid for twice. Verdicts on equal questions are taken from all scores of the run.

    :param run: URI of the run's destination, or its summary.
    :param scorers: one or a list: ``ExactMatch(…)`` and its like, ``Judge(…)``, ``PairwiseJudge(…)``, ``Scorer(…)``, or functions
        of a row that return a bool, a float or a dict with ``score``, ``passed`` and ``explanation``.
    :param name: of the scores. Scores of that name are replaced.
    :param labels: a table with expected values, joined by key: whatever ``source`` may be. Its columns are added to the row.
    :param label_key: the column of ``labels`` that holds the keys.
    :param reuse: other runs, or folders of runs, whose judges' verdicts are taken where the question is the same. Default: none.
    :param max_cost_usd: the judges are not asked if that may cost more than this, in all. Default: None, no limit.
    :param options, endpoint, progress: of the judges' runs, as for ``run_batch``; ``timeout`` also limits how long a call waits
        for another one.
    :param storage_options: for the file system, when ``locate`` is not given.

    Raises InputError for a column that neither the run nor the labels have, DestinationError when the run is not finished,
    WaitTimeoutError when another call does not end, UnsettledError when this call was paused and another one took over. With
    judges also what ``run_batch`` raises; what can be refused is refused before anything is sent.
    """
    find = locate or functools.partial(storage.locate, **(storage_options or {}))
    opened = FinishedRun.open(run, find)
    chosen = as_scorers(scorers)
    folder = scores_folder(opened.run, name)
    require_limit(max_cost_usd)
    how = How(BatchOptions.of(options), endpoint, uris_of(reuse), max_cost_usd, progress, find)
    with contextlib.ExitStack() as stack:
        table = None if labels is None else stack.enter_context(Labels(labels, label_key, find, label_columns(chosen)))
        columns = columns_of(chosen, opened.schema(), table)
        judges = stack.enter_context(Judges(opened, chosen, table, find))
        fingerprint = _fingerprint(chosen, table, judges)
        if (earlier := _current(opened, name, fingerprint, find)) is not None:
            return earlier
        claim = stack.enter_context(how.claim(opened.destination / "scores" / "_claims" / "names" / name, f"the scores {folder}"))
        if (earlier := _current(opened, name, fingerprint, find)) is not None:  # another call has made them
            return earlier
        judges.ask(folder, how)
        made = _Scoring(opened, chosen, columns, table, judges, folder, claim)
        totals, parts = made.write()
        scores = _written(opened, name, folder, totals, parts, fingerprint)
        claim.require()
        (folder / "_scores.json").write(msgspec.json.format(msgspec.json.encode(scores), indent=1))
    log.info("Scored %s: %s", opened.destination, scores)
    return scores


def _written(
    opened: FinishedRun,
    name: str,
    folder: Location,
    totals: tuple[ScorerTotals, ...],
    parts: tuple[str, ...],
    fingerprint: str,
) -> Scores:
    return Scores(
        destination=opened.destination.uri,
        name=name,
        uri=folder.uri,
        run_id=opened.summary.run_id,
        finished_at=opened.summary.finished_at,
        rows=opened.summary.rows,
        scorers=totals,
        parts=parts,
        fingerprint=fingerprint,
    )


def _current(run: FinishedRun, name: str, fingerprint: str, find: Callable[[str], Location]) -> Scores | None:
    """The scores of that name, if they are those that are asked for."""
    earlier = scores_of(run.run, name)
    if not fingerprint or earlier is None or earlier.fingerprint != fingerprint:
        return None
    if (earlier.run_id, earlier.finished_at) != (run.summary.run_id, run.summary.finished_at):
        return None
    if not said_the_same_since(earlier, find):
        return None
    log.info("%s has these scores already.", earlier.uri)
    return earlier


def _fingerprint(scorers: Sequence[Scorer], labels: Labels | None, judges: Judges) -> str:
    versions = [scorer.version for scorer in scorers]
    if None in versions:
        return ""
    said = repr([[scorer.name, scorer.kind, scorer.worst, scorer.best, scorer.version] for scorer in scorers])
    return hashlib.sha256(f"{said} {labels.digest if labels else ''}{judges.compared_with}".encode()).hexdigest()


def label_columns(scorers: Sequence[Scorer]) -> list[str] | None:
    """The columns that a labels table is asked for; None: all."""
    if any(scorer.columns is None for scorer in scorers):
        return None
    return [name for scorer in scorers for column in scorer.columns or () for name in column.split("|")]


@dataclass(slots=True)
class _Totals:
    """Counted while the parts are written."""

    statuses: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("scored", "missing", "error", "unlabelled"), 0))
    sums: list[float] = field(default_factory=list)
    only_booleans: bool = True

    def add(self, judged: Sequence[Judged]) -> None:
        scored = [one for one in judged if one.score is not None]
        for one in judged:
            self.statuses[one.status] += 1
        self.sums.append(math.fsum(one.score or 0.0 for one in scored))
        self.only_booleans = self.only_booleans and all(one.passed is not None and one.score in (0.0, 1.0) for one in scored)

    def of(self, scorer: Scorer, judges: Judges) -> ScorerTotals:
        scored = self.statuses["scored"]
        kind: Kind = scorer.kind or ("boolean" if self.only_booleans else "float")
        judge, pairs = judges.totals_of(scorer)
        return ScorerTotals(
            name=scorer.name,
            kind=kind,
            scored=scored,
            missing=self.statuses["missing"],
            errors=self.statuses["error"],
            unlabelled=self.statuses["unlabelled"],
            mean=math.fsum(self.sums) / scored if scored else None,
            worst=0.0 if kind == "boolean" else scorer.worst,
            best=1.0 if kind == "boolean" else scorer.best,
            judge=judge,
            pairs=pairs,
            choices=scorer.judge.scores_of_choices if isinstance(scorer, AskingScorer) else {},
        )


class _Scoring:
    """One call's way through the parts of a run."""

    def __init__(
        self,
        run: FinishedRun,
        scorers: Sequence[Scorer],
        columns: Sequence[str],
        labels: Labels | None,
        judges: Judges,
        folder: Location,
        claim: Claim,
    ) -> None:
        self._run, self._scorers, self._labels, self._folder = run, scorers, labels, folder
        self._columns, self._judges, self._claim = columns, judges, claim
        self._totals = [_Totals() for _ in scorers]

    def write(self) -> tuple[tuple[ScorerTotals, ...], tuple[str, ...]]:
        """The totals by scorer, and the names of the parts."""
        self._claim.require()
        # Absent while the parts are rewritten, so that nobody reads them as the scores of other scorers.
        (self._folder / "_scores.json").delete()
        written = [self._write_part(table, part) for table in TABLES for part in self._run.parts(table)]
        for stale in self._folder.children():
            if stale.name.startswith("part-") and stale.name not in written:
                stale.delete()
        totals = tuple(counted.of(scorer, self._judges) for counted, scorer in zip(self._totals, self._scorers, strict=True))
        for total in totals:
            if total.errors:
                did = "raised on" if total.judge is None else "gave no verdict on"
                log.warning("The scorer %s %s %d rows; see their explanation in %s.", total.name, did, total.errors, self._folder)
        return totals, tuple(written)

    def _write_part(self, table: Table, part: Location) -> str:
        name = part.name if table == "results" else part.name.replace("part-", "part-dead-letter-", 1)
        self._claim.require()
        with PartWriter(self._folder / name, SCORES_SCHEMA) as writer:
            for batch in self._batches(table, part):
                writer.write(batch)
        return name

    def _batches(self, table: Table, part: Location) -> Iterator[pa.RecordBatch]:
        columns = [*self._run.row_columns, *(self._columns if table == "results" else ["reason"])]
        for batch in batches_of(part, list(dict.fromkeys(columns))):
            keys = batch.column("key").to_pylist()
            judge_all = self._answers(batch, keys) if table == "results" else _missing(batch.column("reason").to_pylist())
            repeats = self._run.repeats_in(batch)
            for scorer, totals in zip(self._scorers, self._totals, strict=True):
                judged = judge_all(scorer)
                totals.add(judged)
                yield _scored(batch.column("key"), repeats, scorer.name, judged)

    def _answers(self, batch: pa.RecordBatch, keys: Sequence[str]) -> Callable[[Scorer], list[Judged]]:
        rows: list[dict[str, Any]] = batch.to_pylist()
        if self._labels is not None:
            for row, labels in zip(rows, self._labels.find(keys), strict=True):
                row.update((name, labels.get(name)) for name in self._labels.columns)
        return lambda scorer: (
            self._judges.judged(scorer, batch, rows)
            if isinstance(scorer, AskingScorer)
            else [score_row(scorer, row) for row in rows]
        )


def _missing(reasons: Sequence[str]) -> Callable[[Scorer], list[Judged]]:
    letters = [Judged(None, None, reason, "missing") for reason in reasons]
    return lambda _: letters


def _scored(keys: pa.Array, repeats: pa.Array, scorer: str, judged: Sequence[Judged]) -> pa.RecordBatch:
    scores, passed, explanations, statuses = zip(*judged, strict=True) if judged else ((), (), (), ())
    columns = [
        keys,
        repeats,
        pa.repeat(scorer, len(keys)),
        pa.array(scores, pa.float64()),
        pa.array(passed, pa.bool_()),
        pa.array(explanations, pa.string()),
        pa.array(statuses, pa.string()),
    ]
    return pa.record_batch(columns, schema=SCORES_SCHEMA)


def columns_of(scorers: Sequence[Scorer], schema: pa.Schema, labels: Labels | None) -> list[str]:
    """The columns of the results that the scorers need. Raises InputError for one that is nowhere."""
    of_labels = () if labels is None else labels.columns
    if twice := sorted(set(of_labels) & set(schema.names)):
        raise InputError(
            f"The labels table and the results both have the column {', '.join(map(repr, twice))}. Rename it in the labels table."
        )
    wanted: dict[str, None] = {}
    for scorer in scorers:
        for column in scorer.columns or ():
            found = [name for name in column.split("|") if name in schema.names or name in of_labels]
            if not found:
                raise InputError(
                    f"The scorer {scorer.name!r} reads the column {column!r}, which neither the results nor the labels have. "
                    f"The results have {', '.join(schema.names)}; the labels {', '.join(of_labels) or 'have not been given'}. "
                    "Carry it when the run is made, or give labels=…"
                )
            wanted.update(dict.fromkeys(found))
        if scorer.columns is None:
            wanted.update(dict.fromkeys(name for name in schema.names if name not in _ON_REQUEST))
    return [name for name in wanted if name in schema.names]
