"""How a missing column is reported."""

from __future__ import annotations

import pyarrow as pa
import pytest

from airflow_gemini_batch.engine.arrow.names import require_columns
from airflow_gemini_batch.engine.errors import InputError


def schema(*names: str) -> pa.Schema:
    return pa.schema([(name, pa.string()) for name in names])


def test_a_missing_column_is_reported_with_the_nearest_spelling_first() -> None:
    with pytest.raises(InputError, match=r"prompt names a column .*: 'txt'\. It has: 'text', 'id', 'lang'"):
        require_columns(["txt"], schema("id", "lang", "text"), by="prompt")


def test_all_missing_columns_are_named_at_once() -> None:
    with pytest.raises(InputError, match="columns that the source does not have: 'a', 'b'"):
        require_columns(["a", "id", "b", "a"], schema("id"), by="carry")


def test_a_source_without_columns_is_reported_as_such() -> None:
    with pytest.raises(InputError, match=r"that the source does not have: 'id'\. It has: no columns"):
        require_columns(["id"], schema(), by="key")
