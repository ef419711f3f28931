"""The keys of one partition, with what both runs say of each: arrays of one number for each key."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from airflow_gemini_batch.engine.arrow import columns
from airflow_gemini_batch.engine.run.repeats import MOST as MOST_REPEATS
from airflow_gemini_batch.evals.comparing.partitions import Partitions, encoded
from airflow_gemini_batch.evals.comparing.sides import ABSENT, AMOUNTS, MISSING, UNLABELLED, Reasons, context_name


@dataclass(frozen=True, slots=True)
class ScoredKeys:
    """What one scorer says of one run's keys.

    :param n: scores of each key; ``mean`` is NaN where there are none.
    :param variance: of a key's scores over its repeats, with n - 1; 0 for fewer than two.
    :param lost: the share of the key's answers that have no score and could have one: 1 where there are none.
    :param code: why there is no score; 0 where there is one.
    """

    n: Any
    mean: Any
    variance: Any
    lost: Any
    code: Any
    unlabelled: Any


@dataclass(frozen=True, slots=True)
class Keys:
    """One run's rows, by key.

    :param rows: of each key, ``answered`` of them in the results.
    :param code: why a key has no answer: that of its first repeat; 0 where it has one. ``absent`` where it has no rows.
    :param amounts: by name, the mean of what the key's rows were billed; NaN where that is not known of any.
    :param context: the columns of ``Side.context``, of the first row of each key; null where the run has no such column or key.
    """

    rows: Any
    answered: Any
    code: Any
    amounts: dict[str, Any]
    context: tuple[pa.Array, ...]
    scored: tuple[ScoredKeys, ...]


@dataclass(frozen=True, slots=True)
class Rows:
    """The answered rows of one run.

    :param answers: one number for each, the same for the same key and repeat of the other run.
    """

    table: pa.RecordBatch
    at: Any
    answers: Any

    @classmethod
    def of(cls, table: pa.RecordBatch, places: Any) -> Rows:
        """:param places: of the key of each row."""
        at = np.flatnonzero(_numbers(table, "reason", np.int16) == 0)
        return cls(table, at, places[at].astype(np.int64) * MOST_REPEATS + _numbers(table, "repeat", np.int32)[at])

    def numbers(self, name: str) -> Any:
        """A column of uint64."""
        return _numbers(self.table, name, np.uint64)[self.at]


@dataclass(frozen=True, slots=True)
class Pairs:
    """
    :param context: of the baseline, or of the candidate where the baseline has none.
    :param rows: of the baseline and of the candidate.
    """

    keys: pa.Array
    baseline: Keys
    candidate: Keys
    context: tuple[pa.Array, ...]
    rows: tuple[Rows, Rows]


@dataclass(frozen=True)
class SideTables:
    """One side on disk."""

    rows: Partitions
    scores: Partitions


def pairs_of(baseline: SideTables, candidate: SideTables, *, scorers: int, context: int, reasons: Reasons) -> Iterator[Pairs]:
    """The keys of both sides, some at a time; each key is in exactly one of them.

    :param scorers, context: how many there are.
    """
    for number in range(baseline.rows.count):
        tables = [one.read(number) for side in (baseline, candidate) for one in (side.rows, side.scores)]
        keys, places = encoded([table.column("key") for table in tables])
        sides = [
            _keys(tables[first], places[first], tables[first + 1], places[first + 1], len(keys), scorers, context, reasons)
            for first in (0, 2)
        ]
        if len(keys):
            both = tuple(pc.coalesce(*pair) for pair in zip(sides[0].context, sides[1].context, strict=True))
            rows = (Rows.of(tables[0], places[0]), Rows.of(tables[2], places[2]))
            yield Pairs(keys, sides[0], sides[1], both, rows)


def _keys(
    rows: pa.RecordBatch,
    places: Any,
    scores: pa.RecordBatch,
    places_of_scores: Any,
    size: int,
    scorers: int,
    context: int,
    reasons: Reasons,
) -> Keys:
    count = np.bincount(places, minlength=size)
    reason, repeat = _numbers(rows, "reason", np.int16), _numbers(rows, "repeat", np.int32)
    answered = np.bincount(places[reason == 0], minlength=size)
    order = np.argsort(repeat, kind="stable")
    first = _first(places[order], size)
    at = np.where(first >= 0, order[first] if len(order) else first, -1)
    code = np.where(at >= 0, reason[at] if len(reason) else 0, reasons.code(ABSENT)).astype(np.int16)
    code[answered > 0] = 0
    rows_of_keys = columns.from_numpy(at, at >= 0)
    return Keys(
        rows=count,
        answered=answered,
        code=code,
        amounts={name: _mean(places, columns.with_nan(rows.column(name)), size) for name in AMOUNTS},
        context=tuple(rows.column(context_name(place)).take(rows_of_keys) for place in range(context)),
        scored=tuple(_scored(scores, places_of_scores, number, count, answered, code, reasons) for number in range(scorers)),
    )


def _scored(
    scores: pa.RecordBatch, places: Any, scorer: int, rows: Any, answered: Any, codes: Any, reasons: Reasons
) -> ScoredKeys:
    size = len(rows)
    of_scorer = _numbers(scores, "scorer", np.int16) == scorer
    places, code = places[of_scorer], _numbers(scores, "code", np.int16)[of_scorer]
    value = columns.with_nan(scores.column("score"))[of_scorer]
    has = ~np.isnan(value)
    at, value = places[has], value[has]
    n = np.bincount(at, minlength=size)
    mean = _divided(np.bincount(at, value, size), n)
    away = value - mean[at]
    variance = np.where(n > 1, np.bincount(at, away * away, size) / np.maximum(n - 1, 1), 0.0)
    unlabelled = np.bincount(places[code == reasons.code(UNLABELLED)], minlength=size)
    why = np.zeros(size, np.int16)
    np.maximum.at(why, places, code)
    why[why == 0] = reasons.code(MISSING)  # not even a row of the scores
    why = np.where(n > 0, 0, np.where(answered > 0, why, codes)).astype(np.int16)
    could = np.maximum(rows - unlabelled, n)
    return ScoredKeys(n, mean, variance, 1 - np.where(could > 0, n / np.maximum(could, 1), 0.0), why, unlabelled)


def _first(places: Any, size: int) -> Any:
    """Where each key comes first; -1 for a key that does not come."""
    first = np.full(size, -1, np.int64)
    first[places[::-1]] = np.arange(len(places) - 1, -1, -1)
    return first


def _mean(places: Any, values: Any, size: int) -> Any:
    known = ~np.isnan(values)
    return _divided(np.bincount(places[known], values[known], size), np.bincount(places[known], minlength=size))


def _divided(sums: Any, counts: Any) -> Any:
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _numbers(batch: pa.RecordBatch, name: str, kind: Any) -> Any:
    """A column without nulls."""
    column = batch.column(name)
    return np.frombuffer(column.buffers()[1] or b"", kind)[column.offset : column.offset + len(column)]
