"""A block of lines says what its lines say one by one, whatever Arrow makes of them."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_gemini_batch.engine.response import answer_blocks
from airflow_gemini_batch.engine.response.answer_blocks import read_block
from airflow_gemini_batch.engine.response.lines import OutputLines
from airflow_gemini_batch.engine.response.responses import Answer, classify


def response(**changed: Any) -> dict[str, Any]:
    candidate = {"content": {"role": "model", "parts": [{"text": 'a "text"\n é 😀'}]}, "finishReason": "STOP", "index": 0}
    usage = {"promptTokenCount": 8, "candidatesTokenCount": 11, "totalTokenCount": 19}
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "gemini", "responseId": "r", **changed}


def parts(*found: Any, finish: Any = "STOP") -> dict[str, Any]:
    return response(candidates=[{"content": {"parts": list(found)}, "finishReason": finish}])


def usage(**counts: Any) -> dict[str, Any]:
    return response(usageMetadata={"promptTokenCount": 8, "totalTokenCount": 19, **counts})


TEXT = {"modality": "TEXT", "tokenCount": 8}
IMAGE = {"modality": "IMAGE", "tokenCount": 3}
PLAIN = json.dumps(response())
#: What is read as JSON as it stands, beside what ``json.dumps`` writes.
RAW = [
    PLAIN,
    PLAIN.replace('"STOP"', '"STOP", "avgLogprobs": NaN'),
    PLAIN.replace('"STOP"', '"STOP", "avgLogprobs":-Infinity'),
    PLAIN.replace('"STOP"', '"STOP", "avgLogprobs":\t Inf'),
    PLAIN.replace("text", "text: NaN, [Inf"),
    PLAIN.replace('"STOP"', '"STOP", "deep": ' + "[" * 3000 + "]" * 3000),
    PLAIN.replace('"STOP"', '"STOP", "flat": [' + "{}," * 800 + "0]"),
    PLAIN.replace('"STOP"', '"STOP", "finishReason": "SAFETY"'),
    PLAIN.replace('"STOP"', '"STOP", "x": 1, "x": 2'),
    PLAIN.replace('"STOP"', '"STOP", "x": 1e999'),
    PLAIN.replace('"STOP"', r'"STOP", "x": "\udc00"'),
    PLAIN.replace("text", r"te\ud800xt"),
    PLAIN.replace("text", r"te\u0000xt"),
    PLAIN.replace("text", "te\x00xt"),
    PLAIN.replace("text", "te\txt"),
    PLAIN + PLAIN,
    PLAIN + " x",
    PLAIN[:-1],
    PLAIN[:-1] + ",",
    "{}",
    "[]",
    "null",
    "{" + PLAIN,
    PLAIN.replace("8", "8.0"),
    PLAIN.replace("8", "9223372036854775808"),
    PLAIN.replace("8", "-0"),
    PLAIN.replace("promptTokenCount", "prompt_token_count"),
    *map(
        json.dumps,
        [
            parts({"text": "a"}, {"text": "b"}),
            parts({"text": "thought", "thought": True}, {"text": "b"}),
            parts({"text": "a", "thought": False}, {"functionCall": {"name": "f", "args": {}}}),
            parts({"text": "thought", "thought": True}),
            parts({"text": ""}, {"text": "b"}, None),
            parts({"text": None}),
            parts({"text": 7}),
            parts({"inlineData": {"mimeType": "image/png", "data": "AAAA"}}),
            parts(),
            parts({"text": "a"}, finish="SAFETY"),
            parts({"text": "a"}, finish="A_NEW_ONE"),
            parts({"text": "a"}, finish=""),
            parts({"text": "a"}, finish=None),
            parts({"text": "long " * 20_000}),
            response(candidates=[]),
            response(candidates=None),
            response(candidates=[None]),
            response(candidates=[*response()["candidates"], {"finishReason": "SAFETY"}]),
            response(candidates=[{"finishReason": "STOP"}]),
            response(modelVersion="", responseId=""),
            response(modelVersion=None, responseId=7),
            response(usageMetadata=None),
            response(embedding={"values": [0.5]}, candidates=None),
            usage(promptTokensDetails=[TEXT]),
            usage(promptTokensDetails=[]),
            usage(promptTokensDetails=[TEXT, IMAGE]),
            usage(promptTokensDetails=[IMAGE], candidatesTokensDetails=[TEXT]),
            usage(cacheTokensDetails=[TEXT, IMAGE], cachedContentTokenCount=11),
            usage(toolUsePromptTokensDetails=[{"modality": "AUDIO", "tokenCount": "3"}]),
            usage(toolUsePromptTokensDetails=[{"modality": "AUDIO"}, {}]),
            usage(promptTokensDetails=[None, IMAGE]),
            usage(totalTokenCount=None),
            usage(thoughtsTokenCount=3, toolUsePromptTokenCount=4),
        ],
    ),
]
LINES = [
    *(b'{"response":%s,"key":"%d"}' % (raw.encode(), place) for place, raw in enumerate(RAW)),
    b'{"key": "first", "response": %s}' % PLAIN.encode(),
    b'\t{"key":"first","response":%s} ' % PLAIN.encode(),
    b'{"response":%s,"key":"a\\"b\\u003c"}' % PLAIN.encode(),
    b'{"response":%s,"key":"\\ud800"}' % PLAIN.encode(),
    b'{"response":%s,"key":7}' % PLAIN.encode(),
    b'{"response":%s,"key":"a","key":"b"}' % PLAIN.encode(),
    b'{"response":%s,"k\\u0065y":"a","key":"b"}' % PLAIN.encode(),
    b'{"response":%s,"error":{"code":13},"key":"b"}' % PLAIN.encode(),
    b'{"response":%s,"metadata":{"key":"b"}}' % PLAIN.encode(),
    b'{"error":{"code":8,"message":"m"},"key":"b"}',
    b'{"response":{"candidates":[{"content":{"parts":[{"text":"\xff"}]},"finishReason":"STOP"}]},"key":"b"}',
    b"garbage",
]  # fmt: skip


def check(lines: list[bytes]) -> None:
    """Compare the answers, the refusals and the garbage, and their order."""
    one_by_one = [classify(line) for line in lines]

    reads = [read_block(block) for block in OutputLines(io.BytesIO(b"\n".join(lines))).blocks()]

    said = [line for read in reads for line in read.lines]
    assert said == [one.key if isinstance(one, Answer) else one for one in one_by_one]
    answers = [answer for read in reads for answer in read.answers.each()]
    assert answers == [one for one in one_by_one if isinstance(one, Answer)]
    for read in reads:
        read.answers.rows.validate(full=True)


@pytest.mark.parametrize("line", LINES)
def test_a_line_says_the_same_alone_and_between_ordinary_ones(line: bytes) -> None:
    check([line])
    check([LINES[0], line, LINES[0]])


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(lines=st.lists(st.sampled_from([LINES[0], LINES[0], *LINES[-30:], *LINES]), max_size=8))
def test_any_lines_say_together_what_they_say_one_by_one(lines: list[bytes]) -> None:
    check(lines)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(text=st.text(), key=st.text(), ascii=st.booleans(), cut=st.integers(0, 200))
def test_any_text_any_key_and_any_cut_say_the_same(text: str, key: str, ascii: bool, cut: int) -> None:
    line = json.dumps({"response": parts({"text": text}), "key": key}, ensure_ascii=ascii).encode("utf-8", "surrogatepass")

    check([line, line[: len(line) - cut], line])


def test_ordinary_answers_are_not_read_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_blocks, "classify", None)

    check([LINES[0], *(b'{"response":%s,"key":"b"}' % raw.encode() for raw in RAW if "thought" in raw and '"b"' in raw)])


def test_a_constant_at_the_edge_of_a_piece_is_found() -> None:
    for shift in range(8):
        line = b'{"response":%s,"key":"a"}' % PLAIN.replace('"STOP"', '"STOP", "x": NaN').encode()
        filling = b'{"response":{"candidates":[{"content":{"parts":[{"text":"%s"}]},"finishReason":"STOP"}],"x":1},"key":"b"}'
        at = line.index(b"NaN") - len(b'{"response":')
        filled = filling % (b"-" * (answer_blocks._PIECE - at - shift - len(filling % b"") + len(b'{"response":,"key":"b"}') - 1))
        assert len(filled) < answer_blocks._LONGEST
        check([filled, line])
