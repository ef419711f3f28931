"""The input table, in any place and form, as a stream of small Arrow batches."""

from __future__ import annotations

import collections
import contextlib
import functools
import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from airflow_gemini_batch.engine.arrow.names import ADVICE
from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.run.storage import Location, locate
from airflow_gemini_batch.engine.source.files import open_files
from airflow_gemini_batch.engine.source.memory import Source, StreamSource, TableSource
from airflow_gemini_batch.engine.source.objects import ObjectsSource, column_of
from airflow_gemini_batch.engine.source.records import from_dicts, no_rows

__all__ = ["Source", "open_source"]


def open_source(
    source: Any,
    *,
    locate: Callable[[str], Location] = locate,
    json_as_text: bool = False,
    columns: Sequence[str] | None = None,
) -> Source:
    """Any of the things that a table can come as.

    :param source: a path or URI of a file, folder or glob, or a list of such; a pandas DataFrame; a list of dicts; a
        pyarrow Table; a RecordBatchReader or an iterator of record batches; anything else that offers the Arrow stream interface.
    :param locate: opens a URI.
    :param json_as_text: whether objects and lists in JSON Lines become columns with their JSON as text.
    :param columns: the columns of an empty list, which is a table without rows. Default: an empty list is an error.
    """
    if columns is not None and isinstance(source, Sequence) and not isinstance(source, (str, bytes)) and not source:
        return no_rows(columns)
    if isinstance(source, (str, os.PathLike)):
        source = [source]
    if isinstance(source, Sequence) and source and all(isinstance(item, (str, os.PathLike)) for item in source):
        return open_files([os.fspath(item) for item in source], locate, json_as_text=json_as_text)
    opened = _in_memory(source) or _streamed(source)
    if opened is None:
        raise InputError(
            f"source cannot be read: {type(source).__name__} {str(source)[:100]!r}. Give a path or URI of Parquet, CSV or "
            "JSON Lines (a file, folder, glob or list of them), a pandas DataFrame, a list of dicts, a pyarrow Table or a stream "
            "of batches."
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
        return _from_pandas(source)
    if isinstance(source, Sequence) and source and all(isinstance(item, pa.RecordBatch) for item in source):
        with _table_error("list of RecordBatch"):
            return TableSource(pa.Table.from_batches(source), "list of RecordBatch")
    if isinstance(source, Sequence) and source and any(isinstance(item, Mapping) for item in source):
        return from_dicts(source)
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


def _from_pandas(frame: Any) -> Source:
    columns = [str(name) for name in frame.columns]
    twice = [name for name, count in collections.Counter(columns).items() if count > 1]
    if twice:
        raise InputError(f"The DataFrame has more than one column called {', '.join(map(repr, twice))}. Rename or drop one.")
    makers = {name: functools.partial(_series_column, frame.iloc[:, position]) for position, name in enumerate(columns)}
    advice = _advice_about(frame.index)
    return ObjectsSource(
        makers, len(frame), "DataFrame",
        remedy="Convert it, for example df[{name!r}].astype('string'), or drop it.",
        metadata={ADVICE: advice.encode()} if advice else None,
    )  # fmt: skip


def _series_column(series: Any) -> Any:
    try:
        return pa.Array.from_pandas(series)
    except UnicodeEncodeError:
        return column_of(series.astype(object).tolist(), functools.partial(pa.array, from_pandas=True))


def _advice_about(index: Any) -> str:
    """For a column that is missing: it may be the index, which is not a column. Empty for an index that counts rows."""
    names = [name for name in index.names if name is not None]
    if not names and index.nlevels == 1 and index.dtype.kind in "iu":
        return ""
    named = " " + ", ".join(repr(str(name)) for name in names) if names else ""
    return f" The index{named} of the DataFrame is not a column: pass df.reset_index() to make it one."


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
