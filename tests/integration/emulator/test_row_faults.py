"""Row faults: output files with wrong rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from airflow_gemini_batch.emulator import RowFault

ROWS = 20
VICTIM = "r7"


@pytest.fixture
def output(emulator, steps) -> Callable[..., list[bytes]]:
    """The lines of a job's output with some faults, without the last newline."""

    def lines(*faults: RowFault) -> list[bytes]:
        emulator.faults.add(*faults)
        job = steps.submit(ROWS)
        emulator.advance(1000)
        return steps.answers(job).split(b"\n")[:-1]

    return lines


def keys(lines: list[bytes]) -> list[str]:
    return [json.loads(line)["key"] for line in lines]


def victim(lines: list[bytes]) -> dict[str, Any]:
    [row] = [row for row in map(json.loads, lines) if row["key"] == VICTIM]
    return row


IN_ORDER = [f"r{number}" for number in range(ROWS)]


def test_rows_come_in_another_order(output):
    found = keys(output(RowFault(do="shuffle", seed=1)))

    assert found != IN_ORDER
    assert sorted(found) == sorted(IN_ORDER)


def test_rows_go_missing(output):
    assert keys(output(RowFault(do="missing", keys=(VICTIM,)))) == [key for key in IN_ORDER if key != VICTIM]


def test_rows_come_twice(output):
    assert keys(output(RowFault(do="double", lines=(1, 3)))).count("r2") == 2


def test_rows_with_unknown_keys_appear(output):
    found = keys(output(RowFault(do="foreign_key", keys=(VICTIM,))))

    assert [key for key in found if key not in IN_ORDER] == ["r7-foreign"]


def test_answers_have_swapped_keys(output):
    rows = {row["key"]: row for row in map(json.loads, output(RowFault(do="swap_key", keys=(VICTIM,))))}

    text = rows["r7"]["response"]["candidates"][0]["content"]["parts"][0]["text"]
    assert "Row r8" in text
    assert set(rows) == set(IN_ORDER)


@pytest.mark.parametrize(
    ("fault", "left"),
    [
        (RowFault(do="null_response", keys=(VICTIM,)), {"response": None}),
        (RowFault(do="neither", keys=(VICTIM,)), {}),
        (RowFault(do="error", keys=(VICTIM,), code=14, message="busy"), {"error": {"code": 14, "message": "busy"}}),
        (RowFault(do="status", keys=(VICTIM,), message="busy"), {"status": {"code": 13, "message": "busy"}}),
        (
            RowFault(do="error", keys=(VICTIM,), message="m", details=[{"@type": "t", "x": 1}]),
            {"error": {"code": 13, "message": "m", "details": [{"@type": "t", "x": 1}]}},
        ),
    ],
    ids=lambda value: value.do if isinstance(value, RowFault) else "",
)
def test_rows_have_no_answer(output, fault, left):
    assert victim(output(fault)) == {**left, "key": VICTIM}


@pytest.mark.parametrize(
    ("do", "reason"), [("safety", "SAFETY"), ("recitation", "RECITATION"), ("empty", "STOP"), ("max_tokens", "MAX_TOKENS")]
)
def test_answers_have_another_finish_reason(output, do, reason):
    [candidate] = victim(output(RowFault(do=do, keys=(VICTIM,))))["response"]["candidates"]

    assert candidate["finishReason"] == reason
    assert ("parts" in candidate["content"]) == (do == "max_tokens")


def test_prompts_are_blocked(output):
    response = victim(output(RowFault(do="prompt_blocked", keys=(VICTIM,))))["response"]

    assert response["promptFeedback"] == {"blockReason": "PROHIBITED_CONTENT"}
    assert "candidates" not in response
    assert response["usageMetadata"]["promptTokenCount"]


def test_candidates_are_an_empty_list(output):
    assert victim(output(RowFault(do="no_candidates", keys=(VICTIM,))))["response"]["candidates"] == []


def test_a_line_is_torn(output):
    lines = output(RowFault(do="torn", keys=(VICTIM,)))

    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        json.loads(lines[7])
    assert len(lines) == ROWS


def test_line_separators_are_unescaped_in_text(output):
    lines = output(RowFault(do="line_separators", keys=(VICTIM,)))

    assert len(lines) == ROWS
    assert all(mark.encode() in lines[7] for mark in ("\u2028", "\u2029", "\u0085"))
    assert victim(lines)


def test_lone_surrogates_are_escaped(output):
    lines = output(RowFault(do="lone_surrogate", keys=(VICTIM,)))

    assert b"\\ud800" in lines[7]
    assert victim(lines)["response"]["candidates"][0]["content"]["parts"][0]["text"].startswith("\ud800")


def test_integers_are_huge(output):
    assert victim(output(RowFault(do="huge_integer", keys=(VICTIM,))))["response"]["usageMetadata"]["totalTokenCount"] > 2**53


def test_nan_is_in_the_json(output):
    assert b":NaN," in output(RowFault(do="nan", keys=(VICTIM,)))[7]


def test_lines_end_in_crlf_or_are_blank(output):
    lines = output(RowFault(do="crlf"), RowFault(do="blank_line", keys=(VICTIM,)))

    assert len(lines) == ROWS + 1
    assert lines[0].endswith(b"\r")
    assert lines[8] == b""


def test_a_fraction_is_chosen_by_seed(output, emulator):
    first = keys(output(RowFault(do="missing", fraction=0.5, seed=3)))
    emulator.faults.clear()
    again = keys(output(RowFault(do="missing", fraction=0.5, seed=3)))

    assert first == again
    assert 3 < len(first) < 17


def test_faults_apply_to_inline_jobs_as_far_as_json_allows(emulator, client, http):
    emulator.faults.add(RowFault(do="torn"), RowFault(do="error", lines=(2,), details=[{"@type": "t"}]))
    requests = [{"contents": "one"}, {"contents": "two"}]
    job = client.batches.create(model="gemini-2.5-flash", src=requests)
    emulator.advance(1000)

    rows = http.get(f"/v1/{job.name}").json()["response"]["inlinedResponses"]["inlinedResponses"]

    assert "response" in rows[0]
    assert rows[1]["error"]["details"] == [{"@type": "t"}]
