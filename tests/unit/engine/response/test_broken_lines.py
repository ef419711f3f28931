"""A line whose bytes are broken keeps its row; one whose key is uncertain decides about no row."""

from __future__ import annotations

import json

import pytest

from tests.unit.engine.response.test_responses import EMBEDDING, ERROR, SUCCESS, answer, garbage, refusal


class TestInvalidUtf8:
    """A broken byte costs at most one character."""

    @pytest.mark.parametrize("broken", [b"\xff", b"\xc3", b"\xe2\x80", b"\xf0\x9f\x98", b"\x80", b"\xed\xa0\x80", b"\xc0\xaf"])
    @pytest.mark.parametrize("place", [b"AI learns", b"gemini-2.5-flash", b"6VFkaIDwEPXVjMcP4-XW6Qo", b"TEXT"])
    def test_a_broken_byte_does_not_cost_the_row(self, place: bytes, broken: bytes) -> None:
        read = answer(SUCCESS.replace(place, b"a" + broken + b"b"))

        assert (read.key, read.total_tokens, read.finish_reason) == ("request_1", 848, "STOP")
        assert "a\ufffd" in read.response.decode()
        assert read.text is not None
        assert read.text.endswith(" …")

    @pytest.mark.parametrize("raw", [EMBEDDING.replace(b'"tokenCount"', b'"x":"\xff","tokenCount"'),
                                     EMBEDDING.replace(b'{"response"', b'{"\xff":1,"response"')])  # fmt: skip
    def test_an_embedding_keeps_its_vector(self, raw: bytes) -> None:
        assert b"-0.034119852" in answer(raw).response

    def test_an_error_keeps_its_code_and_words(self) -> None:
        read = refusal(b'{"key":"a","error":{"code":8,"message":"quota \xff exceeded"}}')

        assert (read.code, read.status, read.message) == (8, "RESOURCE_EXHAUSTED", "quota \ufffd exceeded")


class TestKeys:
    def test_the_key_of_an_inline_job_is_in_the_metadata(self) -> None:
        assert answer(SUCCESS.replace(b'"key":"request_1"', b'"metadata":{"key":"r1"}')).key == "r1"

    @pytest.mark.parametrize(("key", "text"), [(b'"17"', "17"), (b'"\\u00e9"', "é"), (b'""', ""), (b'"nan"', "nan")])
    def test_a_key_is_a_string(self, key: bytes, text: str) -> None:
        assert answer(SUCCESS.replace(b'"request_1"', key)).key == text

    @pytest.mark.parametrize("key", [b"17", b"0", b"-5", b"18446744073709551616", b"9" * 5000])
    @pytest.mark.parametrize(
        "place", [b'"key":%b', b'"key" : %b ', b'"metadata":{"key":%b}', b'"key":%b,"metadata":{"key":"%b"}']
    )
    def test_an_integer_is_read_as_its_digits(self, place: bytes, key: bytes) -> None:
        line = place.replace(b"%b", key)

        assert answer(SUCCESS.replace(b'"key":"request_1"', line)).key == key.decode()

    @pytest.mark.parametrize(
        "key",
        [b"null", b"true", b'["a"]', b'{"a":1}', b"1.5", b"1.0", b"-0", b"1e3", b"NaN", b"Infinity", b"1e999", rb'"\ud800"',
         b"[]", b'"request_\xff"', b'"\xf0\x9f"', rb'"\ud83d' + b'\xb0"'],
    )  # fmt: skip
    @pytest.mark.parametrize("place", [b'"key":%b', b'"metadata":{"key":%b}'])
    def test_what_cannot_be_a_key_sets_the_line_aside(self, place: bytes, key: bytes) -> None:
        assert garbage(SUCCESS.replace(b'"key":"request_1"', place % key)).key is None

    @pytest.mark.parametrize("first", [SUCCESS[:-1], ERROR[:-1], b'{"response":{},"key":"a"'])
    @pytest.mark.parametrize(
        "second",
        [b'"key":"b"', b'"key":7', b'"key":"\xff"', rb'"k\u0065y":"b"', rb'"\u006bey":"b"', b'"metadata":{"key":"b"}',
         b'"metadata":{"key":["x"]}'],
    )  # fmt: skip
    def test_a_line_with_two_keys_is_set_aside(self, first: bytes, second: bytes) -> None:
        assert garbage(first + b"," + second + b"}").key is None

    def test_two_keys_in_the_metadata_are_two_keys(self) -> None:
        assert garbage(b'{"response":{},"metadata":{"key":"a","key":"b"}}').key is None

    def test_the_same_key_twice_is_one_key(self) -> None:
        assert answer(SUCCESS[:-1] + b',"key":"request_1","metadata":{"key":"request_1"}}').key == "request_1"

    def test_what_is_called_key_inside_of_the_answer_is_not_a_key(self) -> None:
        raw = json.loads(SUCCESS)
        raw["response"]["candidates"][0]["content"]["parts"].append({"functionCall": {"name": "f", "args": {"key": "other"}}})
        raw["response"]["candidates"][0]["content"]["parts"][0]["text"] = '{"key":"other"}'

        assert answer(json.dumps(raw).encode()).key == "request_1"
