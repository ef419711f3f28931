"""The tables, runs and outputs that are measured. The same arguments make the same bytes."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from airflow_gemini_batch.engine.build.building import build_run
from airflow_gemini_batch.engine.build.call import RunSpec
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.run.layout import Run, Shard
from airflow_gemini_batch.engine.run.storage import Location
from airflow_gemini_batch.engine.run.storage import locate as locate_uri
from airflow_gemini_batch.engine.specs import EmbedRequest, GenerateRequest, RequestSpec

WORDS = [
    "Die", "schnelle", "braune", "Füchsin", "springt", "über", "den", "faulen", "Hund", "and", "the", "quick", "brown", "fox",
    '"quoted"', "back\\slash", "line\nbreak", "日本", "emoji", "😀", "data",
]  # fmt: skip
MODEL = "gemini-3.6-flash"
REQUEST = GenerateRequest(prompt="Summarise in ${lang}: ${text}", config={"temperature": 0.2})
BLOCK = 50_000
#: Requests in a shard: as many shards as a table has blocks.
SHARD_ROWS = 50_000
DIMENSIONS = 768
OPTIONS = BatchOptions(max_shard_requests=SHARD_ROWS)

SCHEMA = {
    "type": "object",
    "properties": {
        "sentiment": {"type": "string", "enum": ["positive", "neutral", "negative"]},
        "score": {"type": "number"},
        "topics": {"type": "array", "items": {"type": "string"}},
        "summary": {"type": "string"},
    },
    "required": ["sentiment", "score", "topics", "summary"],
}

#: What a table is asked, by the kind of answer.
REQUESTS: dict[str, tuple[RequestSpec, str]] = {
    "text": (REQUEST, MODEL),
    "structured": (GenerateRequest(prompt="Rate: ${text}", response_schema=SCHEMA), MODEL),
    "embeddings": (EmbedRequest(text="${text}", config={"output_dimensionality": DIMENSIONS}), "gemini-embedding-001"),
}


def make_table(path: Path, rows: int) -> None:
    """Write a table with about 400 characters of mixed text in each row, of which no two are equal."""
    dice = random.Random(1)
    texts = [" ".join(dice.choices(WORDS, k=60))[:385] for _ in range(min(rows, BLOCK))]
    schema = pa.schema([("id", pa.string()), ("text", pa.string()), ("lang", pa.string())])
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, rows, BLOCK):
            numbers = range(start, min(start + BLOCK, rows))
            columns = {
                "id": [f"id-{number:08d}" for number in numbers],
                "text": [f"{number:08d} {text}" for number, text in zip(numbers, texts, strict=False)],
                "lang": [("de", "en")[number % 2] for number in numbers],
            }
            writer.write_table(pa.table(columns, schema=schema))


def run_spec(source: str | Path, kind: str = "text", locate: Callable[[str], Location] = locate_uri) -> RunSpec:
    """Keys, fingerprints, the index of equal requests and a carried column.

    :param locate: finds the source.
    """
    request, model = REQUESTS[kind]
    return RunSpec(str(source), request, model, key="id", carry=("lang",), locate=locate)


def build(source: str | Path, destination: Path, kind: str = "text", locate: Callable[[str], Location] = locate_uri) -> Run:
    run = Run(locate_uri(str(destination)))
    build_run(run, run_spec(source, kind, locate), OPTIONS)
    return run


def halve(table: Path, folder: Path) -> None:
    """The same rows in two files."""
    read = pq.read_table(table)
    folder.mkdir()
    half = (len(read) + 1) // 2
    for number in range(2):
        pq.write_table(read.slice(number * half, half), folder / f"part-{number}.parquet")


def make_outputs(run: Run, kind: str) -> None:
    """Write the lines that the run's jobs might have produced, in the order of the requests."""
    answer = _ANSWERS[kind]()
    for shard in run.built().shards:
        with run.requests_file(shard.id).open() as requests, run.responses_file(shard.id).writing() as output:
            for line in requests:
                output.write(answer(msgspec.json.decode(line)))


def _text() -> Callable[[Any], bytes]:
    def answer(line: Any) -> bytes:
        return _generated(line["key"], line["request"]["contents"][0]["parts"][0]["text"])

    return answer


def _structured() -> Callable[[Any], bytes]:
    """1 % of the answers are cut in the middle of their JSON."""
    dice = random.Random(2)

    def answer(line: Any) -> bytes:
        asked = line["request"]["contents"][0]["parts"][0]["text"]
        parsed = {
            "sentiment": dice.choice(("positive", "neutral", "negative")),
            "score": round(dice.random(), 3),
            "topics": dice.sample(WORDS, 3),
            "summary": asked[6:150],
        }
        text = json.dumps(parsed, ensure_ascii=False)
        return _generated(line["key"], text[: len(text) // 2] if dice.random() < 0.01 else text)

    return answer


def _embeddings() -> Callable[[Any], bytes]:
    dice = random.Random(3)
    vectors = [json.dumps([round(dice.gauss(0, 0.04), 8) for _ in range(DIMENSIONS)]) for _ in range(1000)]

    def answer(line: Any) -> bytes:
        values = vectors[dice.randrange(len(vectors))]
        return b'{"key":"%s","response":{"embedding":{"values":%s},"tokenCount":"90"}}\n' % (
            line["key"].encode(),
            values.encode(),
        )

    return answer


_ANSWERS: dict[str, Callable[[], Callable[[Any], bytes]]] = {
    "text": _text,
    "structured": _structured,
    "embeddings": _embeddings,
}


def _generated(key: str, text: str) -> bytes:
    answer = {
        "candidates": [{"content": {"role": "model", "parts": [{"text": text}]}, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {"promptTokenCount": 90, "candidatesTokenCount": 80, "totalTokenCount": 170},
        "modelVersion": MODEL,
        "responseId": key,
    }
    return msgspec.json.encode({"response": answer, "key": key}) + b"\n"


def outputs(folder: Path) -> list[Path]:
    return sorted((folder / "run/_run/responses").glob("shard-*.jsonl"))


def shards_of(run: Run, part: int, parts: int) -> Iterator[Shard]:
    """The shards of one of several workers."""
    yield from run.built().shards[part::parts]
