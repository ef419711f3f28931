"""Columns of every type, carried through a run in which rows are resubmitted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_gemini_batch.emulator import Emulator, RowFault
from airflow_gemini_batch.engine.finish.summary import Summary
from airflow_gemini_batch.engine.specs import GenerateRequest
from tests.unit.engine.arrow.any_type import LEAVES, NESTINGS, column_of

pytestmark = pytest.mark.integration

FORMS: dict[str, Callable[[pa.Table], Any]] = {
    "table": lambda table: table,
    "stream": lambda table: table.to_reader(max_chunksize=4),
    "iterator": lambda table: iter(table.to_batches(max_chunksize=4)),
}


def wide_table(rows: int) -> pa.Table:
    """A column of each type alone and in each type that holds others, where each holds few values in turn."""
    columns: dict[str, Any] = {"id": pa.array([f"k{number}" for number in range(rows)])}
    for place, (_, leaf) in enumerate(LEAVES):
        for nesting in ("alone", *NESTINGS):
            column = column_of(leaf, [] if nesting == "alone" else [nesting])
            columns[f"{place} {nesting}"] = pa.chunked_array([column] * rows).slice(0, rows)
    return pa.table(columns)


@pytest.fixture
def failing_once(emulator: Emulator) -> None:
    """A row that is resubmitted, and one that is not."""
    emulator.faults.add(RowFault(do="error", keys=("k1",), code=8), RowFault(do="error", keys=("k2",), code=3))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.usefixtures("failing_once")
def test_a_table_with_every_type_is_landed_and_resubmitted(form: str, go: Callable[..., Summary], tmp_path: Path) -> None:
    source = wide_table(12)
    carry = source.schema.names[1:]

    summary = go(source=FORMS[form](source), request=GenerateRequest(prompt="Repeat: ${id}"), carry=carry, max_redrives=1)

    assert (summary.rows, summary.balanced) == (12, True)
    schemas = {}
    for table in ("results", "dead_letter"):
        for part in (tmp_path / "run" / table).glob("*.parquet"):
            found = pq.read_schema(part)
            schemas[str(part)] = pa.schema([found.field(name).remove_metadata() for name in carry])
    assert len(schemas) >= 8
    assert len({schema.to_string() for schema in schemas.values()}) == 1
    assert summary.dead_letter == 2
