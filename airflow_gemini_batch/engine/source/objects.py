"""Python objects as Arrow columns: of a DataFrame, or of a list of dicts.

Python strings may hold lone surrogates, which UTF-8 has no bytes for and which Arrow refuses together with their whole column.
Here such a string becomes bytes that are not valid UTF-8, so it concerns its own row alone, as in a file.
A column that no Arrow type can hold matters only when it is read.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from airflow_gemini_batch.engine.arrow.columns import utf8
from airflow_gemini_batch.engine.arrow.layouts import converted, is_text
from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.source.memory import TableSource


class ObjectsSource(TableSource):
    """Columns of Python objects.

    :param columns: the name of each column, and what makes it.
    :param rows: how many there are.
    :param kind: for people.
    :param remedy: what to do about a column that cannot be made; ``{name}`` stands for its name.
    :param metadata: of the schema.
    """

    def __init__(
        self,
        columns: Mapping[str, Callable[[], Any]],
        rows: int,
        kind: str,
        *,
        remedy: str,
        metadata: Mapping[bytes, bytes] | None = None,
    ) -> None:
        self._refused: dict[str, str] = {}
        made = {}
        for name, make in columns.items():
            try:
                made[name] = make()
            except Exception as error:  # Arrow calls methods of the objects, which raise anything
                reason = str(error.args[0] if error.args else error).rstrip(".")
                self._refused[name] = (
                    f"The column {name!r} of the {kind} has values of different types or of an unknown type: {reason}. "
                    + remedy.format(name=name)
                )
                made[name] = pa.nulls(rows, pa.string())  # stands for it in the schema
        if made:
            table = pa.table(made).replace_schema_metadata(metadata)
        else:
            table = pa.Table.from_struct_array(pa.nulls(rows, pa.struct([])))
        super().__init__(table, kind)

    def _named(self) -> list[str]:
        return [name for name in super()._named() if name not in self._refused]

    def _read(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        for name in columns:
            if name in self._refused:
                raise InputError(self._refused[name])
        return super()._read(columns)


def column_of(values: Any, make: Callable[[Any], Any]) -> Any:
    """The values as an Arrow column, with lone surrogates as bytes that are not valid UTF-8.

    :param values: objects, of which ``make`` makes the column where it can. Raises what it raises.
    """
    try:
        return make(values)
    except UnicodeEncodeError:
        mark = f"surrogates-{secrets.token_hex(16)}-"
        made = make([_marked(value, mark) for value in values])

        def leaf(column: pa.Array, type: pa.DataType) -> pa.Array:
            return _unmarked(column, mark).cast(type) if is_text(type) else column

        chunks = made.chunks if isinstance(made, pa.ChunkedArray) else [made]
        return pa.chunked_array([converted(chunk, chunk.type, leaf, every_leaf=True) for chunk in chunks], made.type)


def _marked(value: Any, mark: str) -> Any:
    """The value with each string that UTF-8 cannot hold in hexadecimal digits behind the mark."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return mark + value.encode("utf-8", "surrogatepass").hex()
        return value
    if isinstance(value, Mapping):
        return {name: _marked(inner, mark) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_marked(inner, mark) for inner in value]
    if isinstance(value, np.ndarray) and value.dtype.hasobject:
        return _marked(value.tolist(), mark)
    return value


def _unmarked(column: pa.Array, mark: str) -> pa.Array:
    texts = column.to_pylist()
    return utf8([None if text is None else _bytes(text, mark) for text in texts])


def _bytes(text: str, mark: str) -> bytes:
    return bytes.fromhex(text[len(mark) :]) if text.startswith(mark) else text.encode()
