"""The input table, in any place and form, as a stream of small Arrow batches."""

from __future__ import annotations

import collections
import contextlib
import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.run.storage import Location, locate
from airflow_gemini_batch.engine.source.files import open_files
from airflow_gemini_batch.engine.source.memory import Source, StreamSource, TableSource

__all__ = ["Source", "open_source"]


def open_source(source: Any, *, locate: Callable[[str], Location] = locate, json_as_text: bool = False) -> Source:
    """Any of the things that a table can come as.

    :param source: a path or URI of a file, folder or glob, or a list of such; a pandas DataFrame; a pyarrow Table; a
        RecordBatchReader or an iterator of record batches; anything else that offers the Arrow stream interface.
    :param locate: opens a URI.
    :param json_as_text: whether objects and lists in JSON Lines become columns with their JSON as text.
    """
    if isinstance(source, (str, os.PathLike)):
        source = [source]
    if isinstance(source, Sequence) and source and all(isinstance(item, (str, os.PathLike)) for item in source):
        return open_files([os.fspath(item) for item in source], locate, json_as_text=json_as_text)
    opened = _in_memory(source) or _streamed(source)
    if opened is None:
        raise InputError(
            f"source cannot be read: {type(source).__name__} {str(source)[:100]!r}. Give a path or URI of Parquet, CSV or "
            "JSON Lines (a file, folder, glob or list of them), a pandas DataFrame, a pyarrow Table or a stream of batches."
        )
    return opened


def _in_memory(source: Any) -> Source | None:
    """A table that can be read again."""
    pandas = sys.modules.get("pandas")
    if isinstance(source, Source):
        return source
    if isinstance(source, pa.Table):
        return TableSource(source, "pyarrow.Table")
    if isinstance(source, pa.RecordBatch):
        return TableSource(pa.Table.from_batches([source]), "pyarrow.RecordBatch")
    if pandas is not None and isinstance(source, pandas.DataFrame):
        return TableSource(_from_pandas(source), "pandas.DataFrame")
    if isinstance(source, Sequence) and source and all(isinstance(item, pa.RecordBatch) for item in source):
        with _table_error("list of RecordBatch"):
            return TableSource(pa.Table.from_batches(source), "list of RecordBatch")
    return None


def _streamed(source: Any) -> Source | None:
    """Batches that can be read once, or another library's table."""
    if isinstance(source, pa.RecordBatchReader):
        return StreamSource(source.schema, source, "pyarrow.RecordBatchReader")
    if hasattr(source, "__arrow_c_stream__"):
        return _from_arrow_stream(source)
    if isinstance(source, Iterator) or (isinstance(source, Iterable) and not isinstance(source, (Sequence, dict, set, bytes))):
        return _from_iterator(iter(source))
    return None


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
                f"The column {name!r} of the DataFrame has values of different types: {reason}. "
                f"Convert it, for example df[{name!r}].astype('string'), or drop it."
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
            "The source is an iterator without any batch, so its columns are not known. "
            "An empty table can be given as a pyarrow Table or a RecordBatchReader, which have a schema."
        ) from None
    if not isinstance(first, pa.RecordBatch):
        raise InputError(f"The source yields {type(first).__name__}; expected pyarrow.RecordBatch. Make a pyarrow Table of it.")
    return StreamSource(first.schema, itertools.chain([first], batches), kind)


@contextlib.contextmanager
def _table_error(kind: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, TypeError) as error:
        raise InputError(f"The source, a {kind}, cannot be read as one table: {error}") from error
