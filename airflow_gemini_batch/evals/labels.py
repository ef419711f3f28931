"""A table of labels, looked up by key: on disk as Arrow, in memory sixteen bytes for each row."""

from __future__ import annotations

import hashlib
import mmap
import tempfile
from array import array
from collections.abc import Callable, Collection, Sequence
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa

from airflow_gemini_batch.engine.arrow.names import require_columns
from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.run.storage import Location
from airflow_gemini_batch.engine.source.keys import check_key_column, read_keys
from airflow_gemini_batch.engine.source.open import open_source

#: Look-ups after which the pages of the file that have been read are given back.
_CALLS = 16


class Labels:
    """The columns of a labels table by key. A context manager, for its file.

    :param source: whatever a run's ``source`` may be; ``key`` is its column with the keys.
    :param columns: those that are wanted; None: all. The table's own are ``self.columns``.
    """

    def __init__(self, source: Any, key: str, locate: Callable[[str], Location], columns: Collection[str] | None) -> None:
        opened = open_source(source, locate=locate)
        require_columns([key], opened.schema, by="label_key")
        check_key_column(key, opened.schema)
        self.columns = tuple(name for name in opened.schema.names if name != key and (columns is None or name in columns))
        self._file = tempfile.NamedTemporaryFile(prefix="gemini-batch-labels-")  # noqa: SIM115 - __exit__ closes it
        self.schema = pa.schema([opened.schema.field(name) for name in self.columns])
        hashes, digest, rows, sizes = array("q"), hashlib.sha256(), 0, [0]
        schema = pa.schema([pa.field("", pa.string()), *self.schema])
        with pa.ipc.new_file(self._file, schema) as writer:
            for batch in opened.batches([key, *self.columns]):
                keys = read_keys(key, batch, rows)
                if None in keys:
                    raise InputError(f"The labels table has no key in row {rows + keys.index(None)} of its column {key!r}.")
                content = pa.record_batch([pa.array(keys, pa.string()), *map(batch.column, self.columns)], schema=schema)
                writer.write_batch(content)
                digest.update(content.serialize())
                hashes.extend(map(hash, keys))
                rows += batch.num_rows
                sizes.append(rows)
        self._file.flush()
        self.digest = digest.hexdigest()
        self._map = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        self._batches = pa.ipc.open_file(pa.BufferReader(pa.py_buffer(self._map)))
        self._calls = 0
        self._starts = np.array(sizes)
        found = np.array(hashes, np.int64)
        self._order = np.argsort(found, kind="stable")
        self._sorted = found[self._order]
        self._refuse_doubles(key)

    def __enter__(self) -> Labels:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()  # the map is closed with the last column that is read from it

    def find(self, keys: Sequence[str]) -> list[dict[str, Any]]:
        """The labels of each key; empty for a key that the table does not have."""
        self._calls += 1
        if self._calls % _CALLS == 0 and hasattr(mmap, "MADV_DONTNEED"):  # pages that were read count as this process's memory
            self._map.madvise(mmap.MADV_DONTNEED)
        hashes = np.fromiter(map(hash, keys), np.int64, len(keys))
        places = np.searchsorted(self._sorted, hashes)
        rows = self._order[np.minimum(places, len(self._order) - 1)] if len(self._order) else np.zeros(len(keys), np.int64)
        known = self._rows(rows) if len(self._order) else {}
        found: list[dict[str, Any]] = []
        for key, place, row in zip(keys, places.tolist(), rows.tolist(), strict=True):
            labels = known.get(row)
            if labels is not None and labels[""] != key:  # another key with this hash, or none
                labels = self._after(place, key)
            found.append(labels or {})
        return found

    def _after(self, place: int, key: str) -> dict[str, Any] | None:
        while place < len(self._sorted) and self._sorted[place] == hash(key):
            row = int(self._order[place])
            if (labels := self._rows(np.array([row]))[row])[""] == key:
                return labels
            place += 1
        return None

    def _rows(self, rows: Any) -> dict[int, dict[str, Any]]:
        found: dict[int, dict[str, Any]] = {}
        wanted = np.unique(rows)
        numbers = np.searchsorted(self._starts, wanted, side="right") - 1
        for number in np.unique(numbers).tolist():
            here = wanted[numbers == number]
            taken = self._batches.get_batch(number).take(pa.array(here - self._starts[number]))
            found.update(zip(here.tolist(), taken.to_pylist(), strict=True))
        return found

    def _refuse_doubles(self, key: str) -> None:
        for place in np.flatnonzero(self._sorted[1:] == self._sorted[:-1]).tolist():
            first, second = (int(row) for row in self._order[place : place + 2])
            rows = self._rows(np.array([first, second]))
            if rows[first][""] == rows[second][""]:
                raise InputError(
                    f"The labels table has the key {rows[first]['']!r} in rows {first} and {second} of its column {key!r}. "
                    "A key may have one row of labels: drop the others."
                )
