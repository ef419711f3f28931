"""The first dead letters of each reason, found without reading the table: first reasons alone, then the rows that were chosen."""

from __future__ import annotations

import functools
import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from airflow_gemini_batch.engine.run.storage import Location

#: Parts that are looked through at the same time, and reasons that are read at a time.
_AT_ONCE = 8
_REASONS = 1 << 16

#: Rows that are read whole at a time: requests and responses may be large.
_ROWS = 64

_COLUMNS = ("key", "repeat", "reason", "code", "status", "message", "request", "response", "retryable")


class Letter(msgspec.Struct, frozen=True):
    """A dead letter, with texts as they are in the table. ``repeat``: None in a run that sends each row once."""

    key: str
    reason: str
    message: str = ""
    code: int | None = None
    status: str | None = None
    request: str | None = None
    response: str | None = None
    retryable: bool | None = None
    repeat: int | None = None


#: Rows by their number in a part.
_Rows = dict[int, str]


def first_letters(parts: Iterable[Location], wanted: Mapping[str, int]) -> dict[str, list[Letter]]:
    """The first dead letters of these reasons, in the order of the parts.

    :param parts: of the dead-letter table; one that is absent, or being written anew, is passed over.
    :param wanted: reason -> how many at most.
    """
    left = {reason: count for reason, count in wanted.items() if count > 0}
    found: dict[str, list[Letter]] = defaultdict(list)
    waiting = iter(parts)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        while left and (several := list(itertools.islice(waiting, _AT_ONCE))):
            for part, rows in zip(several, pool.map(functools.partial(_rows_of, wanted=left), several), strict=True):
                chosen = {row: reason for row, reason in rows.items() if reason in left}
                for letter in _read(part, chosen):
                    if left.get(letter.reason, 0) > 0:
                        found[letter.reason].append(letter)
                        left[letter.reason] -= 1
                left = {reason: count for reason, count in left.items() if count > 0}
    return dict(found)


def _rows_of(part: Location, wanted: Mapping[str, int]) -> _Rows:
    """The first rows of a part that have these reasons."""
    rows: _Rows = {}
    left = dict(wanted)
    start = 0
    try:
        with part.open() as file, pq.ParquetFile(file) as parquet:
            for batch in parquet.iter_batches(batch_size=_REASONS, columns=["reason"]):
                reasons = batch.column("reason")
                for reason in [reason for reason in pc.unique(reasons).to_pylist() if reason in left]:
                    places = np.flatnonzero(pc.equal(reasons, reason).to_numpy(zero_copy_only=False))[: left[reason]]
                    rows.update((start + int(place), reason) for place in places)
                    left[reason] -= len(places)
                start += batch.num_rows
                if not any(left.values()):
                    break
    except (FileNotFoundError, pa.ArrowInvalid):
        return {}
    return rows


def _read(part: Location, rows: _Rows) -> Iterator[Letter]:
    """These rows of a part, in order. Only row groups with one of them are opened."""
    if not rows:
        return
    try:
        with part.open() as file, pq.ParquetFile(file) as parquet:
            columns = [name for name in parquet.schema_arrow.names if name in _COLUMNS]
            start = 0
            for group in range(parquet.num_row_groups):
                end = start + parquet.metadata.row_group(group).num_rows
                here = [row - start for row in sorted(rows) if start <= row < end]
                if here:
                    yield from map(_letter, _rows_of_group(parquet, group, columns, here))
                start = end
    except (FileNotFoundError, pa.ArrowInvalid):
        return


def _rows_of_group(parquet: pq.ParquetFile, group: int, columns: list[str], rows: list[int]) -> Iterator[dict[str, Any]]:
    start = 0
    for batch in parquet.iter_batches(batch_size=_ROWS, row_groups=[group], columns=columns):
        here = [row - start for row in rows if start <= row < start + batch.num_rows]
        yield from batch.take(pa.array(here, pa.int64())).to_pylist() if here else []
        start += batch.num_rows
        if start > rows[-1]:
            return


def _letter(row: dict[str, Any]) -> Letter:
    return Letter(**{**row, "key": row["key"] or "", "message": row["message"] or ""})
