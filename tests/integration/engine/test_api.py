"""The whole way in one call: what comes out, what is found again, and what bad input does."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_gemini_batch.emulator import Emulator, HttpFault, JobFault, ListingFault, RowFault
from airflow_gemini_batch.engine.advance import advance
from airflow_gemini_batch.engine.api import drive
from airflow_gemini_batch.engine.build.building import build_run
from airflow_gemini_batch.engine.build.call import RunSpec
from airflow_gemini_batch.engine.errors import (
    ApiKeyError,
    CorruptRunError,
    DestinationError,
    InputError,
    NotFoundError,
    RefusedError,
    UnreachableError,
    WaitTimeoutError,
)
from airflow_gemini_batch.engine.finish.summary import Summary
from airflow_gemini_batch.engine.gemini.client import Endpoint, GeminiClient
from airflow_gemini_batch.engine.run.layout import Run, ShardAttempt
from airflow_gemini_batch.engine.run.ledger import Ledger
from airflow_gemini_batch.engine.run.storage import locate
from airflow_gemini_batch.engine.specs import GenerateRequest, RawRequest
from airflow_gemini_batch.engine.wait.unfinished import Waiting
from tests.integration.engine.conftest import MODEL, SHORT_WAITS, creates, read, table

pytestmark = pytest.mark.integration

Go = Callable[..., Summary]


def test_a_table_comes_out_as_two_tables_that_balance(go: Go, tmp_path: Path, emulator: Emulator) -> None:
    source = table(12).set_column(1, "body", pa.array([None if number == 3 else f"number {number}" for number in range(12)]))

    summary = go(source=source)

    assert (summary.rows, summary.results, summary.dead_letter, summary.balanced) == (12, 11, 1, True)
    assert summary.reasons == {"INVALID_INPUT": 1}
    assert [job.requests for job in summary.jobs] == [5, 5, 1]
    results, letters = read(tmp_path, "results"), read(tmp_path, "dead_letter")
    assert all(row["body"] in row["text"] for row in results)
    assert {row["key"] for row in results} | {row["key"] for row in letters} == {f"k{number}" for number in range(12)}
    assert "body" in letters[0]["message"]
    assert json.loads((tmp_path / "run" / "summary.json").read_text()) == summary.as_dict()


def test_the_same_call_again_finds_the_finished_run_and_pays_nothing(go: Go, emulator: Emulator) -> None:
    first = go()

    assert go() == first
    assert len(creates(emulator)) == len(set(creates(emulator))) == 3


@pytest.mark.parametrize("step", ["manifest", "submitted", "landed"])
def test_a_run_goes_on_from_wherever_it_stopped(step: str, go: Go, tmp_path: Path, emulator: Emulator) -> None:
    path = {"manifest": r":batchGenerateContent", "submitted": r"/batches($|\?)", "landed": r":download"}[step]
    rule = emulator.faults.add(HttpFault(do="status", status=400, path=path, nth=2, count=1_000))[0]
    with pytest.raises(RefusedError):
        go()
    emulator.faults.remove(rule)

    summary = go()

    assert summary.balanced
    assert len(creates(emulator)) == 3


def test_an_empty_table_is_a_finished_run_without_a_job(go: Go, tmp_path: Path, emulator: Emulator) -> None:
    summary = go(source=table(0))

    assert (summary.rows, summary.results, summary.dead_letter, summary.jobs) == (0, 0, 0, ())
    assert creates(emulator) == []
    assert pq.read_table(tmp_path / "run" / "results").num_rows == 0
    assert pq.read_table(tmp_path / "run" / "dead_letter").schema.field("reason").type == pa.string()


def test_rows_that_all_have_a_problem_become_dead_letters_without_a_job(go: Go, emulator: Emulator) -> None:
    summary = go(source=pa.table({"id": ["a", "b"], "body": pa.array([None, None], pa.string())}))

    assert (summary.results, summary.reasons) == (0, {"INVALID_INPUT": 2})
    assert creates(emulator) == []


def test_user_text_that_looks_like_a_template_arrives_as_it_is(go: Go, tmp_path: Path) -> None:
    text = '{{ conn.gemini.password }} ${body} {% raw %} \u2028 "quoted" \\n $body'

    go(source=pa.table({"id": ["a"], "body": [text]}))

    request = json.loads((tmp_path / "run/_run/requests/shard-00000-0.jsonl").read_bytes())
    assert request["request"]["contents"][0]["parts"][0]["text"] == f"Repeat: {text}"


def test_dead_letters_are_sent_again_from_their_table_alone(go: Go, tmp_path: Path, emulator: Emulator) -> None:
    emulator.faults.add(RowFault(do="error", keys=("k1", "k7"), code=3))
    go()
    emulator.faults.clear()

    summary = go(
        source=str(tmp_path / "run/dead_letter"), request=RawRequest("request"), key="key", destination=str(tmp_path / "again")
    )

    assert (summary.rows, summary.results) == (2, 2)


def test_rows_that_came_back_wrong_are_told_apart_and_kept(go: Go, tmp_path: Path, emulator: Emulator) -> None:
    emulator.faults.add(
        RowFault(do="shuffle"),
        RowFault(do="missing", keys=("k0",)),
        RowFault(do="double", keys=("k1",)),
        RowFault(do="foreign_key", keys=("k2",)),
        RowFault(do="error", keys=("k3",), code=8),
        RowFault(do="safety", keys=("k4",)),
        RowFault(do="max_tokens", keys=("k5",)),
        RowFault(do="prompt_blocked", keys=("k6",)),
        RowFault(do="null_response", keys=("k7",)),
        RowFault(do="line_separators", keys=("k8",)),
        RowFault(do="lone_surrogate", keys=("k9",)),
        RowFault(do="torn", keys=("k10",)),
    )

    summary = go()

    assert summary.balanced
    reasons = {row["key"]: (row["reason"], row["retryable"]) for row in read(tmp_path, "dead_letter")}
    assert reasons["k0"] == ("MISSING", True)
    assert "k2" not in reasons
    assert reasons["k3"] == ("REQUEST_ERROR", True)
    assert reasons["k4"] == ("BLOCKED", False)
    assert reasons["k5"] == ("TRUNCATED", False)
    assert reasons["k6"] == ("BLOCKED", False)
    assert reasons["k7"][0] in ("EMPTY", "MISSING", "REQUEST_ERROR")
    assert {row["key"] for row in read(tmp_path, "results")} >= {"k1", "k8", "k9", "k11"}
    assert (summary.aside["foreign"], summary.aside["doubled"]) == (1, 1)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (JobFault(do="fail", error_message="the model is gone"), "JOB_FAILED"),
        (JobFault(do="expire"), "JOB_EXPIRED"),
        (JobFault(do="cancel"), "JOB_CANCELLED"),
    ],
)
def test_a_job_that_does_not_end_well_takes_its_rows_to_the_dead_letter(
    fault: JobFault, reason: str, go: Go, tmp_path: Path, emulator: Emulator
) -> None:
    emulator.faults.add(fault)
    summary = go(max_dead_letter_ratio=1.0)

    assert summary.balanced
    assert summary.reasons == {reason: 12}
    assert all(row["request"] and row["job"] for row in read(tmp_path, "dead_letter"))


def test_an_output_that_is_named_late_is_waited_for(go: Go, emulator: Emulator) -> None:
    emulator.faults.add(JobFault(responses_file_late_polls=3))

    assert go().results == 12


def test_an_output_that_is_named_after_the_timeout_is_collected_all_the_same(go: Go, emulator: Emulator) -> None:
    emulator.faults.add(JobFault(responses_file_late_polls=10, state="BATCH_STATE_PARTIALLY_SUCCEEDED"))

    assert go(timeout=timedelta(seconds=0.2)).results == 12


def test_an_output_that_is_never_named_is_told_with_what_to_do(go: Go, emulator: Emulator) -> None:
    emulator.faults.add(JobFault(responses_file_late_seconds=3600))

    with pytest.raises(
        NotFoundError, match=r"has ended as BATCH_STATE_SUCCEEDED .* does not name its output file.*resubmit_lost"
    ):
        go(collect_timeout=timedelta(0))

    emulator.advance(2 * 3600)
    assert go(collect_timeout=timedelta(0)).results == 12
    assert len(creates(emulator)) == 3


@pytest.mark.parametrize("transport", ["file", "inline"])
def test_an_output_that_is_never_given_is_sent_again_on_the_users_word(
    transport: str, go: Go, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_gemini_batch.engine.passes.collecting._ASK_AGAIN", 0.1)
    emulator.faults.add(JobFault(responses_file_late_seconds=3600, display_name="shard 1 attempt 0"))
    again: dict[str, Any] = {"resubmit_lost": True, "max_redrives": 1, "transport": transport}

    summary = go(collect_timeout=timedelta(0), **again)

    assert (summary.results, summary.balanced) == (12, True)
    assert len(creates(emulator)) == 4


def test_an_unknown_state_with_an_output_is_collected(go: Go, emulator: Emulator) -> None:
    emulator.faults.add(JobFault(state="BATCH_STATE_PARTIALLY_SUCCEEDED"))

    assert go().results == 12


def test_a_truncated_download_is_fetched_again(go: Go, emulator: Emulator) -> None:
    emulator.faults.add(HttpFault(do="truncate", path=":download", bytes=100, nth=1, count=2))

    assert go().results == 12


def test_a_call_whose_time_is_up_names_its_jobs_and_the_next_call_goes_on(go: Go, emulator: Emulator) -> None:
    emulator.faults.add(JobFault(do="succeed", pending_seconds=3600))
    with pytest.raises(WaitTimeoutError, match=r"batches/.*Run the same again"):
        go(timeout=timedelta(seconds=0.2))

    emulator.advance(2 * 3600)

    assert go().results == 12
    assert len(creates(emulator)) == 3


def test_no_more_jobs_than_allowed_are_in_flight(go: Go, emulator: Emulator, client: GeminiClient) -> None:
    emulator.faults.add(JobFault(pending_seconds=0.2, running_seconds=0.1))

    go(max_shard_requests=2, max_active_jobs=2, poll_interval=0.02)

    jobs = list(client.list_jobs())
    assert len(jobs) == 6
    assert max(sum(job.create_time <= other.create_time < job.end_time for job in jobs) for other in jobs) <= 2


def test_a_quota_refusal_is_waited_out(go: Go, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_gemini_batch.engine.gemini.waits._QUOTA_WAIT", 0.1)
    emulator.faults.add(HttpFault(do="status", status=429, path=":batchGenerateContent", nth=1, count=3))

    assert go().results == 12
    assert len(creates(emulator)) == 3


def test_a_wrong_key_is_said_before_anything_is_created(go: Go, emulator: Emulator) -> None:
    with pytest.raises(ApiKeyError, match="Check the API key"):
        go(endpoint=Endpoint(api_key="invalid-key", base_url=emulator.url))

    assert creates(emulator) == []


def test_an_unknown_model_is_refused_and_the_run_can_be_replaced(go: Go, emulator: Emulator) -> None:
    with pytest.raises(RefusedError, match="nonsense"):
        go(model="nonsense")

    assert go(if_exists="replace").results == 12


def test_another_question_at_the_same_destination_is_an_error_that_names_both(go: Go) -> None:
    go()

    with pytest.raises(DestinationError, match=r"holds another run.*gemini-3\.6-flash.*gemini-9.*if_exists='replace'"):
        go(model="gemini-9")


def test_other_rows_at_the_same_destination_are_an_error_and_equal_rows_are_not(go: Go) -> None:
    first = go()

    assert go(source=iter(table(12).to_batches(max_chunksize=5))) == first
    with pytest.raises(DestinationError, match="other rows"):
        go(source=table(12, start=1))


def test_a_source_file_that_was_written_again_with_the_same_rows_is_the_same_run(
    go: Go, tmp_path: Path, emulator: Emulator
) -> None:
    pq.write_table(table(12), tmp_path / "source.parquet")
    first = go(source=str(tmp_path / "source.parquet"))
    pq.write_table(table(12), tmp_path / "source.parquet", compression="gzip")
    os.utime(tmp_path / "source.parquet", (1, 1))

    assert go(source=str(tmp_path / "source.parquet")) == first


def test_replace_throws_the_old_run_away_but_never_what_the_same_owner_has_begun(
    go: Go, tmp_path: Path, emulator: Emulator
) -> None:
    go()

    assert go(source=table(3), if_exists="replace").rows == 3
    assert len(creates(emulator)) == 4


def test_tables_without_a_manifest_are_not_touched(go: Go, tmp_path: Path) -> None:
    (tmp_path / "run/results").mkdir(parents=True)
    (tmp_path / "run/results/somebody.parquet").write_bytes(b"else")

    with pytest.raises(DestinationError, match="no manifest"):
        go()


def test_requests_that_were_changed_after_the_build_are_not_sent(go: Go, tmp_path: Path, emulator: Emulator) -> None:
    rule = emulator.faults.add(HttpFault(do="status", status=400, path=":batchGenerateContent"))[0]
    with pytest.raises(RefusedError):
        go(max_active_jobs=1)  # what was uploaded ahead was not changed, and would be sent
    emulator.faults.remove(rule)
    requests = tmp_path / "run/_run/requests/shard-00001-0.jsonl"
    requests.write_bytes(requests.read_bytes().replace(b"number 5", b"number 6"))

    with pytest.raises(CorruptRunError, match=r"shard-00001-0\.jsonl.*changed"):
        go()

    assert len(creates(emulator)) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"key": "nope"}, "nope"),
        ({"carry": ["nope"]}, "nope"),
        ({"request": GenerateRequest(prompt="${bdoy}")}, "body"),
        ({"request": GenerateRequest(prompt="x", config={"temprature": 1})}, "temprature"),
        ({"model": ""}, "model"),
        ({"if_exists": "overwrite"}, "if_exists"),
        ({"max_active_jobs": 0}, "max_active_jobs"),
        ({"source": "/no/such/file.parquet"}, "/no/such/file.parquet"),
        ({"source": pa.table({"id": ["a", "a", None], "body": ["x", "y", "z"]})}, "a"),
    ],
)
def test_bad_input_is_said_before_anything_is_written_or_sent(
    arguments: dict[str, Any], message: str, go: Go, tmp_path: Path, emulator: Emulator
) -> None:
    with pytest.raises(InputError, match=message):
        go(**arguments)

    assert emulator.journal() == []
    assert not (tmp_path / "run/_run/manifest.json").exists()


def test_the_key_is_in_no_file_of_the_run(go: Go, tmp_path: Path, endpoint: Endpoint) -> None:
    go()

    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert len(files) > 10
    assert not [path for path in files if (endpoint.api_key or "").encode() in path.read_bytes()]


def test_a_run_lives_on_an_object_store_too(go: Go, tmp_path: Path) -> None:
    assert go(destination=f"memory://{tmp_path.name}/run").balanced
    assert go(destination=f"memory://{tmp_path.name}/run").balanced


def test_a_listing_in_small_pages_with_holes_is_read_to_its_end(go: Go, emulator: Emulator) -> None:
    emulator.faults.add(ListingFault(page_size=1, empty_pages=(1, 3)))

    assert go(max_shard_requests=2).results == 12


def test_an_outage_is_an_error_at_first_and_waited_out_later(client: GeminiClient, tmp_path: Path) -> None:
    run, few = Run(locate(str(tmp_path / "run"))), replace(SHORT_WAITS, max_active_jobs=2, max_redrives=1)
    build_run(run, RunSpec(table(12), GenerateRequest(prompt="${body}"), MODEL, key="id"), SHORT_WAITS)
    began = advance(run, client, few)
    assert isinstance(began, Waiting)

    with GeminiClient(Endpoint(api_key="k", base_url="http://127.0.0.1:9")) as unreachable:
        with pytest.raises(UnreachableError):
            advance(run, unreachable, replace(SHORT_WAITS, max_redrives=1))
        waiting = advance(run, unreachable, replace(SHORT_WAITS, max_redrives=1), patient=True)

    assert isinstance(waiting, Waiting)
    assert set(waiting.jobs) == set(began.jobs)
    assert waiting.retry_in is not None
    assert Ledger(run).submitted(ShardAttempt(2, 0)) is None
    assert isinstance(drive(run, client, few, deadline=time.time() + 60), Summary)
