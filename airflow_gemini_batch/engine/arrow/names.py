"""Names of columns: the check that a source has every column that is named."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import pyarrow as pa

from airflow_gemini_batch.engine.errors import InputError

#: Columns that an error lists; a wide table has thousands.
_LISTED = 50


#: Key of a schema's metadata: a sentence about names that are not columns, such as the index of a DataFrame.
ADVICE = b"airflow_gemini_batch.advice"


def require_columns(named: Sequence[str], schema: pa.Schema, *, by: str, hint: str = "") -> None:
    """Raise InputError if a named column is missing; the message lists the columns that exist, the most similar first.

    :param named: the columns that are needed; duplicates are allowed.
    :param schema: of the source. Its metadata may have ``ADVICE``, which is added to the message.
    :param by: the argument that names them, for the message, such as ``key``.
    :param hint: added to the end of the message.
    """
    available = schema.names
    missing = [name for name in dict.fromkeys(named) if name not in available]
    if not missing:
        return
    closest = difflib.get_close_matches(missing[0], available, n=max(len(available), 1), cutoff=0.6)
    ordered = [*closest, *(name for name in available if name not in closest)]
    shown = ", ".join(map(repr, ordered[:_LISTED])) + (f" and {len(ordered) - _LISTED} more" if len(ordered) > _LISTED else "")
    advice = (schema.metadata or {}).get(ADVICE, b"").decode()
    raise InputError(
        f"{by} names {'a column' if len(missing) == 1 else 'columns'} that the source does not have: "
        f"{', '.join(map(repr, missing))}. It has: {shown or 'no columns'}.{advice}{hint}"
    )
