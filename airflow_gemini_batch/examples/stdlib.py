"""A real table that every machine can produce: the public API of Python's standard library.

The same Python always collects the same rows in the same order. A task that runs twice writes the same table twice, so a run
that is built from it can be resumed.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import sys
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, Field

from airflow_gemini_batch._locations import locate

#: Not imported: these open a window or a browser, print, need a display, or are not a public API.
SKIPPED = frozenset(
    {"antigravity", "ensurepip", "idlelib", "lib2to3", "msilib", "test", "this", "tkinter", "turtle", "turtledemo", "venv"}
)

SCHEMA = pa.schema(
    [
        pa.field("qualified_name", pa.string(), nullable=False),
        pa.field("module", pa.string(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("signature", pa.string(), nullable=False),
        pa.field("documentation", pa.string()),
    ]
)


class Description(BaseModel):
    """The response schema of the example DAGs."""

    summary: str = Field(description="what it does, in one line")
    category: Literal["data", "text", "numbers", "files", "network", "system", "concurrency", "language", "other"]


def collect_stdlib(file: str) -> str:
    """Write the table as a Parquet file and return its URI.

    :param file: a path, or any URI that Airflow can open, including ``s3://conn_id@bucket/…``.
    """
    table = pa.Table.from_pylist(list(rows()), schema=SCHEMA)
    content = io.BytesIO()
    pq.write_table(table, content, compression="zstd")
    locate(file).write(content.getvalue())
    return file


def rows() -> Iterator[dict[str, str | None]]:
    """One row for each public function, class and method; modules and names in alphabetical order."""
    for module in modules():
        for name in _public_names(module):
            member = getattr(module, name, None)
            if inspect.isclass(member):
                yield _row(module, name, "class", member)
                for method, value in _methods(member):
                    yield _row(module, f"{name}.{method}", "method", value)
            elif callable(member):
                yield _row(module, name, "function", member)


def modules() -> Iterator[ModuleType]:
    """The public top-level modules that this platform has."""
    names = (name for name in sorted(sys.stdlib_module_names - SKIPPED) if not name.startswith("_"))
    yield from (module for name in names if (module := _imported(name)) is not None)


def _imported(name: str) -> ModuleType | None:
    with contextlib.suppress(ImportError), contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(name)
    return None  # not on this platform


def _public_names(module: ModuleType) -> list[str]:
    declared = getattr(module, "__all__", None)
    if declared is not None:
        return sorted(set(declared))
    return sorted(name for name, value in vars(module).items() if not name.startswith("_") and _is_own(module, value))


def _is_own(module: ModuleType, value: object) -> bool:
    """For a module without ``__all__``: whether it defines the value itself and does not only import it."""
    return not inspect.ismodule(value) and getattr(value, "__module__", module.__name__) == module.__name__


def _methods(cls: type) -> Iterator[tuple[str, Any]]:
    for name in sorted(vars(cls)):
        value = getattr(cls, name, None)
        if not name.startswith("_") and (callable(value) or isinstance(value, property)):
            yield name, value


def _row(module: ModuleType, name: str, kind: str, value: object) -> dict[str, str | None]:
    return {
        "qualified_name": f"{module.__name__}.{name}",
        "module": module.__name__,
        "name": name,
        "kind": kind,
        "signature": _signature(value),
        "documentation": inspect.getdoc(value) or None,
    }


def _signature(value: Any) -> str:
    """The signature as Python prints it. Defaults that are objects become ``...``: they would print memory addresses or
    values from the environment."""
    try:
        signature = inspect.signature(value)
    except Exception:  # many functions written in C have no signature, or one with defaults that do not exist
        return ""
    parameters = [
        parameter if _is_literal(parameter.default) else parameter.replace(default=...)
        for parameter in signature.parameters.values()
    ]
    return str(signature.replace(parameters=parameters))


def _is_literal(value: object) -> bool:
    if isinstance(value, tuple):
        return all(_is_literal(item) for item in value)
    return value is None or value is inspect.Parameter.empty or type(value) in (bool, bytes, complex, float, int, str)
