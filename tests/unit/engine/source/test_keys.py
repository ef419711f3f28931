"""Every row has a key and no two rows have the same, in tables of any length."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.source.keys import (
    KeyIndex,
    check_key_column,
    read_keys,
    refuse_missing_keys,
    stable_hash,
    stable_hashes,
)


def refuse_doubles(keys: list[str], index: KeyIndex) -> None:
    with contextlib.closing(index):
        for start in range(0, len(keys), 3):
            index.add(keys[start : start + 3])
        index.refuse_doubles("id", lambda: keys)


@given(st.lists(st.text(max_size=2), max_size=30))
def test_doubles_are_found_exactly_where_they_are(keys: list[str]) -> None:
    if len(set(keys)) == len(keys):
        refuse_doubles(keys, KeyIndex())
    else:
        with pytest.raises(InputError, match="has duplicate keys"):
            refuse_doubles(keys, KeyIndex())


def test_keys_that_share_a_hash_are_no_doubles() -> None:
    refuse_doubles([f"k{number}" for number in range(50)], KeyIndex(hash=lambda key: len(key)))


def test_keys_that_share_a_hash_do_not_hide_a_double() -> None:
    with pytest.raises(InputError, match="'a' in rows 0 and 2 "):
        refuse_doubles(["a", "b", "a"], KeyIndex(hash=lambda key: 7))


def test_the_keys_are_not_read_again_when_no_hash_repeats() -> None:
    def never() -> Iterator[str]:
        raise AssertionError("read again")

    with contextlib.closing(KeyIndex()) as index:
        index.add(["a", "b"])

        index.refuse_doubles("id", never)


def test_the_first_ten_doubles_are_named_with_their_rows() -> None:
    keys = [str(number) for number in range(20)] * 2

    with pytest.raises(InputError) as raised:
        refuse_doubles(keys, KeyIndex())

    message = str(raised.value)
    assert "'0' in rows 0 and 20, '1' in rows 1 and 21" in message
    assert "'9' in rows 9 and 29 (" in message
    assert "'10'" not in message
    assert "the first ten are named here" in message


def test_a_very_long_key_is_cut_in_the_message() -> None:
    with pytest.raises(InputError) as raised:
        refuse_doubles(["x" * 5000] * 2, KeyIndex())

    assert len(str(raised.value)) < 500


def test_rows_without_a_key_are_named_with_what_they_hold() -> None:
    block = pa.record_batch({"id": ["a", None, "", "d"]})

    with pytest.raises(InputError, match=r"'id' has rows without a key: row 101 is null, row 102 is an empty string \("):
        refuse_missing_keys("id", [(100, block)])


def test_at_most_ten_rows_without_a_key_are_named() -> None:
    block = pa.record_batch({"id": pa.nulls(25, pa.string())})

    with pytest.raises(InputError, match=r"row 9 is null .*the first ten") as raised:
        refuse_missing_keys("id", [(0, block)])

    assert "row 10 " not in str(raised.value)


@pytest.mark.parametrize(
    "type", [pa.float64(), pa.float16(), pa.binary(), pa.list_(pa.string()), pa.struct([]), pa.map_(pa.string(), pa.string())]
)
def test_a_column_that_has_no_certain_text_is_no_key(type: pa.DataType) -> None:
    with pytest.raises(InputError, match="'id' holds"):
        check_key_column("id", pa.schema([("id", type)]))


@pytest.mark.parametrize("type", [pa.string(), pa.int64(), pa.uint8(), pa.date32(), pa.decimal128(5, 2), pa.uuid(), pa.null()])
def test_a_column_that_has_one_is(type: pa.DataType) -> None:
    check_key_column("id", pa.schema([("id", type)]))


def test_without_a_key_column_rows_are_numbered_from_where_the_block_begins() -> None:
    assert read_keys(None, pa.record_batch({"a": [1, 2]}), 40) == ["40", "41"]


def test_a_number_and_its_text_are_the_same_key() -> None:
    assert read_keys("id", pa.record_batch({"id": [7]}), 0) == read_keys("id", pa.record_batch({"id": ["7"]}), 0)


def test_hashes_for_other_processes_are_the_same_for_one_key_and_for_many() -> None:
    keys = ["", "a", "a\0", "id-00000001", "id-00000002", "é" * 100, "\ud800", "x" * 5000]

    assert stable_hashes(keys).tolist() == [stable_hash(key) for key in keys]
    assert stable_hash("id-00000001") == stable_hashes(["id-00000001"])[0]


def test_hashes_of_close_keys_are_spread_evenly() -> None:
    hashes = stable_hashes([f"id-{number:08d}" for number in range(10_000)]).tolist()

    assert len(set(hashes)) == 10_000
    assert all(1100 < count < 1400 for count in Counter(hash >> 61 for hash in hashes).values())
