"""Carried columns: refused before anything is paid, and with one type from the build to a resubmitted row."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from airflow_gemini_batch.engine.build.shards import build_shards
from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.request.encoding import compile_request
from airflow_gemini_batch.engine.request.fingerprints import Fingerprinter
from airflow_gemini_batch.engine.run.layout import Run
from airflow_gemini_batch.engine.run.shard_inputs import open_inputs
from airflow_gemini_batch.engine.run.storage import locate
from airflow_gemini_batch.engine.source.open import open_source
from airflow_gemini_batch.engine.specs import GenerateRequest


def carried(tmp_path: Path, source: Any) -> pa.Table:
    """The carried columns in the inputs files of a run that was built from the source."""
    opened = open_source(source)
    encoder = compile_request(GenerateRequest(prompt="Hello"), opened.schema, "m")
    run = Run(locate(str(tmp_path / "run")))
    options = BatchOptions(max_shard_requests=1)
    fingerprinter = Fingerprinter("m", encoder.spec)
    built = build_shards(
        opened, encoder, run=run, key=None, carry=opened.schema.names, options=options, fingerprinter=fingerprinter
    )
    batches: list[pa.RecordBatch] = []
    for shard in built.shards:
        with open_inputs(run, shard) as inputs:
            batches += [batch.select(inputs.carry.names) for batch in inputs.batches]
            assert pa.Table.from_batches(batches).to_pydict()
    return pa.Table.from_batches(batches)


_SECOND = 1_000_000_000


@pytest.mark.parametrize(
    "form", [pa.table, lambda columns: pa.table(columns).to_reader(), lambda columns: iter(pa.table(columns).to_batches())]
)
@pytest.mark.parametrize(("last", "unit"), [(_SECOND, "us"), (_SECOND + 1, "ns")])
def test_nanoseconds_stay_only_where_they_are_needed(form: Callable[[Any], Any], last: int, unit: str, tmp_path: Path) -> None:
    column = pa.array([0, None, last], pa.timestamp("ns"))
    lists = pa.ListArray.from_arrays(pa.array([0, 1, 2, 3], pa.int32()), column)

    table = carried(tmp_path, form({"a": column, "b": lists, "c": column.slice(0, 1).take(pa.array([0, 0, 0]))}))

    assert table.schema == pa.schema([("a", pa.timestamp(unit)), ("b", pa.list_(pa.timestamp(unit))), ("c", pa.timestamp("us"))])
    assert table.column("a").cast(pa.timestamp("ns")).combine_chunks().equals(column)


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (pa.array([2**62]).cast(pa.timestamp("s")), "holds a value that does not fit"),
        (pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])]), "Parquet has no type for"),
        (pa.StructArray.from_arrays([pa.array([1]), pa.array([1])], ["a", "a"]), "more than one field called 'a'"),
        (
            pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(pa.int8(), [1]), pa.array([[1]], pa.list_(pa.int8(), 1))),
            "fixed_shape_tensor",
        ),
    ],
    ids=["far time", "union", "named twice", "extension"],
)
def test_what_tables_cannot_hold_is_refused_by_name(column: pa.Array, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"carry names the column 'odd', which .*{words}.*leave it out of carry") as refused:
        carried(tmp_path, pa.table({"odd": column}))

    assert "\n" not in str(refused.value)
