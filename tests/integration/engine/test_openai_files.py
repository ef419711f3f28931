"""An OpenAI batch file makes the whole trip, and its page says of each field what becomes of it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_gemini_batch.emulator import Emulator
from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.finish.summary import Summary
from airflow_gemini_batch.engine.request.openai.fields import CHAT, EMBEDDINGS, Treatment
from airflow_gemini_batch.engine.specs import RawRequest
from tests.doc_snippets import DOCS, run_snippets
from tests.integration.engine.conftest import read

PAGE = "openai-batch-files.md"
SENTENCE = "Rain falls on the sea."
QUESTION = f"Repeat: {SENTENCE}"


def line(key: str, **body: Any) -> bytes:
    given = {"model": "gpt-4o", "messages": [{"role": "user", "content": QUESTION}], **body}
    return json.dumps({"custom_id": key, "method": "POST", "url": "/v1/chat/completions", "body": given}).encode() + b"\n"


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz"])
def test_lines_of_any_shape_go_together(go: Callable[..., Summary], tmp_path: Path, emulator: Emulator, ending: str) -> None:
    parts = [{"type": "text", "text": QUESTION}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0K"}}]
    lines = [
        line("text"),
        line("parts", messages=[{"role": "user", "content": parts}], temperature=0.5),
        line("schema", response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}),
        line("stream", stream=True),
        line("surrogate", messages=[{"role": "user", "content": "\ud800"}]),
    ]
    source = tmp_path / f"batch{ending}"
    source.write_bytes(gzip.compress(b"".join(lines)) if ending.endswith("gz") else b"".join(lines))

    summary = go(source=str(source), request=RawRequest("body", format="openai"), key="custom_id", carry=["method"])

    results, dead = read(tmp_path, "results"), read(tmp_path, "dead_letter")
    assert summary.balanced
    assert [row["key"] for row in results] == ["parts", "schema", "surrogate", "text"]
    assert {row["text"] for row in results if row["key"] in ("parts", "text")} == {SENTENCE}
    assert {row["method"] for row in results} == {"POST"}
    assert [(row["key"], row["reason"]) for row in dead] == [("stream", "INVALID_INPUT")]
    assert dead[0]["message"].startswith("OpenAI body: 'stream' cannot be converted")


def test_what_a_line_lacks_is_no_null_in_its_request(go: Callable[..., Summary], tmp_path: Path) -> None:
    (tmp_path / "batch.jsonl").write_bytes(line("a", temperature=0.5) + line("b", seed=1))

    go(source=str(tmp_path / "batch.jsonl"), request=RawRequest("body", format="openai"), key="custom_id", carry=[])

    sent = [json.loads(text) for text in (tmp_path / "run/_run/requests/shard-00000-0.jsonl").read_text().splitlines()]
    assert [request["request"]["generation_config"] for request in sent] == [{"temperature": 0.5}, {"seed": 1}]


@pytest.mark.parametrize("bad", [b"{", b"[]", b'"\\ud800"', b"\xff"])
def test_a_line_that_is_no_json_is_named(go: Callable[..., Summary], tmp_path: Path, bad: bytes) -> None:
    (tmp_path / "batch.jsonl").write_bytes(line("a") + b"\n" + bad + b"\n")

    with pytest.raises(InputError, match=r"batch\.jsonl as JSON Lines: line 3 is not a JSON object"):
        go(source=str(tmp_path / "batch.jsonl"), request=RawRequest("body", format="openai"), key="custom_id", carry=[])


def test_the_pages_snippets_run(emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GOOGLE_API_KEY", "AIzaAnyKey")
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", emulator.url)

    assert run_snippets(PAGE) == 3


def test_the_page_shows_the_tables_of_the_code() -> None:
    text = (DOCS / PAGE).read_text()
    rows = [row for row in text.splitlines() if row.startswith("| `")]

    for name, field in {
        **CHAT,
        **{name: field for name, field in EMBEDDINGS.items() if field.treatment is Treatment.CONVERTED},
    }.items():
        assert f"| `{name}` | {field.note} |" in rows
    for name, field in EMBEDDINGS.items():
        assert f"| `{name}` | {field.note} |" in rows or f"`{name}` ({field.note})" in text
