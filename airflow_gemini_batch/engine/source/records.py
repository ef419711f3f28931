"""Rows as Python objects: a list of dicts as a source, and what a decorated function returns."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import pyarrow as pa

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.source.memory import TableSource
from airflow_gemini_batch.engine.source.objects import ObjectsSource, column_of

#: The column name of a table made from a list of prompts.
PROMPT = "prompt"

_EXPECTED = "return a pandas DataFrame, an Arrow table, a list of prompts or a list of dicts"


def as_source(returned: Any, *, by: str, columns: Iterable[str] = ()) -> Any:
    """What a function returned as a source for ``open_source``. Lists become tables; tables pass through unchanged.

    :param by: who returned it, for messages.
    :param columns: the columns of the table when the list is empty: a day without rows is not an error.
    """
    if returned is None or isinstance(returned, (str, bytes, Mapping)):
        raise InputError(f"{by} returned {_kind(returned)}; {_EXPECTED}.")
    if inspect.iscoroutine(returned):
        returned.close()
        raise InputError(f"{by} is async; make it a plain function that can {_EXPECTED}.")
    if getattr(returned, "ndim", None) == 1 and hasattr(returned, "tolist"):
        returned = returned.tolist()  # a pandas Series or a NumPy array, as a column of prompts is
    if not isinstance(returned, (list, tuple)):
        return returned
    if not returned:
        return no_rows(columns)
    if isinstance(returned[0], str):
        _require_all(str, returned, f"{by} returned a list that", _EXPECTED)
        prompts = partial(column_of, returned, partial(pa.array, type=pa.string()))
        return ObjectsSource({PROMPT: prompts}, len(returned), f"list that {by} returned", remedy="Return strings.")
    if isinstance(returned[0], Mapping):
        return from_dicts(returned, f"list that {by} returned")
    return returned


def no_rows(columns: Iterable[str]) -> TableSource:
    """A table without rows."""
    return TableSource(pa.table({name: pa.array([], pa.string()) for name in dict.fromkeys(columns)}), "empty list")


def from_dicts(rows: Sequence[Mapping[str, Any]], kind: str = "list of dicts") -> ObjectsSource:
    """A table with all columns that any row has, in the order of first appearance; null where a row lacks one.

    :param kind: what the list is, for messages.
    """
    _require_all(Mapping, rows, f"The {kind}", "expected dicts alone")
    names = dict.fromkeys(name for row in rows for name in row)
    if odd := next((name for name in names if not isinstance(name, str)), None):
        raise InputError(f"The {kind} has rows with a column called {odd!r}; columns have names of type str.")
    columns = {name: partial(_column, rows, name) for name in names}
    return ObjectsSource(columns, len(rows), kind, remedy="Use one type, for example text.")


def _column(rows: Sequence[Mapping[str, Any]], name: str) -> Any:
    return column_of([row.get(name) for row in rows], pa.array)


def _require_all(kind: type, items: Sequence[Any], what: str, expected: str) -> None:
    for number, item in enumerate(items):
        if not isinstance(item, kind):
            raise InputError(f"{what} begins with {_kind(items[0])} and has {_kind(item)} at {number}; {expected}.")


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"a value of type {type(value).__name__}"
