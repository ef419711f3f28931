"""Output lines become two tables: joined by key alone, each row in exactly one of them."""

from __future__ import annotations

import json
import logging
import random
import tempfile
import uuid
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_gemini_batch.engine.collect import land as landing
from airflow_gemini_batch.engine.collect.land import Ending, Landed, land
from airflow_gemini_batch.engine.errors import CorruptRunError
from airflow_gemini_batch.engine.reasons import Reason
from airflow_gemini_batch.engine.run.layout import Run, ShardAttempt, read_json
from airflow_gemini_batch.engine.run.tables import dead_letter_schema, results_schema
from tests.unit.engine.shard_files import answer, error, receive, rows_of, run_at, write_shard

ENDED_AT = datetime(2026, 11, 1, 12, 0, tzinfo=timezone.utc)
WELL = Ending(job="batches/j1", ended_at=ENDED_AT)
PART = ShardAttempt(0)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return run_at(tmp_path)


def results(run: Run) -> dict[str, dict[str, Any]]:
    return {row["key"]: row for row in rows_of(run.results_part(PART))}


def dead_letters(run: Run) -> dict[str, dict[str, Any]]:
    return {row["key"]: row for row in rows_of(run.dead_letter_part(PART))}


def request_of(key: str) -> str:
    return json.dumps({"ask": key}, separators=(",", ":"))


def test_answers_are_joined_by_key_in_whatever_order_they_come(run: Run) -> None:
    carried = pa.table({"n": [1, 2, 3], "tags": [["x"], None, []]})
    shard = write_shard(run, ["a", "b", "c"], carried=carried, block_rows=2)
    receive(run, shard, [answer("c"), answer("a"), answer("b")])

    landed = land(run, shard, WELL)

    rows = rows_of(run.results_part(PART))
    assert [(row["key"], row["n"], row["tags"], row["text"]) for row in rows] == [
        ("a", 1, ["x"], "about a"),
        ("b", 2, None, "about b"),
        ("c", 3, [], "about c"),
    ]
    assert (landed.rows, landed.results, landed.dead_letter) == (3, 3, 0)


def test_a_result_says_where_it_came_from(run: Run) -> None:
    shard = write_shard(run, ["a"], part=ShardAttempt(7, 2))
    receive(run, shard, [answer("a", promptTokenCount=3)])

    land(run, shard, WELL)

    [row] = rows_of(run.results_part(shard.id))
    assert (row["job"], row["shard"], row["attempt"]) == ("batches/j1", 7, 2)
    assert (row["finish_reason"], row["prompt_tokens"], row["model_version"]) == ("STOP", 3, "m")
    assert len(row["request_sha256"]) == 64
    assert json.loads(row["response"])["usageMetadata"] == {"promptTokenCount": 3}


def test_both_parts_have_their_columns_in_order_with_and_without_rows(run: Run) -> None:
    carried = pa.table({"n": pa.array([1], pa.int16())})
    shard = write_shard(run, ["a"], carried=carried)
    receive(run, shard, [answer("a")])

    land(run, shard, WELL)

    assert pq.read_schema(run.results_part(PART).path).equals(results_schema(carried.schema))
    assert pq.read_schema(run.dead_letter_part(PART).path).equals(dead_letter_schema(carried.schema))


def test_the_raw_answer_can_be_left_out(run: Run) -> None:
    shard = write_shard(run, ["a", "b"])
    receive(run, shard, [answer("a"), error("b", 3)])

    land(run, shard, WELL, keep_response=False)

    assert "response" not in results(run)["a"]
    assert dead_letters(run)["b"]["response"] is not None


def test_a_dead_letter_has_the_request_the_response_and_the_reason(run: Run) -> None:
    shard = write_shard(run, ["a", "b"], carried=pa.table({"n": [1, 2]}))
    receive(run, shard, [answer("a"), error("b", 8)])

    landed = land(run, shard, WELL)

    letter = dead_letters(run)["b"]
    assert letter["n"] == 2
    assert (letter["reason"], letter["code"], letter["status"]) == ("REQUEST_ERROR", 8, "RESOURCE_EXHAUSTED")
    assert (letter["message"], letter["retryable"]) == ("refused b", True)
    assert letter["request"] == '{"ask":"b"}'
    assert letter["response"] == error("b", 8).decode()
    assert (letter["job"], letter["shard"], letter["attempt"], letter["failed_at"]) == ("batches/j1", 0, 0, ENDED_AT)
    assert landed.reasons == {"REQUEST_ERROR": 1}


def test_a_row_that_was_never_sent_is_a_dead_letter_with_its_problem(run: Run) -> None:
    shard = write_shard(run, ["a", "b", "c"], problems=["b"])
    receive(run, shard, [answer("a"), answer("b"), answer("c")])

    landed = land(run, shard, WELL)

    letter = dead_letters(run)["b"]
    assert (letter["reason"], letter["message"], letter["retryable"]) == ("INVALID_INPUT", "no text in b", False)
    assert (letter["request"], letter["response"], letter["request_sha256"], letter["job"]) == (None, None, None, None)
    assert landed.aside == {"foreign": 1, "doubled": 0, "malformed": 0}


def test_dead_letters_are_in_input_order_with_their_own_requests(run: Run) -> None:
    keys = [f"k{number}" for number in range(20)]
    shard = write_shard(run, keys, problems=["k3", "k4"], block_rows=3)
    lines = [answer(key) for key in keys[5:15]] + [error(key, 13) for key in keys[15:]]
    random.Random(1).shuffle(lines)
    receive(run, shard, lines)

    land(run, shard, WELL)

    rows = rows_of(run.dead_letter_part(PART))
    assert [row["key"] for row in rows] == keys[:5] + keys[15:]
    assert all(row["request"] is None or row["request"] == request_of(row["key"]) for row in rows)


@pytest.mark.parametrize(
    ("ending", "retryable"),
    [
        (Ending(job="batches/j1"), True),
        (Ending(job="batches/j1", reason=Reason.JOB_EXPIRED), True),
        (Ending(job="batches/j1", reason=Reason.JOB_CANCELLED), False),
        (Ending(job="batches/j1", reason=Reason.JOB_FAILED, code=13, status="INTERNAL", message="m"), True),
        (Ending(job="batches/j1", reason=Reason.JOB_FAILED, code=3), False),
        (Ending(job="batches/j1", reason=Reason.JOB_FAILED, code=3, retryable=True), True),
    ],
)
def test_rows_without_a_line_get_the_end_of_the_job_as_reason_and_partial_output_counts(
    run: Run, ending: Ending, retryable: bool
) -> None:
    shard = write_shard(run, ["a", "b"])
    receive(run, shard, [answer("a")])

    land(run, shard, ending)

    assert set(results(run)) == {"a"}
    letter = dead_letters(run)["b"]
    assert (letter["reason"], letter["code"], letter["status"]) == (ending.reason, ending.code, ending.status)
    assert letter["retryable"] is retryable
    assert letter["message"] == (ending.message or "batches/j1 ended without a line for this row")


def test_a_job_without_output_makes_every_row_a_dead_letter(run: Run) -> None:
    shard = write_shard(run, ["a", "b"])

    landed = land(run, shard, Ending(job="batches/j1", reason=Reason.JOB_EXPIRED))

    assert landed.reasons == {"JOB_EXPIRED": 2}
    assert rows_of(run.results_part(PART)) == []


def test_an_empty_shard_lands_as_two_empty_parts(run: Run) -> None:
    shard = write_shard(run, [])

    landed = land(run, shard, Ending(job=None))

    assert (landed.rows, landed.results, landed.dead_letter) == (0, 0, 0)
    assert rows_of(run.results_part(PART)) == rows_of(run.dead_letter_part(PART)) == []


def test_doubled_foreign_and_malformed_lines_are_kept_aside_as_received(run: Run) -> None:
    shard = write_shard(run, ["a", "b", "c"])
    again, torn = answer("a", "another answer"), b'{"response":{"cand'
    receive(run, shard, [answer("a"), again, answer("zz"), torn, error("b", 3), answer("b"), b'{"response":{}}'])

    landed = land(run, shard, WELL)

    assert results(run)["a"]["text"] == "about a"
    assert {key: letter["reason"] for key, letter in dead_letters(run).items()} == {"b": "REQUEST_ERROR", "c": "MISSING"}
    assert landed.aside == {"foreign": 1, "doubled": 2, "malformed": 2}
    assert run.aside_file(PART).read() == b"".join(
        line + b"\n" for line in (again, answer("zz"), torn, answer("b"), b'{"response":{}}')
    )


def test_a_torn_line_decides_only_when_no_other_does(run: Run) -> None:
    shard = write_shard(run, ["a", "b", "c"])
    torn = {key: answer(key)[10:] for key in "abc"}
    receive(run, shard, [torn["a"], answer("a"), answer("b"), torn["b"], torn["c"], torn["c"]])

    landed = land(run, shard, WELL)

    assert set(results(run)) == {"a", "b"}
    letter = dead_letters(run)["c"]
    assert (letter["reason"], letter["retryable"], letter["response"]) == ("MALFORMED_LINE", True, torn["c"].decode())
    assert landed.aside == {"foreign": 0, "doubled": 0, "malformed": 3}
    assert run.aside_file(PART).read() == b"".join(torn[key] + b"\n" for key in "abc")


def test_a_truncated_file_costs_only_its_last_row(run: Run) -> None:
    shard = write_shard(run, ["a", "b"])
    run.responses_file(PART).write(answer("a") + b"\n" + answer("b")[:-20])

    landed = land(run, shard, WELL)

    assert set(results(run)) == {"a"}
    assert dead_letters(run)["b"]["reason"] == "MISSING"
    assert landed.aside["malformed"] == 1


def test_lines_end_at_newlines_and_nowhere_else(run: Run) -> None:
    shard = write_shard(run, ["a", "b"])
    text = "one\u2028two\u2029three\u0085four\x0bfive"
    receive(run, shard, [b"\xef\xbb\xbf" + answer("a", text), b"", b"  ", answer("b")], end=b"\r\n")

    landed = land(run, shard, WELL)

    assert results(run)["a"]["text"] == text
    assert (landed.results, sum(landed.aside.values())) == (2, 0)


def test_bytes_that_are_not_utf8_cost_only_their_own_row(run: Run) -> None:
    shard = write_shard(run, ["a", "b"])
    receive(run, shard, [b'{"key":"a","response":"\xff"}', answer("b")])

    land(run, shard, WELL)

    assert set(results(run)) == {"b"}
    assert dead_letters(run)["a"]["response"] == '{"key":"a","response":"\ufffd"}'


def test_an_unknown_finish_reason_is_logged_once(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    shard = write_shard(run, ["a", "b"])
    receive(run, shard, [answer(key).replace(b"STOP", b"BRAND_NEW") for key in "ab"])

    with caplog.at_level(logging.WARNING):
        landed = land(run, shard, WELL)

    assert landed.results == 2
    assert [record.getMessage() for record in caplog.records if "BRAND_NEW" in record.getMessage()] == [
        "Unknown finish reason BRAND_NEW: answers with content count as results."
    ]


def test_tokens_are_summed_over_the_results(run: Run) -> None:
    shard = write_shard(run, ["a", "b", "c"])
    receive(run, shard, [answer("a", promptTokenCount=1, totalTokenCount=5), answer("b", promptTokenCount=2), error("c", 3)])

    landed = land(run, shard, WELL)

    assert landed.tokens == {
        "prompt_tokens": 3, "output_tokens": 0, "thoughts_tokens": 0, "cached_tokens": 0, "tool_tokens": 0,
        "total_tokens": 5,
    }  # fmt: skip


def test_repeating_gives_the_same_files(run: Run) -> None:
    shard = write_shard(run, ["a", "b", "c"], problems=["c"])
    receive(run, shard, [answer("a"), answer("a"), error("b", 13)])
    files = (run.results_part(PART), run.dead_letter_part(PART), run.aside_file(PART), run.landed_file(PART))
    first = land(run, shard, WELL)
    contents = [file.read() for file in files]

    again = land(run, shard, WELL)

    assert again == first == read_json(run.landed_file(PART), Landed)
    assert [file.read() for file in files] == contents


def test_an_aside_file_of_an_earlier_try_does_not_stay(run: Run) -> None:
    shard = write_shard(run, ["a"])
    receive(run, shard, [answer("zz")])
    land(run, shard, WELL)
    receive(run, shard, [answer("a")])

    land(run, shard, WELL)

    assert not run.aside_file(PART).exists()


def test_media_of_an_earlier_try_do_not_stay(tmp_path: Path) -> None:
    run = run_at(tmp_path, {"request": {"generation_config": {"response_modalities": ["IMAGE"]}}})
    shard = write_shard(run, ["a"])
    receive(run, shard, [answer("a")])
    left = run.media_folder(PART) / "left.png"
    left.write(b"from an earlier try")

    land(run, shard, WELL)

    assert not left.exists()


def test_nothing_says_landed_while_parts_are_replaced(run: Run) -> None:
    shard = write_shard(run, ["a", "b"])
    land(run, shard, WELL)
    run.requests_file(PART).delete()

    with pytest.raises(CorruptRunError):
        land(run, shard, WELL)

    assert not run.landed_file(PART).exists()


def test_large_rows_are_written_in_pieces(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landing, "_BATCH_BYTES", 1000)
    keys = [f"k{number}" for number in range(50)]
    shard = write_shard(run, keys, carried=pa.table({"n": list(range(50))}))
    receive(
        run,
        shard,
        [answer(key, key * 100, promptTokenCount=1) if number % 2 else error(key, 3) for number, key in enumerate(keys)],
    )

    landed = land(run, shard, WELL)

    assert landed.tokens["prompt_tokens"] == 25
    assert [row["text"] for row in rows_of(run.results_part(PART))] == [key * 100 for key in keys[1::2]]
    assert [(row["key"], row["n"]) for row in rows_of(run.dead_letter_part(PART))] == [
        (keys[number], number) for number in range(0, 50, 2)
    ]


def test_it_works_on_an_object_store() -> None:
    run = run_at(f"memory://{uuid.uuid4().hex}")
    shard = write_shard(run, ["a", "b", "c"], problems=["c"])
    receive(run, shard, [answer("a"), b"{", error("b", 3)])

    landed = land(run, shard, WELL)

    assert (landed.results, landed.dead_letter) == (1, 2)
    assert [row["text"] for row in rows_of(run.results_part(PART))] == ["about a"]
    assert [row["request"] for row in rows_of(run.dead_letter_part(PART))] == ['{"ask":"b"}', None]
    assert run.aside_file(PART).read() == b"{\n"


keys_of_rows = st.lists(st.text(max_size=4), unique=True, min_size=1, max_size=12)


@settings(max_examples=150, deadline=None)
@given(keys=keys_of_rows, data=st.data())
def test_every_row_is_in_one_table_once_and_no_text_is_misjoined(keys: list[str], data: st.DataObject) -> None:
    problems = data.draw(st.lists(st.sampled_from(keys), unique=True))
    line = st.one_of(
        st.sampled_from(keys).map(answer),
        st.sampled_from(keys).map(answer),
        st.text(max_size=4).map(answer),
        st.tuples(st.sampled_from(keys), st.sampled_from([3, 13])).map(lambda pair: error(*pair)),
        st.tuples(st.sampled_from(keys), st.integers(1, 100)).map(lambda pair: answer(pair[0])[pair[1] :]),
        st.tuples(st.sampled_from(keys), st.integers(1, 100)).map(lambda pair: answer(pair[0])[: -pair[1]]),
        st.binary(max_size=20).filter(lambda line: b"\n" not in line),
    )
    lines = data.draw(st.lists(line, max_size=30))
    with tempfile.TemporaryDirectory() as folder:
        run = run_at(folder)
        shard = write_shard(run, keys, problems=problems, block_rows=data.draw(st.integers(1, 12)))
        receive(run, shard, lines)

        landed = land(run, shard, WELL)

        found, dead = rows_of(run.results_part(PART)), rows_of(run.dead_letter_part(PART))
    assert sorted(row["key"] for row in found + dead) == sorted(keys)
    assert [row["text"] for row in found] == [f"about {row['key']}" for row in found]
    assert [row["request"] for row in dead if row["request"] is not None] == [
        request_of(row["key"]) for row in dead if row["key"] not in problems
    ]
    assert {row["key"] for row in dead if row["reason"] == "INVALID_INPUT"} == set(problems)
    assert (landed.rows, landed.results, sum(landed.reasons.values())) == (len(keys), len(found), len(dead))
    refused = {key for key in keys if error(key, 3) in lines or error(key, 13) in lines}
    assert {key for key in keys if answer(key) in lines} - refused - set(problems) <= {row["key"] for row in found}
