"""Vectors of the right length and with finite values are results, all others are told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_gemini_batch.engine.collect.land import Ending, land
from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.request.encoding import compile_request
from airflow_gemini_batch.engine.response.embeddings import EmbeddingColumn
from airflow_gemini_batch.engine.response.responses import Answer, classify
from airflow_gemini_batch.engine.shapes.dimensions import DEFAULT_DIMENSIONS
from airflow_gemini_batch.engine.specs import EmbedRequest
from tests.unit.engine.shard_files import receive, rows_of, run_at, write_shard

SCHEMA = pa.schema([("body", pa.string()), ("title", pa.string())])
MODEL = "gemini-embedding-001"


def line(key: str, values: Any, **members: Any) -> bytes:
    return json.dumps({"response": {"tokenCount": "7", "embedding": {"values": values}, **members}, "key": key}).encode()


def read(*values: Any, dimension: int = 3) -> tuple[list[Any], dict[int, str]]:
    answers = [Answer("k", json.dumps({"embedding": {"values": value}}).encode()) for value in values]
    array, problems = EmbeddingColumn(dimension).read(answers)
    array.validate(full=True)
    assert array.type == pa.list_(pa.float32(), dimension)
    return array.to_pylist(), problems


def test_vectors_become_32_bit_floats() -> None:
    assert read([1, -0.5, 1e-3], [0, 0.0, 3e38]) == (
        [[1.0, -0.5, float(np.float32(1e-3))], [0.0, 0.0, float(np.float32(3e38))]],
        {},
    )


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([1, 2], "the embedding has 2 dimensions; 3 were asked for"),
        ([], "the embedding has 0 dimensions"),
        ([1, 2, 1e39], "beyond the range of a 32-bit float"),
        ([1, 2, -1e300], "beyond the range of a 32-bit float"),
        ([1, 2, float("nan")], "no embedding that can be read"),
        ([1, None, 2], "no embedding that can be read"),
        (["1", 2, 3], "no embedding that can be read"),
        ("text", "no embedding that can be read"),
        (None, "no embedding that can be read"),
    ],
)
def test_a_bad_vector_costs_its_own_row(bad: Any, message: str) -> None:
    vectors, problems = read([1, 2, 3], bad, [4, 5, 6])

    assert vectors == [[1, 2, 3], None, [4, 5, 6]]
    assert list(problems) == [1]
    assert message in problems[1]


def test_an_answer_of_another_kind_is_told() -> None:
    problems = EmbeddingColumn(3).read([Answer("k", b'{"candidates":[]}', "text")])[1]

    assert "no embedding" in problems[0]


@given(st.lists(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=2, max_size=2), max_size=9))
def test_what_was_sent_arrives(vectors: list[list[float]]) -> None:
    assert read(*vectors, dimension=2) == (vectors, {})


def test_an_embedding_is_an_answer_with_its_tokens_on_either_way() -> None:
    plain = classify(line("a", [0.5]))
    lenient = classify(line("a", [0.5], modelVersion=7))  # a type that the typed way does not take

    assert isinstance(plain, Answer)
    assert isinstance(lenient, Answer)
    assert (plain.key, plain.text, plain.prompt_tokens, plain.total_tokens) == ("a", None, 7, 7)
    assert (lenient.key, lenient.text, lenient.prompt_tokens, lenient.total_tokens) == ("a", None, 7, 7)


def test_landing_joins_vectors_by_key_and_refuses_the_bad_ones(tmp_path: Path) -> None:
    request = EmbedRequest(text="${body}", config={"output_dimensionality": 2})
    run = run_at(tmp_path, compile_request(request, SCHEMA, MODEL).spec)
    shard = write_shard(run, ["a", "b", "c"])
    receive(run, shard, [line("c", [5, 6]), line("b", [3, 4, 9]), line("a", [1, 2])])

    landed = land(run, shard, Ending(job="batches/j"))

    assert landed.reasons == {"INVALID_OUTPUT": 1}
    assert landed.tokens["prompt_tokens"] == 14
    rows = rows_of(run.results_part(shard.id))
    assert [(row["key"], row["embedding"], row["text"]) for row in rows] == [("a", [1, 2], None), ("c", [5, 6], None)]


# --- the request side


def encoded(request: EmbedRequest, model: str = MODEL) -> Any:
    batch = pa.RecordBatch.from_pylist([{"body": 'say "hi"', "title": "T"}], schema=SCHEMA)
    encoder = compile_request(request, SCHEMA, model)
    [content] = encoder.encode(batch.select(encoder.columns)).rows()
    assert isinstance(content, bytes)
    return json.loads(content)


def test_the_request_is_what_the_service_documents() -> None:
    config = {"task_type": "RETRIEVAL_DOCUMENT", "title": "On ${title}", "output_dimensionality": 64}

    assert encoded(EmbedRequest(text="${title}\n${body}", config=config)) == {
        "content": {"parts": [{"text": 'T\nsay "hi"'}], "role": "user"},
        "task_type": "RETRIEVAL_DOCUMENT",
        "title": "On T",
        "output_dimensionality": 64,
    }


@pytest.mark.parametrize("model", [*DEFAULT_DIMENSIONS, f"models/{MODEL}"])
def test_the_default_dimension_is_asked_for_by_name(model: str) -> None:
    assert encoded(EmbedRequest(text="${body}"), model)["output_dimensionality"] in (768, 3072)


@pytest.mark.parametrize(
    ("request_", "model", "message"),
    [
        (EmbedRequest(text="${body}"), "some-new-embedder", "output_dimensionality"),
        (EmbedRequest(text="${body}"), "embedding-001", "not known here"),
        (EmbedRequest(text=""), MODEL, "text is empty"),
        (EmbedRequest(text="${bdoy}"), MODEL, "'bdoy'"),
        (EmbedRequest(text="x", config={"title": "${bdoy}"}), MODEL, "config.title"),
        (EmbedRequest(text="x", config={"dimension": 3}), MODEL, "not a field of google.genai.types.EmbedContentConfig"),
        (EmbedRequest(text="x", config={"output_dimensionality": 0}), MODEL, "output_dimensionality is 0"),
        (EmbedRequest(text="x", config={"auto_truncate": True}), MODEL, "auto_truncate"),
        (EmbedRequest(text="x", config=7), MODEL, "EmbedContentConfig"),
    ],
)
def test_what_cannot_work_is_said_up_front(request_: EmbedRequest, model: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        encoded(request_, model)
