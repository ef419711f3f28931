"""Keys: every row has one, and no two rows have the same. Answers come back in any order, so joining depends on this.

The check works for tables of any length in little memory: only a hash of each key is kept, on disk, and sorted at the end. Hashes
that occur twice are then looked up among the keys themselves, because two keys may share one.
"""

from __future__ import annotations

import shutil
import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import repeat
from operator import mod
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from airflow_gemini_batch.engine.arrow.names import require_columns
from airflow_gemini_batch.engine.arrow.texts import texts, why_no_text
from airflow_gemini_batch.engine.arrow.values import NoText
from airflow_gemini_batch.engine.errors import DestinationError, InputError
from airflow_gemini_batch.engine.run.storage import BLOCK_BYTES, Location

#: Keys named in an error: enough to see the pattern.
MAX_NAMED = 10
#: Hashes that are looked up: more only occur in a table that is wrong anyway.
MAX_SUSPECTS = 1 << 20
_COMPARED_AT_ONCE = 1 << 20


def check_key_column(key: str | None, schema: pa.Schema) -> None:
    """Raise InputError when that column cannot hold keys."""
    if key is None:
        return
    if not isinstance(key, str):
        raise InputError(f"key must be the name of a column or None, not {key!r}.")
    require_columns([key], schema, by="key")
    type = schema.field(key).type
    reason = why_no_text(schema.field(key))
    if reason is None and pa.types.is_floating(type):
        reason = "holds floats, and equal numbers may differ as text"
    if reason is None and pa.types.is_nested(type):
        reason = "holds several values in each row"
    if reason:
        raise InputError(
            f"The key column {key!r} {reason} (type {type}). A key must be a string, or a type with one unambiguous text form: "
            "cast the column, or choose another."
        )


def read_keys(key: str | None, block: pa.RecordBatch, first_row: int) -> list[Any]:
    """One key for each row; None for a row without one (null, empty or invalid UTF-8)."""
    if key is None:
        return [str(row) for row in range(first_row, first_row + block.num_rows)]
    # An empty string is the proto default and may be left out of the answer, which then could not be joined.
    return [text if isinstance(text, str) and text else None for text in texts(block.column(key))]


def refuse_missing_keys(key: str | None, blocks: Iterable[tuple[int, pa.RecordBatch]]) -> None:
    """Raise InputError that names the rows without a key among ``blocks``, each with the number of its first row."""
    named = []
    for first_row, block in blocks:
        for row, value in enumerate(texts(block.column(key))):
            if isinstance(value, str) and value:
                continue
            what = "is null" if value is None else value.reason if isinstance(value, NoText) else "is an empty string"
            named.append(f"row {first_row + row} {what}")
            if len(named) == MAX_NAMED:
                _raise_missing(key, named, "the first ten are named here")
    if named:
        _raise_missing(key, named, "these are all")


def _raise_missing(key: str | None, named: list[str], extent: str) -> None:
    raise InputError(
        f"The key column {key!r} has rows without a key: {', '.join(named)} (counted from 0; {extent}). "
        "Every row needs one: fill them, drop these rows, or leave key out to number the rows."
    )


#: 64 bits, odd and without a pattern: multiplied with it, numbers that are close to each other are spread evenly.
_SPREAD = 0x9E3779B97F4A7C15
_HASH_PRIME = 2**61 - 1


def stable_hash(key: str) -> int:
    """64 bits that are the same in every process, which those of ``hash`` are not."""
    number = int.from_bytes(key.encode("utf-8", "surrogatepass"), "little") % _HASH_PRIME
    return (number * _SPREAD + 2**63) % 2**64 - 2**63


def stable_hashes(keys: Sequence[str]) -> Any:
    """``stable_hash`` of each, as int64, by loops that run in C."""
    little: Iterator[Literal["little"]] = repeat("little")
    encoded = map(str.encode, keys, repeat("utf-8"), repeat("surrogatepass"))
    numbers = map(mod, map(int.from_bytes, encoded, little), repeat(_HASH_PRIME))
    return (np.fromiter(numbers, np.uint64, len(keys)) * np.uint64(_SPREAD)).view(np.int64)


class KeyIndex:
    """All keys of a table, as hashes in a file without a name.

    :param hash: of a string, 64 bits.
    :param of_all: the same of many, as int64. Default: one after the other.
    """

    def __init__(self, hash: Callable[[str], int] = hash, of_all: Callable[[Sequence[str]], Any] | None = None) -> None:
        self._hash = hash
        self._of_all = of_all or (lambda keys: array("q", map(hash, keys)))
        self._file = tempfile.TemporaryFile(prefix="gemini-batch-keys-")  # noqa: SIM115 - close() closes it

    def close(self) -> None:
        self._file.close()

    def add(self, keys: Sequence[str]) -> None:
        try:
            self._file.write(self._of_all(keys))
        except OSError as error:
            raise DestinationError(
                f"Cannot keep the hashes of the keys in {tempfile.gettempdir()}: {error.strerror}. "
                "8 bytes for each row are needed there; free space or set TMPDIR."
            ) from error

    def write(self, file: Location) -> None:
        """Keep the hashes, which are sorted once ``refuse_doubles`` has been called."""
        self._file.seek(0)
        with file.writing() as out:
            shutil.copyfileobj(self._file, out, BLOCK_BYTES)

    def refuse_doubles(self, key: str | None, all_keys: Callable[[], Iterable[str]]) -> None:
        """Raise InputError when a key was added twice.

        :param all_keys: the keys once more, in the same order; used only when two hashes are equal.
        """
        suspects = self._doubled_hashes()
        if not len(suspects):
            return
        offenders = list(_first(MAX_NAMED, self._doubled(all_keys(), set(suspects.tolist()))))
        if offenders:
            named = ", ".join(f"{short(text)} in rows {first} and {second}" for text, first, second in offenders)
            extent = "the first ten are named here" if len(offenders) == MAX_NAMED else "these are all"
            raise InputError(
                f"The key column {key!r} has duplicate keys: {named} (counted from 0; {extent}). "
                "A key must be unique: drop the repeated rows, choose another column, or leave key out "
                "to number the rows."
            )

    def _doubled_hashes(self) -> Any:
        self._file.flush()
        if not self._file.tell():
            return np.zeros(0, np.int64)
        hashes = np.memmap(self._file, np.int64, "r+")
        hashes.sort()
        found: list[Any] = []
        count = 0
        for start in range(0, len(hashes), _COMPARED_AT_ONCE):
            part = hashes[start : start + _COMPARED_AT_ONCE + 1]
            found.append(np.unique(part[1:][part[1:] == part[:-1]]))
            count += len(found[-1])
            if count >= MAX_SUSPECTS:
                break
        return np.concatenate(found)

    def _doubled(self, keys: Iterable[str], suspects: set[int]) -> Iterator[tuple[str, int, int]]:
        seen: dict[str, int] = {}
        for row, key in enumerate(keys):
            if self._hash(key) in suspects and (first := seen.setdefault(key, row)) != row:
                yield key, first, row


def _first(count: int, items: Iterable[Any]) -> Iterator[Any]:
    return (item for item, _ in zip(items, range(count), strict=False))


def short(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:79]}…")
