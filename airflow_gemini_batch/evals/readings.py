"""Scores that have been written, read back beside labels that people gave."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from airflow_gemini_batch.engine.errors import DestinationError, InputError
from airflow_gemini_batch.engine.run.storage import Location
from airflow_gemini_batch.evals.labels import Labels
from airflow_gemini_batch.evals.runs import FinishedRun, batches_of
from airflow_gemini_batch.evals.statistics.differences import difference_of
from airflow_gemini_batch.evals.statistics.tally import Tally
from airflow_gemini_batch.evals.statistics.win_rate import WinRate, win_rate

_COLUMNS = ["key", "repeat", "scorer", "score", "passed"]


def scored_batches(parts: Sequence[Location], scorer: str) -> Iterator[pa.RecordBatch]:
    """The scores of one scorer. Raises DestinationError when the parts have been rewritten since."""
    for part in parts:
        try:
            for batch in batches_of(part, _COLUMNS):
                yield batch.filter(pc.equal(batch.column("scorer"), scorer))
        except FileNotFoundError as error:
            raise DestinationError(f"{part} is gone: the run was scored again. Use what that call returned.") from error


def paired_labels(
    parts: Sequence[Location],
    scorer: str,
    choices: Mapping[str, float],
    *,
    run: str,
    column: str,
    labels: Any,
    label_key: str,
    locate: Callable[[str], Location],
) -> tuple[list[Any], list[Any]]:
    """The scorer's labels and people's, of the same rows.

    :param choices: of the scorer, with the score of each.
    :param column: with people's labels: of the labels table, or of the run where there is none.
    """
    names = {score: choice for choice, score in choices.items()}
    if len(names) < len(choices):
        names = {}
    ours, theirs = [], []
    with contextlib.ExitStack() as stack:
        if labels is None:
            known = stack.enter_context(_of_run(FinishedRun.open(run, locate), column, locate))
        else:
            known = stack.enter_context(Labels(labels, label_key, locate, [column]))
            if column not in known.columns:
                raise InputError(f"column is {column!r}, which the table of labels does not have.")
        for batch in scored_batches(parts, scorer):
            rows = batch.to_pylist()
            keys = [row["key"] if labels is not None else f"{row['key']}#{row['repeat']}" for row in rows]
            for row, found in zip(rows, known.find(keys), strict=True):
                human = found.get(column)
                ours.append(None if row["score"] is None or human is None else _as_people_say(row, human, names))
                theirs.append(_plain(human))
    return ours, theirs


def means_of_keys(parts: Sequence[Location], scorer: str) -> Any:
    """The mean of the scores of each key that has one, as float64."""
    keys, values = [np.zeros(0, np.int64)], [np.zeros(0)]
    for batch in scored_batches(parts, scorer):
        scored = batch.filter(batch.column("score").is_valid())
        keys.append(np.fromiter(map(hash, scored.column("key").to_pylist()), np.int64, scored.num_rows))
        values.append(scored.column("score").to_numpy())
    _, places = np.unique(np.concatenate(keys), return_inverse=True)
    return np.bincount(places, np.concatenate(values)) / np.bincount(places)


def win_rate_of(outcomes: Mapping[str, int], means: Any, *, level: float, missing: int) -> WinRate:
    """The win rate over keys of pairs that were judged in both orders.

    :param outcomes: pairs by what was said in both orders, such as ``candidate/baseline``.
    :param means: of the scores of each key.
    """
    verdicts: Any = (tuple(words.split("/")) for words, count in outcomes.items() for _ in range(count))
    counted = win_rate(verdicts, level=level)
    if len(means) == counted.n:
        return replace(counted, missing=missing)
    found = difference_of(Tally.of(means - 0.5), kind="float", level=level, span=0.5)
    mean, low, high = (None if value is None else value + 0.5 for value in (found.mean, found.low, found.high))
    return replace(counted, n=len(means), missing=missing, mean=mean, low=low, high=high, p=found.p)


def _of_run(run: FinishedRun, column: str, locate: Callable[[str], Location]) -> Labels:
    results = run.schema()
    if column not in results.names:
        raise InputError(
            f"column is {column!r}, which the results of {run.destination} do not have: {', '.join(results.names)}. Carry "
            "it when the run is made, or give labels=…"
        )
    schema = pa.schema([pa.field("row", pa.string()), results.field(column)])

    def batches() -> Iterator[pa.RecordBatch]:
        for part in run.parts("results"):
            for batch in batches_of(part, list(dict.fromkeys((*run.row_columns, column)))):
                numbers = run.repeats_in(batch).cast(pa.string())
                rows = pc.binary_join_element_wise(batch.column("key"), numbers, "#")
                yield pa.record_batch([rows, batch.column(column)], schema=schema)

    return Labels(pa.RecordBatchReader.from_batches(schema, batches()), "row", locate, None)


def _as_people_say(row: Mapping[str, Any], human: Any, names: Mapping[float, str]) -> Any:
    """What the scorer says of a row, in the terms of the label: passed for a bool, the score for a number, else the choice."""
    if isinstance(human, bool):
        return row["passed"]
    if isinstance(human, str):
        if not names:
            raise InputError(
                f"The label {human!r} is a text, and the scorer has no choices of one score each to compare it with. Give labels "
                "that are numbers, to compare with its scores, or True and False, to compare with what passed."
            )
        return names.get(row["score"])
    return row["score"]


def _plain(human: Any) -> Any:
    return human if human is None or isinstance(human, (bool, str)) else float(human)
