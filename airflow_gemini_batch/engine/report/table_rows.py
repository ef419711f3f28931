"""A few rows of a run's tables as text, for people: the first results, the first dead letters of a reason."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from airflow_gemini_batch.engine.run.storage import Location

#: Columns that are large, or mean nothing to a person.
_LEFT_OUT = frozenset({"response", "media", "embedding", "request_sha256", "avg_logprobs", "logprobs"})

#: Characters of one value that are shown.
_LONGEST = 600

#: Rows that are read at a time.
_BATCH_ROWS = 256


class TableRows(msgspec.Struct, frozen=True):
    """Rows as text; ``None`` for null. Columns that are null in all of them are left out."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str | None, ...], ...]


def first_rows(parts: Iterable[Location], *, reason: str | None = None, limit: int = 10) -> TableRows:
    """The first rows of these files; one that is absent, or being written anew, is passed over.

    :param parts: parts of a table, in the order in which they are opened.
    :param reason: only dead letters with this reason. Default: all rows.
    :param limit: how many rows at most.
    """
    found: list[dict[str, Any]] = []
    for part in parts:
        if len(found) >= limit:
            break
        try:
            for batch in _batches(part, reason):
                found += batch.slice(0, limit - len(found)).to_pylist()
                if len(found) >= limit:
                    break
        except (FileNotFoundError, pa.ArrowInvalid):
            continue
    columns = list(dict.fromkeys(name for row in found for name in row if row[name] is not None))
    return TableRows(tuple(columns), tuple(tuple(text_of(row.get(name)) for name in columns) for row in found))


def text_of(value: Any, longest: int = _LONGEST) -> str | None:
    """A value as a person reads it, cut where it is long. None for None."""
    if value is None:
        return None
    if isinstance(value, bytes):
        return f"({len(value):,} bytes)"
    text = value if isinstance(value, str) else _json(value)
    return text if len(text) <= longest else f"{text[:longest]}… ({len(text):,} characters)"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _batches(part: Location, reason: str | None) -> Iterator[pa.RecordBatch]:
    with part.open() as file, pq.ParquetFile(file) as parquet:
        columns = [name for name in parquet.schema_arrow.names if name not in _LEFT_OUT]
        for batch in parquet.iter_batches(batch_size=_BATCH_ROWS, columns=columns):
            yield batch if reason is None else batch.filter(pc.equal(batch.column("reason"), reason))
