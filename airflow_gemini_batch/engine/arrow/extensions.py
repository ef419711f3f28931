"""Extension types: what they hold, by the types that are known here. Others have a meaning that only their library knows."""

from __future__ import annotations

import pyarrow as pa

from airflow_gemini_batch.engine.arrow.layouts import EXTENSION_NAME

#: What can be read: Arrow's own, and those of pandas' columns.
UUID, JSON, BOOL8, PERIOD, INTERVAL = "arrow.uuid", "arrow.json", "arrow.bool8", "pandas.period", "pandas.interval"
_KNOWN = {UUID, JSON, BOOL8, PERIOD, INTERVAL}


def extension_of(type: pa.DataType) -> str | None:
    """The name of an extension type, else None."""
    return str(type.extension_name) if isinstance(type, pa.BaseExtensionType) else None


def why_unknown(field: pa.Field) -> str | None:
    """Why the values of this field mean nothing here; None when they do. Its children are not looked at.

    A type that no library has registered in this process shows as its storage type, and has its name in the field's metadata.
    """
    name = extension_of(field.type)
    registered = name is not None
    if name is None and (written := (field.metadata or {}).get(EXTENSION_NAME)):
        name = written.decode(errors="replace")
    if name is None or (registered and name in _KNOWN):
        return None
    return f"holds values of the extension type {name!r}, whose meaning is not known here"


def register_pandas(schema: pa.Schema) -> bool:
    """Import the extension types of pandas where a field needs them; whether it did. The schema must then be read again."""
    names = {(field.metadata or {}).get(EXTENSION_NAME) for field in schema if not isinstance(field.type, pa.BaseExtensionType)}
    if not names & {PERIOD.encode(), INTERVAL.encode()}:
        return False
    import pandas.core.arrays.arrow.extension_types  # noqa: F401 - seconds, and only such columns need it

    return True
