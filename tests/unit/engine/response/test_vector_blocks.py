"""Vectors that are read with their block are those that are read one by one, and so are the answers that hold them."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_gemini_batch.engine.response import answer_blocks
from airflow_gemini_batch.engine.response.answer_blocks import read_block
from airflow_gemini_batch.engine.response.answer_columns import Answers
from airflow_gemini_batch.engine.response.embeddings import EmbeddingColumn
from airflow_gemini_batch.engine.response.extras import Extras, completed
from airflow_gemini_batch.engine.response.lines import OutputLines
from airflow_gemini_batch.engine.response.responses import Answer, classify

COLUMN = EmbeddingColumn(3)
PLAIN = '{"embedding":{"values":[0.25,-1e-7,3]},"tokenCount":"90"}'


def embedded(**changed: Any) -> str:
    return json.dumps({"embedding": {"values": [0.1, 2, -3e5]}, "tokenCount": "7", **changed})


RESPONSES = [
    PLAIN,
    PLAIN.replace("0.25", "1e39"),
    PLAIN.replace("0.25", "1e999"),
    PLAIN.replace("0.25", "NaN"),
    PLAIN.replace("0.25", '"0.25"'),
    PLAIN.replace("0.25", "null"),
    PLAIN.replace("0.25", "0.25,1"),
    PLAIN.replace("0.25,", ""),
    PLAIN.replace("0.25", "12345678901234567890123"),
    PLAIN.replace("0.25", "01"),
    PLAIN.replace("0.25", "[" * 3000),
    PLAIN.replace('"90"', "90"),
    PLAIN.replace('"90"', "90.0"),
    PLAIN.replace('"90"', '"9223372036854775808"'),
    PLAIN.replace('"90"', '"ninety"'),
    PLAIN.replace('"90"', "null"),
    PLAIN.replace('"tokenCount"', '"token_count"'),
    PLAIN.replace('"values":', '"values":["a"],"values":'),
    PLAIN.replace('{"values":[0.25,-1e-7,3]}', "[]"),
    PLAIN.replace("{", '{"candidates":[{"finishReason":"STOP"}],"candidates":null,', 1),
    PLAIN[:-1],
    PLAIN + " ",
    PLAIN + PLAIN,
    "{}",
    embedded(),
    embedded(more={"is": ["skipped", 1, None]}),
    embedded(embedding={"values": [], "statistics": {"truncated": False}}),
    embedded(embedding={"values": [1, 2, 3], "shape": [3]}),
    embedded(embedding=None),
    embedded(candidates=[]),
    embedded(candidates=5),
    embedded(candidates=[{"content": {"parts": [{"text": "a"}]}, "finishReason": "STOP"}]),
    embedded(usageMetadata={"promptTokenCount": 9, "totalTokenCount": 9}),
    embedded(usageMetadata=None, modelVersion="gemini-embedding-001", responseId="é"),
    embedded(modelVersion="", responseId=""),
    embedded(modelVersion=7),
]
LINES = [
    *(b'{"key":"%d","response":%s}' % (place, raw.encode()) for place, raw in enumerate(RESPONSES)),
    *(b'{"response":%s,"key":"%d"}' % (raw.encode(), place) for place, raw in enumerate(RESPONSES[::4])),
    b'{"key":"a\\"b","response":%s}' % PLAIN.encode(),
    b'{"key":"\xff","response":%s}' % PLAIN.encode(),
    b'{"key":"a","response":%s,"key":"b"}' % PLAIN.encode(),
    b'{"key":"a","error":{"code":8,"message":"m"}}',
    b"garbage",
    b"",
    b" \t",
    b'{"key":"r","response":%s}\r\r' % PLAIN.encode(),
    b'  {"key":"space","response":%s}' % PLAIN.encode(),
]


def check(lines: list[bytes]) -> None:
    one_by_one = [classify(line.rstrip(b"\r")) for line in lines if line.strip()]
    expected = [one for one in one_by_one if isinstance(one, Answer)]

    reads = [read_block(block, COLUMN.answers) for block in OutputLines(io.BytesIO(b"\n".join(lines))).blocks()]

    said = [line for read in reads for line in read.lines]
    assert said == [one.key if isinstance(one, Answer) else one for one in one_by_one]
    assert [answer for read in reads for answer in read.answers.each()] == expected
    for read in reads:
        read.answers.rows.validate(full=True)
    alone, problems_alone = COLUMN.read(expected)
    together, problems = completed(COLUMN, Answers.joined([read.answers for read in reads]) if reads else Answers.of([]))
    together.validate(full=True)
    assert (together.to_pylist(), problems) == (alone.to_pylist(), problems_alone)


@pytest.mark.parametrize("line", LINES)
def test_a_vector_is_the_same_alone_and_between_ordinary_ones(line: bytes) -> None:
    check([line])
    check([LINES[0], line, LINES[0]])


@settings(deadline=None)
@given(lines=st.lists(st.sampled_from(LINES), max_size=8))
def test_any_lines_hold_together_the_vectors_that_they_hold_one_by_one(lines: list[bytes]) -> None:
    check(lines)


@settings(deadline=None)
@given(values=st.lists(st.floats(width=64, allow_nan=False, allow_infinity=False) | st.integers(), min_size=3, max_size=3))
def test_any_values_are_the_same(values: list[float]) -> None:
    check([LINES[0], b'{"key":"any","response":%s}' % embedded(embedding={"values": values}).encode()])


def test_ordinary_vectors_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_blocks, "classify", None)
    lines = OutputLines(io.BytesIO(b"\n".join([LINES[0]] * 5)))
    answers = Answers.joined([read_block(block, COLUMN.answers).answers for block in lines.blocks()])
    monkeypatch.setattr(EmbeddingColumn, "read", None)

    columns, problems = Extras((COLUMN,)).read(answers.take([0, 2, 4]).slice(1, 3))

    assert columns["embedding"].to_pylist() == [[0.25, pytest.approx(-1e-7), 3.0]] * 2
    assert problems == {}


def test_vectors_of_some_pieces_are_joined_with_those_that_are_read_later() -> None:
    [block] = OutputLines(io.BytesIO(LINES[0])).blocks()
    read = read_block(block, COLUMN.answers).answers
    unread = Answers.of(read.each())

    joined = Answers.joined([unread, read, unread])

    assert joined.ahead is not None
    assert joined.ahead.is_valid().to_pylist() == [False, True, False]
    assert completed(COLUMN, joined)[0].to_pylist() == [read.ahead[0].as_py()] * 3  # type: ignore[index]
