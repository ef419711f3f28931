"""What the user writes is a value: it compares, pickles and keeps nothing but what was written."""

from __future__ import annotations

import pickle

import pytest

from airflow_gemini_batch.engine.specs import GenerateRequest, RawRequest


@pytest.mark.parametrize(
    "request_", [GenerateRequest(prompt="${a}", system_instruction="b", config={"temperature": 0.1}), RawRequest(column="c")]
)
def test_a_request_survives_pickling(request_: GenerateRequest | RawRequest) -> None:
    assert pickle.loads(pickle.dumps(request_)) == request_  # noqa: S301


def test_arguments_have_names() -> None:
    with pytest.raises(TypeError):
        GenerateRequest("${a}")  # type: ignore[call-arg]


def test_the_raw_column_is_called_request_unless_said_otherwise() -> None:
    assert RawRequest().column == "request"
