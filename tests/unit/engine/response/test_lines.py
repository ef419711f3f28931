"""The lines of an output do not depend on the blocks that they are read in, and what is known of a block holds for its lines."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_gemini_batch.engine.response import lines as module
from airflow_gemini_batch.engine.response.lines import LongLine, OutputLines, is_utf8
from airflow_gemini_batch.engine.response.responses import classify

PIECES = [
    *(b"\n", b"\r\n", b"\r", b" ", b"\xc3\xa9", "日😀\u2028\x85".encode(), b"\xff", b"\xc3", b"a" * 30, b"\\u006bey", b"\x00"),
    b'{"key":"a","response":{"candidates":[{"content":{"parts":[{"text":"\xc3\xa9"}]},"finishReason":"STOP"}],'
    b'"usageMetadata":{"totalTokenCount":3}}}\n',
    b'{"key":"b","\\u006bey":"c","response":{"candidates":[{"content":{"parts":[{"text":"x"}]},"finishReason":"STOP"}],'
    b'"usageMetadata":{"totalTokenCount":3}}}\n',
    b'{"key":"d","response":{"candidates":[{"content":{"parts":[{"text":"x"}]},"finishReason":"STOP"}],'
    b'"usageMetadata":{"totalTokenCount":3},"skipped":"\xff"}}\n',
]
OUTPUTS = st.lists(st.sampled_from(PIECES) | st.binary(max_size=5), max_size=12).map(b"".join)


def one_by_one(output: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    for line in io.BytesIO(output):
        if not line.isspace():
            yield at, line.rstrip(b"\r\n")
        at += len(line)


def read(output: bytes, block: int) -> list[tuple[int, bytes | LongLine, bool]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK_BYTES", block)
        return list(OutputLines(io.BytesIO(output)))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(output=OUTPUTS, block=st.sampled_from([1, 7, 40, 300, 1 << 20]))
def test_lines_and_places_are_those_of_a_file_read_line_by_line(output: bytes, block: int) -> None:
    assert [(at, line) for at, line, _ in read(output, block)] == list(one_by_one(output))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(output=OUTPUTS, block=st.sampled_from([1, 40, 300, 1 << 20]))
def test_what_a_line_says_does_not_depend_on_its_block(output: bytes, block: int) -> None:
    for _, line, plain in read(output, block):
        assert classify(line, plain) == classify(line)


@pytest.mark.parametrize(
    ("content", "plain"),
    [
        (b"", True),
        (b'{"key": 1}', True),
        ("é 日 😀 \u2028".encode(), True),
        (b"\xff", False),
        (b"a\xc3", False),
        (b"\xed\xa0\x80", False),
    ],
)
def test_plain_is_valid_utf8(content: bytes, plain: bool) -> None:
    assert is_utf8(content) is plain


def test_a_broken_line_costs_its_block_the_quick_check_and_no_line_more() -> None:
    output = b'{"key":"a"}\n\xff\n{"key":"b"}\n'

    assert [plain for _, _, plain in read(output, 1 << 20)] == [False, False, False]
    assert [plain for _, _, plain in read(output, 1)] == [True, False, True]
