"""The input table, wherever it is, as a stream of small Arrow batches of the columns that are needed.

Whatever goes wrong in reading is an InputError that names the place, and never an OSError: those that reach the writing
side would be taken for a disk that is full.
"""

from __future__ import annotations

import collections
import contextlib
import hashlib
import itertools
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from airflow_gemini_batch.engine.blocks import blocks, plain_schema
from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.storage import Location, locate


class Source(ABC):
    """A table that can be read, some of them more than once.

    :param schema: of plain types: what dictionaries hold, not that they are dictionaries.
    :param description: for people.
    """

    def __init__(self, schema: pa.Schema, description: str) -> None:
        twice = [name for name, count in collections.Counter(schema.names).items() if count > 1]
        if twice:
            raise InputError(
                f"{description} has more than one column called {', '.join(map(repr, twice))}. "
                "Rename or drop one: columns are told apart by their names."
            )
        self.schema = plain_schema(schema)
        self.description = description

    @abstractmethod
    def fingerprint(self) -> str | None:
        """Changes when the table does, and is the same for the same table; None where nobody can tell."""

    @abstractmethod
    def _read(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Those columns in that order, in batches of any size and of any layout that casts to the schema."""

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Those columns in that order, in input order, in blocks that do not depend on how the rows are stored."""
        schema = pa.schema([self.schema.field(name) for name in columns])
        try:
            yield from blocks(self._read(columns), schema)
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"Cannot read {self.description}: {type(error).__name__}: {error}") from error


def open_source(source: Any, *, locate: Callable[[str], Location] = locate) -> Source:
    """Any of the things that a table can come as.

    :param source: a path or URI of a file, folder or glob, or a list of such; a pandas DataFrame; a pyarrow Table; a
        RecordBatchReader or an iterator of record batches; anything else that offers the Arrow stream interface.
    :param locate: opens a URI.
    """
    # Here, since files are sources too.
    from airflow_gemini_batch.engine.source_files import open_files

    if isinstance(source, Source):
        return source
    if isinstance(source, (str, os.PathLike)):
        return open_files([os.fspath(source)], locate)
    if isinstance(source, pa.Table):
        return TableSource(source, "pyarrow.Table")
    if isinstance(source, pa.RecordBatch):
        return TableSource(pa.Table.from_batches([source]), "pyarrow.RecordBatch")
    if isinstance(source, pa.RecordBatchReader):
        return StreamSource(source.schema, source, "pyarrow.RecordBatchReader")
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(source, pandas.DataFrame):
        return TableSource(_from_pandas(source), "pandas.DataFrame")
    if hasattr(source, "__arrow_c_stream__"):
        return _from_arrow_stream(source)
    if isinstance(source, Sequence) and source and all(isinstance(item, (str, os.PathLike)) for item in source):
        return open_files([os.fspath(item) for item in source], locate)
    if isinstance(source, Sequence) and source and all(isinstance(item, pa.RecordBatch) for item in source):
        with _table_error("list of RecordBatch"):
            return TableSource(pa.Table.from_batches(source), "list of RecordBatch")
    if isinstance(source, Iterator) or (isinstance(source, Iterable) and not isinstance(source, (Sequence, dict, set, bytes))):
        return _from_iterator(iter(source))
    raise InputError(
        f"source cannot be read: {type(source).__name__} {str(source)[:100]!r}. Give a path or URI of Parquet, CSV or JSON "
        "Lines (a file, a folder, a glob or a list of them), a pandas DataFrame, a pyarrow Table or a stream of record batches."
    )


class TableSource(Source):
    """A table in memory."""

    def __init__(self, table: pa.Table, kind: str) -> None:
        super().__init__(table.schema, f"{kind} of {table.num_rows} rows and {table.num_columns} columns")
        self._table = table

    def fingerprint(self) -> str:
        """Of the content, however it is chunked."""
        digest = hashlib.sha256(self.schema.serialize())
        for batch in self.batches(self.schema.names):
            digest.update(batch.serialize())
        return digest.hexdigest()

    def _read(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        return iter(self._table.select(list(columns)).to_batches())


class StreamSource(Source):
    """Batches that can be read once."""

    def __init__(self, schema: pa.Schema, batches: Iterable[pa.RecordBatch], kind: str) -> None:
        super().__init__(schema, kind)
        self._arrow_schema = schema
        self._batches: Iterator[pa.RecordBatch] | None = iter(batches)

    def fingerprint(self) -> None:
        return None

    def _read(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        batches, self._batches = self._batches, None
        if batches is None:
            raise InputError(
                f"The source ({self.description}) has been read already and cannot be read twice. "
                "Give a new one, or a table or files."
            )
        for number, batch in enumerate(batches):
            if not isinstance(batch, pa.RecordBatch):
                raise InputError(
                    f"Item {number} of the source ({self.description}) is of type {type(batch).__name__}; "
                    "expected pyarrow.RecordBatch."
                )
            if not batch.schema.equals(self._arrow_schema):
                raise InputError(
                    f"Batch {number} of the source ({self.description}) has another schema than the first one: "
                    f"{_in_words(batch.schema)} instead of {_in_words(self._arrow_schema)}. Cast the batches to one schema."
                )
            yield batch.select(list(columns))


def _from_pandas(frame: Any) -> pa.Table:
    columns = [str(name) for name in frame.columns]
    twice = [name for name, count in collections.Counter(columns).items() if count > 1]
    if twice:
        raise InputError(f"The DataFrame has more than one column called {', '.join(map(repr, twice))}. Rename or drop one.")
    arrays = []
    for position, name in enumerate(columns):
        try:
            array = pa.Array.from_pandas(frame.iloc[:, position])
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            reason = error.args[0] if error.args else error
            raise InputError(
                f"The column {name!r} of the DataFrame has no single type: {reason}. "
                f"Make it one, for example df[{name!r}].astype('string'), or drop it."
            ) from error
        arrays.append(array)
    return pa.table(dict(zip(columns, arrays, strict=True)))


def _from_arrow_stream(source: Any) -> Source:
    kind = f"{type(source).__module__.split('.')[0]}.{type(source).__name__}"
    with _table_error(kind):
        if hasattr(source, "__len__"):  # a table, which can be read again
            return TableSource(pa.table(source), kind)
        reader = pa.RecordBatchReader.from_stream(source)
        return StreamSource(reader.schema, reader, kind)


def _from_iterator(batches: Iterator[Any]) -> Source:
    kind = "iterator of record batches"
    try:
        first = next(batches)
    except StopIteration:
        raise InputError(
            "The source is an iterator without a single batch, so nobody can tell its columns. "
            "An empty table can be given as a pyarrow Table or a RecordBatchReader, which have a schema."
        ) from None
    if not isinstance(first, pa.RecordBatch):
        raise InputError(f"The source yields {type(first).__name__}; expected pyarrow.RecordBatch.")
    return StreamSource(first.schema, itertools.chain([first], batches), kind)


@contextlib.contextmanager
def _table_error(kind: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, TypeError) as error:
        raise InputError(f"The source, a {kind}, cannot be read as one table: {error}") from error


def _in_words(schema: pa.Schema) -> str:
    return "(" + ", ".join(f"{field.name} {field.type}" for field in schema) + ")"
