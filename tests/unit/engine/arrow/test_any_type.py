"""Every Arrow type, alone and nested: it has a text or is refused by its type, and the tables carry it or it is refused."""

from __future__ import annotations

import json
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given

from airflow_gemini_batch.engine.arrow.carried import carried, carried_type
from airflow_gemini_batch.engine.arrow.layouts import converted, plain_type
from airflow_gemini_batch.engine.arrow.texts import texts, why_no_text
from airflow_gemini_batch.engine.arrow.values import NoText
from airflow_gemini_batch.engine.run.tables import require_parquet
from airflow_gemini_batch.engine.source.blocks import row_bytes
from tests.unit.engine.arrow.any_type import LEAVES, NESTINGS, column_of, columns

#: Types whose texts are numbers or such in JSON, and so stand there without quotes.
_BARE = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal)


@pytest.mark.parametrize("nesting", ["alone", *NESTINGS])
@pytest.mark.parametrize("leaf", [leaf for _, leaf in LEAVES], ids=[str(type) for type, _ in LEAVES])
def test_every_type_is_carried_through_parquet(leaf: Callable[[], pa.Array], nesting: str) -> None:
    goes_through_parquet(column_of(leaf, [] if nesting == "alone" else [nesting]))


@given(columns)
def test_types_in_types_are_carried_through_parquet(column: pa.Array) -> None:
    goes_through_parquet(column)


def goes_through_parquet(column: pa.Array) -> None:
    field = pa.field("a", carried_type(pa.field("a", column.type), nanoseconds=True))
    require_parquet(pa.schema([field]))

    made = carried(column, field.type)

    made.validate(full=True)
    assert (made.type, len(made)) == (field.type, len(column))
    if column.type != pa.null():
        assert made.is_null().equals(converted(column, plain_type(column.type)).is_null())
    file = pa.BufferOutputStream()
    pq.write_table(pa.table([made], pa.schema([field])), file)
    found = pq.ParquetFile(pa.BufferReader(file.getvalue())).read()
    assert found.schema.field(0) == field
    assert found.column(0).combine_chunks().equals(made)


@given(columns)
def test_a_plain_layout_holds_the_same_values(column: pa.Array) -> None:
    plain = converted(column, plain_type(column.type))

    plain.validate(full=True)
    assert plain.type == plain_type(column.type)
    assert len(plain) == len(column)
    assert list(row_bytes(pa.record_batch({"a": plain}))) is not None
    if why_no_text(column.type) is None:
        assert texts(plain) == texts(column)


@given(columns)
def test_every_value_has_a_text_or_a_reason(column: pa.Array) -> None:
    if why_no_text(column.type) is not None:
        return

    written = texts(column)

    assert len(written) == len(column)
    assert all(text is None or isinstance(text, (str, NoText)) for text in written)
    if pa.types.is_nested(plain_type(column.type)):
        for text in written:
            assert not isinstance(text, str) or json.loads(text) is not None


@pytest.mark.parametrize("leaf", [leaf for _, leaf in LEAVES], ids=[str(type) for type, _ in LEAVES])
def test_a_nested_value_reads_as_it_does_alone(leaf: Callable[[], pa.Array]) -> None:
    column = leaf()
    if why_no_text(column.type) is not None or pa.types.is_nested(column.type) or column.type == pa.json_():
        return
    alone = texts(column)
    is_bare = any(is_of(column.type) for is_of in _BARE) or column.type == pa.bool8()

    nested = texts(pa.StructArray.from_arrays([column], ["a"]))

    for one, inside in zip(alone, nested, strict=True):
        if isinstance(one, NoText):
            assert inside == one
        elif one is None or one in ("nan", "inf"):
            assert inside == '{"a":null}'
        else:
            assert inside == (f'{{"a":{one}}}' if is_bare else json.dumps({"a": one}, ensure_ascii=False, separators=(",", ":")))


@pytest.mark.parametrize(
    ("column", "text"),
    [
        (pa.array([{"a": 0.1}], pa.struct([("a", pa.float32())])), '{"a":0.1}'),
        (pa.array([{"a": 1}], pa.struct([("a", pa.time64("ns"))])), '{"a":"00:00:00.000000001"}'),
        (LEAVES[-3][1]().slice(0, 1), "2026-01"),
        (LEAVES[-2][1]().slice(0, 1), "(0, 1]"),
        (pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1], pa.int8())), "true"),
        (
            pa.StructArray.from_arrays([pa.ExtensionArray.from_storage(pa.json_(), pa.array(['{"x": 1}']))], ["a"]),
            '{"a":{"x": 1}}',
        ),
        (pa.array([[({"x": 1}, 2)]], pa.map_(pa.struct([("x", pa.int8())]), pa.int8())), '[[{"x":1},2]]'),
        (pa.array([[(1, 2)]], pa.map_(pa.int8(), pa.int8())), '{"1":2}'),
        (pa.array([0], pa.timestamp("s", "UTC")), "1970-01-01T00:00:00Z"),
    ],
    ids=str,
)
def test_the_text_of_values_inside_and_of_extension_types(column: pa.Array, text: str) -> None:
    assert texts(column) == [text]


class Unknown(pa.ExtensionType):
    def __init__(self) -> None:
        super().__init__(pa.int64(), "acme.money")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage: pa.DataType, serialized: bytes) -> Unknown:
        return cls()


_TWICE = pa.struct([pa.field("a", pa.int8()), pa.field("a", pa.int8())])


@pytest.mark.parametrize(
    ("field", "reason"),
    [
        (pa.field("x", Unknown()), "'acme.money'"),
        (pa.field("x", pa.list_(Unknown())), "'acme.money'"),
        (pa.field("x", pa.int64(), metadata={"ARROW:extension:name": "acme.money"}), "'acme.money'"),
        (pa.field("x", pa.fixed_shape_tensor(pa.int8(), [2])), "'arrow.fixed_shape_tensor'"),
        (pa.field("x", _TWICE), "more than one field called 'a'"),
        (pa.field("x", pa.dense_union([pa.field("a", pa.int8())])), "union"),
        (pa.field("x", pa.timestamp("us", "Mars/Phobos")), "'Mars/Phobos'"),
    ],
    ids=str,
)
def test_types_without_a_text_are_refused_with_what_they_are(field: pa.Field, reason: str) -> None:
    assert reason in str(why_no_text(field))
    assert reason in str(why_no_text(pa.struct([field])))
