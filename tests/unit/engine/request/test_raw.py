"""A column of REST requests is sent token by token as it is, or a sentence says why a row of it is not."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.request.encoded import InvalidRow
from airflow_gemini_batch.engine.request.encoding import compile_request
from airflow_gemini_batch.engine.request.raw import compile_raw
from airflow_gemini_batch.engine.specs import RawRequest


def encode(requests: list[Any] | pa.Array) -> list[bytes | InvalidRow]:
    batch = pa.record_batch({"raw": requests})
    return compile_raw(RawRequest(column="raw"), batch.schema, "gemini-3.6-flash").encode(batch).rows()


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        ('{"a": 1.10}', b'{"a":1.10}'),
        (' {\n"a" :\t[ 1 ,\r\n2 ] }\n', b'{"a":[1,2]}'),
        ('{"a": 123456789012345678901234567890, "b": 1e400}', b'{"a":123456789012345678901234567890,"b":1e400}'),
        ('{"a": "\\ud800 x", "b": "\\n\\u00e9 \\" :"}', b'{"a":"\\ud800 x","b":"\\n\\u00e9 \\" :"}'),
        ('{"a": "\\ud800", "b": 1.10, "c": 12345678901234567890123}', b'{"a":"\\ud800","b":1.10,"c":12345678901234567890123}'),
        ('{"a": "x\u2028  y"}', '{"a":"x\u2028  y"}'.encode()),
        ('{"a": 1, "a": 2}', b'{"a":1,"a":2}'),
        (b'{"a": "\xc3\xa9"}', b'{"a":"\xc3\xa9"}'),
    ],
)
def test_raw_json_is_sent_token_by_token_as_it_is(raw: str | bytes, line: bytes) -> None:
    assert encode([raw]) == [line]


@pytest.mark.parametrize("format", ["gemini-embeddings", "openai-embeddings"])
def test_vectors_have_no_schema(format: Any) -> None:
    request = RawRequest(column="raw", format=format, response_schema={"type": "string"})

    with pytest.raises(InputError, match=r"the answers of format=.* are vectors"):
        compile_request(request, pa.schema([("raw", pa.string())]), "gemini-embedding-001")


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (None, "column 'raw' is null"),
        ("", "is not valid JSON"),
        ("{'a': 1}", "is not valid JSON"),
        ('{"a": NaN}', "is not valid JSON"),
        ('{"a": "\\ud800", "b": Infinity}', "is not valid JSON"),
        ('{"a": "x\ny"}', "is not valid JSON"),
        ('{"a": 01}', "is not valid JSON"),
        ('{"a": 1} {"b": 2}', "is not valid JSON"),
        ('{"a":' + "[" * 100_000, "is not valid JSON"),
        ("[1, 2]", "JSON that is not an object: [1,2]"),
        ('"{}"', "JSON that is not an object"),
        (b'{"a": "\xff"}', "is not valid UTF-8"),
    ],
)
def test_a_raw_request_that_is_no_json_object_is_a_problem_of_its_row(raw: str | bytes | None, message: str) -> None:
    kind = pa.binary() if isinstance(raw, bytes) else pa.string()

    bad, good = encode(pa.array([raw, b"{}" if kind == pa.binary() else "{}"], kind))

    assert isinstance(bad, InvalidRow)
    assert message in bad.message
    assert good == b"{}"


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), json_values), st.sampled_from([None, 2, "\t"]), st.booleans())
def test_a_raw_request_means_the_same_after_minifying(request_: dict[str, Any], indent: Any, ascii_only: bool) -> None:
    raw = json.dumps(request_, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "replace")
    minified = json.dumps(json.loads(raw), separators=(",", ":"), ensure_ascii=ascii_only).encode("utf-8", "replace")

    assert encode(pa.array([raw], pa.binary())) == [minified]
