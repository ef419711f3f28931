"""What a decorated function returns, as a table: lists of prompts or dicts become columns; tables pass through unchanged."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.request import placeholders
from airflow_gemini_batch.engine.specs import RawRequest, RequestSpec

#: The column name of a table made from a list of prompts.
PROMPT = "prompt"

_EXPECTED = "return a pandas DataFrame, an Arrow table, a list of prompts or a list of dicts"


def as_source(returned: Any, *, by: str, columns: Iterable[str] = ()) -> Any:
    """A source for ``open_source``.

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
        return pa.table({name: pa.array([], pa.string()) for name in dict.fromkeys(columns)})
    first = returned[0]
    if isinstance(first, str):
        _require_all(str, returned, by)
        return pa.table({PROMPT: pa.array(returned, pa.string())})
    if isinstance(first, Mapping):
        _require_all(Mapping, returned, by)
        return _table(returned, by)
    return returned


def columns_named(request: RequestSpec, *more: str | None) -> list[str]:
    """The columns that a request names itself.

    :param more: further names; None is ignored.
    """
    found = [name for name in more if name is not None]
    if isinstance(request, RawRequest):
        found.append(request.column)
    elif dataclasses.is_dataclass(request):
        for field in dataclasses.fields(request):
            text = getattr(request, field.name)
            if isinstance(text, str):
                found += placeholders.parse(text, argument=field.name).columns
    return list(dict.fromkeys(found))


def _table(rows: Sequence[Mapping[str, Any]], by: str) -> pa.Table:
    """A table with all columns that any row has, in the order of first appearance; null where a row lacks one."""
    names = dict.fromkeys(name for row in rows for name in row)
    if odd := next((name for name in names if not isinstance(name, str)), None):
        raise InputError(f"{by} returned rows with a column called {odd!r}; columns have names of type str.")
    columns = {}
    for name in names:
        try:
            columns[name] = pa.array([row.get(name) for row in rows])
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise InputError(
                f"{by} returned rows whose column {name!r} has values of different types: {error}. Use one type."
            ) from error
    return pa.table(columns)


def _require_all(kind: type, items: Sequence[Any], by: str) -> None:
    for number, item in enumerate(items):
        if not isinstance(item, kind):
            raise InputError(
                f"{by} returned a list that begins with {_kind(items[0])} and has {_kind(item)} at {number}; {_EXPECTED}."
            )


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"a value of type {type(value).__name__}"
