"""Inline jobs: the same ledger, the same parser, the same tables, and no file at the service."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_gemini_batch.emulator import Emulator, HttpFault, JobFault, RowFault
from airflow_gemini_batch.engine.errors import InputError, NotFoundError, OutcomeUnknownError
from airflow_gemini_batch.engine.finish.summary import Summary
from airflow_gemini_batch.engine.run.layout import Shard
from airflow_gemini_batch.engine.specs import GenerateRequest, RawRequest
from airflow_gemini_batch.engine.submit.inline import MAX_INLINE_BYTES, goes_inline, inline_answers
from tests.integration.engine.conftest import creates, read, table

pytestmark = pytest.mark.integration

Go = Callable[..., Summary]

ANSWER = {"response": {"candidates": []}, "metadata": {"key": "k0"}}


def test_an_inline_run_gives_the_same_tables_as_one_by_file(go: Go, tmp_path: Path, emulator: Emulator) -> None:
    inline = go(transport="inline")
    rows = read(tmp_path, "results")
    by_file = go(destination=str(tmp_path / "by_file" / "run"))

    apart = {"job", "response", "response_id"}
    told = [{name: value for name, value in row.items() if name not in apart} for row in rows]
    assert told == [
        {name: value for name, value in row.items() if name not in apart} for row in read(tmp_path / "by_file", "results")
    ]
    assert (inline.results, inline.tokens) == (12, by_file.tokens)
    assert len(emulator.journal("upload")) == 3  # those of the second run


def test_the_service_gets_exactly_the_requests_that_the_run_holds(go: Go, tmp_path: Path, emulator: Emulator) -> None:
    schema = {"type": "object", "properties": {"snake_case": {"type": "string"}, "camelCase": {"type": "integer"}}}
    request = GenerateRequest(
        prompt="${body}", config={"temperature": 0.5, "response_mime_type": "application/json", "response_json_schema": schema}
    )

    go(request=request, transport="inline")
    texts = [json.loads(row["text"]) for row in read(tmp_path, "results")]

    assert all(set(text) <= {"snake_case", "camelCase"} for text in texts)


def test_auto_goes_inline_where_a_shard_is_small(go: Go, emulator: Emulator) -> None:
    go(transport="auto")

    assert emulator.journal("upload") == []


@pytest.mark.parametrize(
    ("size", "transport", "inline"),
    [(1_000, "auto", True), (5_000_000, "auto", False), (1_000, "file", False), (5_000_000, "inline", True)],
)
def test_how_a_shard_goes(size: int, transport: str, inline: bool) -> None:
    assert goes_inline(Shard(0, 1, 1, size, ""), transport) is inline  # type: ignore[arg-type]


def test_a_shard_that_is_too_large_to_go_inline_is_told_before_anything_is_sent() -> None:
    with pytest.raises(InputError, match="Nothing was sent"):
        goes_inline(Shard(0, 1, 1, MAX_INLINE_BYTES + 1, ""), "inline")


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_inline_create_without_an_answer_is_looked_up_too(when: str, go: Go, emulator: Emulator) -> None:
    emulator.faults.add(HttpFault(do="drop", when=when, path=":batchGenerateContent", count=2))  # type: ignore[arg-type]

    assert go(transport="inline").results == 12
    assert len(creates(emulator)) == 3


def test_what_fails_inline_is_told_and_sent_again_as_ever(go: Go, tmp_path: Path, emulator: Emulator) -> None:
    emulator.faults.add(
        RowFault(do="error", keys=("k1",), code=14, display_name="attempt 0", details=[{"@type": "x", "reason": "y"}]),
        RowFault(do="safety", keys=("k2",)),
        RowFault(do="missing", keys=("k3",), display_name="attempt 0"),
    )

    summary = go(transport="inline", max_redrives=1)

    assert (summary.results, summary.reasons, summary.balanced) == (11, {"BLOCKED": 1}, True)


def test_answers_that_the_service_cannot_give_yet_are_asked_for_again(
    go: Go, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_gemini_batch.engine.passes.collecting._ASK_AGAIN", 0.1)
    emulator.faults.add(JobFault(responses_file_late_polls=3))

    assert go(transport="inline").results == 12


@pytest.mark.parametrize("redrives", [0, 1])
def test_a_job_that_still_has_no_answers_after_a_while_is_believed(
    redrives: int, go: Go, tmp_path: Path, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_gemini_batch.engine.passes.collecting._ASK_AGAIN", 0.1)
    monkeypatch.setattr("airflow_gemini_batch.engine.collect.download._NONE_BELIEVED_AFTER", 0.5)
    emulator.faults.add(RowFault(do="missing", display_name="attempt 0"))

    summary = go(source=table(3), transport="inline", max_redrives=redrives, max_dead_letter_ratio=1.0)

    assert (summary.results, summary.reasons) == ((3, {}) if redrives else (0, {"MISSING": 3}))
    assert summary.balanced
    assert len(creates(emulator)) == 1 + redrives


def test_a_single_row_that_the_service_never_answers_ends_as_a_dead_letter(
    go: Go, tmp_path: Path, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_gemini_batch.engine.passes.collecting._ASK_AGAIN", 0.1)
    monkeypatch.setattr("airflow_gemini_batch.engine.collect.download._NONE_BELIEVED_AFTER", 0.3)
    emulator.faults.add(RowFault(do="missing", keys=("k1",)))

    summary = go(source=table(5), transport="inline", max_redrives=2)

    assert (summary.results, summary.reasons) == (4, {"MISSING": 1})
    assert len(creates(emulator)) == 3


def test_answers_are_awaited_before_that(go: Go, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_gemini_batch.engine.passes.collecting._ASK_AGAIN", 0.05)
    emulator.faults.add(RowFault(do="missing"))

    with pytest.raises(OutcomeUnknownError, match="does not return its answers"):
        go(source=table(3), transport="inline", collect_timeout=0.5)

    assert len(creates(emulator)) == 1


SUCCEEDED = {"state": "BATCH_STATE_SUCCEEDED"}


@pytest.mark.parametrize(
    ("operation", "believed"),
    [
        ({"name": "batches/a", "done": True, "metadata": SUCCEEDED}, True),
        ({"name": "batches/a", "done": True, "metadata": {**SUCCEEDED, "output": {"inlinedResponses": {}}}}, True),
        ({"name": "batches/a", "done": True, "metadata": SUCCEEDED, "response": {"inlinedResponses": []}}, True),
        ({"name": "batches/a", "done": True, "metadata": SUCCEEDED, "response": {"inlinedResponses": {}}}, True),
        ({"name": "batches/a", "metadata": {"state": "BATCH_STATE_RUNNING"}}, False),
        ({"name": "batches/a"}, False),
        ({"name": "batches/a", "done": True, "metadata": SUCCEEDED, "error": {"code": 13, "message": "x"}}, False),
        ({"name": "batches/b", "done": True, "metadata": SUCCEEDED}, False),
        ({"done": True, "metadata": SUCCEEDED}, False),
        ({"error": {"code": 503}}, False),
        ([], False),
    ],
)
def test_only_the_jobs_own_words_say_that_it_has_no_answers(operation: Any, believed: bool) -> None:
    whole = json.dumps(operation).encode()

    if believed:
        assert inline_answers(whole, "batches/a", believe_none=True) == []
    for body in (whole[:-1], b"<html>", *([] if believed else [whole])):
        with pytest.raises(OutcomeUnknownError):
            inline_answers(body, "batches/a", believe_none=True)


def test_answers_that_are_gone_are_told_with_what_to_do(go: Go, emulator: Emulator) -> None:
    emulator.faults.add(HttpFault(do="status", status=404, method="GET", path="/batches/"))

    with pytest.raises(NotFoundError, match=r"kept for about 48 hours.*resubmit_lost=True"):
        go(source=table(3), transport="inline")


@pytest.mark.parametrize("state", ["FAILED", "EXPIRED", "CANCELLED"])
def test_what_an_inline_job_had_answered_before_it_ended_badly_is_kept(
    state: str, go: Go, tmp_path: Path, emulator: Emulator
) -> None:
    emulator.faults.add(JobFault(state=f"BATCH_STATE_{state}"), RowFault(do="missing", keys=("k1",)))

    summary = go(source=table(3), transport="inline")

    assert (summary.results, summary.reasons) == (2, {f"JOB_{state}": 1})


@pytest.mark.parametrize(
    "output",
    [
        {"inlinedResponses": {"inlinedResponses": [ANSWER]}},
        {"inlinedResponses": [ANSWER]},
        {"inlined_responses": {"inlined_responses": [ANSWER]}},
        {"inlinedEmbedContentResponses": {"inlinedResponses": [ANSWER]}},
    ],
)
@pytest.mark.parametrize("spoilt", [b"", b', "x": NaN', b', "x": "\\ud800"', b', "x": "\xe9"', b', "x": ' + b"9" * 5000])
def test_answers_are_found_wherever_they_stand_and_whatever_stands_beside(output: dict[str, Any], spoilt: bytes) -> None:
    operation = {"name": "batches/a", "metadata": {"output": {"inlinedResponses": {}}}, "response": output}

    [answer] = inline_answers(json.dumps(operation)[:-1].encode() + spoilt + b"}", "batches/a")

    assert json.loads(answer) == ANSWER


@pytest.mark.parametrize(
    "operation",
    [
        {"name": "batches/a", "done": True, "response": {"inlinedResponses": {}}},
        {"name": "batches/b", "done": True, "response": {"inlinedResponses": [ANSWER]}},
        {"done": True, "response": {"inlinedResponses": [ANSWER]}},
        {"error": "sign in first"},
        ["batches/a"],
        "",
    ],
)
@pytest.mark.parametrize("spoilt", [b"", b"\xe9"])
def test_what_is_not_the_jobs_answers_is_asked_for_again(operation: Any, spoilt: bytes) -> None:
    with pytest.raises(OutcomeUnknownError):
        inline_answers(json.dumps(operation).encode() + spoilt, "batches/a")


def test_raw_answers_stay_as_they_came(go: Go, tmp_path: Path, emulator: Emulator) -> None:
    emulator.faults.add(RowFault(do="huge_integer", keys=("k0",)), RowFault(do="lone_surrogate", keys=("k1",)))

    assert go(transport="inline").balanced
    responses = {row["key"]: row["response"] for row in read(tmp_path, "results")}
    assert any(len(digits) > 16 for digits in responses["k0"].replace(",", " ").replace("}", " ").split() if digits[-1].isdigit())
    assert "\\ud" in responses["k1"]


def test_dead_letters_go_again_inline_from_their_table_alone(go: Go, tmp_path: Path, emulator: Emulator) -> None:
    rule = emulator.faults.add(RowFault(do="error", keys=("k1",), code=3))[0]
    go(transport="inline")
    emulator.faults.remove(rule)

    again = go(
        source=str(tmp_path / "run/dead_letter"),
        request=RawRequest("request"),
        key="key",
        destination=str(tmp_path / "again"),
        transport="inline",
    )

    assert again.results == 1


@pytest.mark.parametrize("rows", [3, 22])
def test_the_answers_of_an_inline_job_are_asked_for_once(rows: int, go: Go, emulator: Emulator) -> None:
    emulator.faults.add(JobFault(pending_seconds=0.3))

    go(source=table(rows), transport="inline")

    gets = [call["count"] for call in emulator.calls() if call["method"] == "GET" and call["route"].endswith("/batches/*")]
    assert sum(gets) == len(creates(emulator))
