"""What whole columns of requests are escaped and joined to is what JSON says, row by row."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_gemini_batch.engine.request.encoded import Encoded, InvalidRow, content_of, escaped, joined

TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"])) | st.text('\\"\n\r\t\b\f\x00\x1f\x7fé\u2028😀'), min_size=1)


@given(texts=TEXTS, start=st.integers(0, 3))
@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_an_escaped_text_reads_as_it_was(kind: pa.DataType, texts: list[str], start: int) -> None:
    column = pa.array(texts, kind).slice(min(start, len(texts) - 1))

    read = [json.loads(b'"%b"' % inside) for inside in escaped(column).to_pylist()]

    assert read == column.to_pylist()


@given(texts=TEXTS)
def test_only_what_json_asks_for_is_escaped(texts: list[str]) -> None:
    inside = [value.decode() for value in escaped(pa.array(texts)).to_pylist()]

    assert inside == [json.dumps(text, ensure_ascii=False)[1:-1] for text in texts]


def test_a_row_of_which_a_piece_is_null_is_null() -> None:
    column = joined(b"{", pa.array([b"a", None], pa.large_binary()), b"}", length=2)

    assert column.to_pylist() == [b"{a}", None]
    assert bytes(content_of(column)) == b"{a}"


def test_constants_alone_are_the_same_for_every_row() -> None:
    assert joined(b"{", b"}", length=3).to_pylist() == [b"{}"] * 3


def test_what_was_made_row_by_row_is_found_again_row_by_row() -> None:
    rows = [b"{}", InvalidRow("no"), b"[]"]

    encoded = Encoded.of(rows)

    assert (encoded.rows(), encoded.problems) == (rows, {1: "no"})
