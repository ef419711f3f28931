"""Whatever bytes and whatever JSON come back: one of the three, storable, and the same by both ways of reading."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from airflow_gemini_batch.engine.reasons import REASON_BY_FINISH
from airflow_gemini_batch.engine.response.responses import Answer, Garbage, Refusal, _plain_answer, _read, classify
from tests.unit.engine.shard_files import answer

SUCCESS = answer("request_1", "AI learns …", promptTokenCount=8)

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),  # lone surrogates too
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["key", "response", "error", "status", "code", "message", "candidates", "content", "parts", "text", "thought",
             "finishReason", "finish_reason", "promptFeedback", "blockReason", "usageMetadata", "promptTokenCount", "metadata",
             "embedding", "modelVersion", "tokenCount"]
        ),
        inner,
        max_size=4,
    ),
    max_leaves=20,
)  # fmt: skip


def check_storable(read: Answer | Refusal | Garbage) -> None:
    """What goes into a column can be stored there."""
    if isinstance(read, Answer):
        read.response.decode()
        for text in (read.key, read.text or "", read.finish_reason or "", read.model_version or "", read.response_id or ""):
            text.encode()
        assert read.text != ""
    elif isinstance(read, Refusal):
        for text in (read.key, read.status or "", read.message or ""):
            text.encode()
        assert read.code is None or -(2**31) <= read.code < 2**31
    else:
        (read.key or "").encode()


@given(st.binary(max_size=300) | st.tuples(st.integers(0, 400), st.binary(max_size=3)))
def test_any_bytes_are_one_of_the_three(raw: bytes | tuple[int, bytes]) -> None:
    if isinstance(raw, tuple):  # a good line with a wound
        at, wound = raw
        raw = SUCCESS[:at] + wound + SUCCESS[at + len(wound) + 1 :]

    check_storable(classify(raw))


@given(st.dictionaries(st.sampled_from(["key", "response", "error", "status", "metadata"]), anything, min_size=1))
def test_any_json_is_one_of_the_three(value: dict[str, Any]) -> None:
    check_storable(classify(json.dumps(value).encode()))


@given(
    key=st.text(),
    texts=st.lists(st.tuples(st.text(), st.booleans() | st.none()), min_size=1),
    finish_reason=st.sampled_from([*REASON_BY_FINISH, "A_NEW_ONE"]),
    usage=st.fixed_dictionaries({}, optional={"promptTokenCount": st.integers(), "totalTokenCount": st.integers() | st.none()}),
    model_version=st.text() | st.none(),
    ascii=st.booleans(),
)
def test_the_plain_and_the_lenient_way_read_the_same(
    key: str, texts: list[Any], finish_reason: str, usage: Any, model_version: str | None, ascii: bool
) -> None:
    parts = [{"text": text, "thought": thought} for text, thought in texts]
    candidate = {"content": {"parts": parts}, "finishReason": finish_reason}
    value = {"key": key, "response": {"candidates": [candidate], "usageMetadata": usage, "modelVersion": model_version}}
    raw = json.dumps(value, ensure_ascii=ascii).encode()

    with contextlib.suppress(ValueError):  # how the plain way says that it cannot read a line, say a count beyond int64
        assert _plain_answer(raw) in (None, _read(raw))
    assert classify(raw) == _read(raw)
