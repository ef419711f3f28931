"""A whole run as one task, pass by pass."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from airflow_gemini_batch import GeminiBatchOperator, GenerateRequest
from airflow_gemini_batch._compat import AirflowFailException
from airflow_gemini_batch.emulator import Emulator, HttpFault, JobFault
from tests.integration.airflow.conftest import KEY, Passes, context, created, read, table

Describe = Callable[..., GeminiBatchOperator]


@pytest.mark.parametrize("deferrable", [True, False])
def test_a_table_becomes_two_tables(deferrable: bool, describe: Describe, tmp_path: Path, emulator: Emulator) -> None:
    passes = Passes(describe(deferrable=deferrable))

    summary = passes.finish()

    assert (summary["rows"], summary["results"], summary["dead_letter"], summary["balanced"]) == (12, 12, 0, True)
    assert summary == json.loads((tmp_path / "run" / "summary.json").read_text())
    assert all(row["body"] in row["text"] for row in read(tmp_path / "run" / "results"))
    assert bool(passes.events) is deferrable
    assert len(created(emulator)) == len(set(created(emulator))) == 3


def test_a_task_killed_between_passes_resumes_with_its_jobs(describe: Describe, emulator: Emulator) -> None:
    Passes(describe()).start()

    summary = Passes(describe()).finish()

    assert summary["balanced"]
    assert len(created(emulator)) == len(set(created(emulator))) == 3


def test_a_finished_run_is_returned_as_it_is(describe: Describe, emulator: Emulator) -> None:
    first = Passes(describe()).finish()

    again = Passes(describe())

    assert again.finish() == first
    assert again.events == []
    assert len(created(emulator)) == 3


def test_the_task_does_not_defer_for_a_job_that_has_ended(describe: Describe, emulator: Emulator) -> None:
    Passes(describe()).start()
    emulator.advance(60)

    again = Passes(describe()).start()

    assert again.ended


def test_a_replaced_run_is_resumed_by_the_task_that_began_it(describe: Describe, emulator: Emulator) -> None:
    Passes(describe(if_exists="replace")).start()
    assert len(created(emulator)) == 3

    Passes(describe(if_exists="replace")).finish()

    assert len(created(emulator)) == 3


def test_no_more_jobs_are_active_than_allowed(describe: Describe, emulator: Emulator) -> None:
    passes = Passes(describe(options={"max_active_jobs": 1})).start()

    assert len(created(emulator)) == 1
    while not passes.ended:
        passes.resume()
        active = [job for job in emulator.jobs() if not job["done"]]
        assert len(active) <= 1
    assert len(created(emulator)) == 3


def test_after_a_quota_refusal_the_task_waits_in_the_triggerer(
    describe: Describe, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_gemini_batch.engine.gemini.waits._QUOTA_WAIT", 0.2)
    emulator.faults.add(HttpFault(do="status", status=429, method="POST", path=":batchGenerateContent", nth=2, count=2))
    passes = Passes(describe())

    first_wait = passes.start().trigger
    while not passes.ended:
        passes.resume()

    assert (len(first_wait.jobs), first_wait.refusals) == (1, 1)
    assert first_wait.wake_at is not None
    assert passes.result["balanced"]
    assert len(set(created(emulator))) == 3


def test_at_the_timeout_the_error_names_the_jobs_which_keep_running(describe: Describe, emulator: Emulator) -> None:
    emulator.faults.add(JobFault(do="hang"))

    with pytest.raises(AirflowFailException, match=r"These jobs keep running: batches/.*Run the same again"):
        Passes(describe(options={"timeout": timedelta(seconds=0.5)})).finish()

    assert [job["done"] for job in emulator.jobs()] == [False, False, False]


@pytest.mark.parametrize("deferrable", [True, False])
def test_the_timeout_cancels_the_jobs_if_configured(deferrable: bool, describe: Describe, emulator: Emulator) -> None:
    emulator.faults.add(JobFault(do="hang"))

    with pytest.raises(AirflowFailException, match=r"These jobs were cancelled: batches/"):
        Passes(describe(options={"timeout": timedelta(seconds=0.5), "cancel_on_timeout": True}, deferrable=deferrable)).finish()

    assert {job["state"] for job in emulator.jobs()} == {"BATCH_STATE_CANCELLED"}


@pytest.mark.parametrize("cancel", [True, False])
def test_ended_while_deferred_the_jobs_are_cancelled_if_configured(
    cancel: bool, describe: Describe, task_state: Callable[[str], None], emulator: Emulator
) -> None:
    task_state("failed")
    emulator.faults.add(JobFault(do="hang"))
    passes = Passes(describe(options={"cancel_on_kill": cancel})).start()

    asyncio.run(passes.trigger.on_kill())

    assert {job["state"] == "BATCH_STATE_CANCELLED" for job in emulator.jobs()} == {cancel}


def test_killed_on_the_worker_only_active_jobs_are_cancelled(
    describe: Describe, task_state: Callable[[str], None], emulator: Emulator
) -> None:
    task_state("failed")
    emulator.faults.add(JobFault(do="hang", display_name="shard 1"))
    Passes(describe()).start()
    emulator.advance(60)

    ended = describe()
    with ended.one_pass(context()):
        pass
    ended.on_kill()

    states = {job["display_name"].split("shard ")[1][0]: job["state"] for job in emulator.jobs()}
    assert states == {"0": "BATCH_STATE_SUCCEEDED", "1": "BATCH_STATE_CANCELLED", "2": "BATCH_STATE_SUCCEEDED"}


def test_a_task_killed_before_the_build_cancels_nothing(describe: Describe) -> None:
    describe().on_kill()


def test_a_refusal_in_the_triggerer_fails_the_task(describe: Describe, connect: Callable[..., None]) -> None:
    passes = Passes(describe()).start()
    connect(password="invalid-since-yesterday")

    event = passes.wait()
    connect()

    assert event["why"] == "error"
    with pytest.raises(AirflowFailException, match="API key not valid"):
        passes.resume(event)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gemini_conn_id": "nowhere"}, "InputError: Airflow has no connection 'nowhere'. Create it"),
        ({"model": "no-such-model"}, "NotFoundError: .*Could not .*no-such-model"),
        ({"source": "/nowhere/rows.parquet"}, "InputError: .*/nowhere/rows.parquet"),
        ({"request": GenerateRequest(prompt="${headline}")}, "InputError: .*headline"),
        ({"key": "sku"}, "InputError: .*sku"),
        ({"destination": "/dev/null/run"}, "DestinationError: Cannot read /dev/null/run.* a file, not a folder"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_invalid_input_is_refused_before_anything_is_paid(
    arguments: dict[str, Any], message: str, describe: Describe, emulator: Emulator
) -> None:
    with pytest.raises(AirflowFailException, match=message):
        Passes(describe(**arguments)).start()

    assert created(emulator) == []


def test_a_wrong_key_is_an_error_before_anything_is_uploaded(describe: Describe, connect: Any, emulator: Emulator) -> None:
    connect(password="invalid-key-of-someone")

    with pytest.raises(AirflowFailException, match=r"ApiKeyError: .*API key not valid") as refused:
        Passes(describe()).start()

    assert "invalid-key-of-someone" not in str(refused.value)
    assert emulator.journal("create") == []


def test_a_destination_that_holds_another_run_is_not_changed(describe: Describe, tmp_path: Path) -> None:
    Passes(describe()).finish()

    with pytest.raises(AirflowFailException, match=r"DestinationError: .* holds another run .* if_exists='replace'"):
        Passes(describe(model="gemini-3.6-pro"), context(run_id="another")).start()


def test_an_empty_table_is_a_finished_run_without_a_job(describe: Describe, emulator: Emulator) -> None:
    summary = Passes(describe(source=table(0))).finish()

    assert (summary["rows"], summary["jobs"], summary["balanced"]) == (0, [], True)
    assert created(emulator) == []


def test_a_table_of_invalid_rows_is_all_dead_letters_and_no_job(describe: Describe, emulator: Emulator) -> None:
    rows = pa.table({"id": ["a", "b"], "body": pa.array([None, None], pa.string())})

    summary = Passes(describe(source=rows)).finish()

    assert (summary["rows"], summary["dead_letter"], summary["reasons"]) == (2, 2, {"INVALID_INPUT": 2})
    assert created(emulator) == []


def test_too_many_dead_letters_fail_the_task_after_everything_was_written(describe: Describe, tmp_path: Path) -> None:
    rows = pa.table({"id": ["a", "b"], "body": ["fine", None]})

    with pytest.raises(AirflowFailException, match="DeadLetterRatioError: 1 of 2 rows"):
        Passes(describe(source=rows, options={"max_dead_letter_ratio": 0.4})).finish()

    assert len(read(tmp_path / "run" / "results")) == 1
    assert (tmp_path / "run" / "summary.json").exists()


def test_templates_are_rendered_in_arguments_but_never_in_rows(describe: Describe, tmp_path: Path) -> None:
    rows = pa.table({"id": ["a", "b"], "body": ["{{ ds }} and ${id}", "${body} {% raw %}"]})
    request = GenerateRequest(prompt="On {{ ds }}: ${body}")

    Passes(describe(source=rows, request=request, destination=f"{tmp_path}/{{{{ ds }}}}")).finish()

    [requests] = (tmp_path / "2026-11-21" / "_run" / "requests").glob("*.jsonl")
    texts = [json.loads(line)["request"]["contents"][0]["parts"][0]["text"] for line in requests.read_text().splitlines()]
    assert texts == ["On 2026-11-21: {{ ds }} and ${id}", "On 2026-11-21: ${body} {% raw %}"]


def test_the_key_is_not_in_any_stored_state(describe: Describe, tmp_path: Path) -> None:
    passes = Passes(describe()).start()
    assert passes.deferred is not None
    kept = json.dumps(passes.trigger.serialize()) + repr(passes.deferred.kwargs)

    passes.resume()
    kept += json.dumps(passes.events)

    assert KEY not in kept
    assert not [file for file in (tmp_path / "run").rglob("*") if file.is_file() and KEY.encode() in file.read_bytes()]


def test_labels_are_rendered_and_kept(describe: Describe, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "airflow_gemini_batch.engine.finish.summary")

    summary = Passes(describe(labels={"team": "search", "dag": "{{ ti.dag_id }}-x"})).finish()

    assert summary["labels"]["team"] == "search"
    assert "{{" not in summary["labels"]["dag"]
    assert ", for dag=" in caplog.text
    assert Passes(describe(labels={"team": "ads"})).finish()["labels"]["team"] == "search", "as the run was built"


def test_worker_and_triggerer_say_how_far_the_run_is_and_do_not_repeat_each_other(
    describe: Describe, emulator: Emulator, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    passes = Passes(describe(options={"max_active_jobs": 1})).start()
    while not passes.ended:
        passes.resume()

    said = [line for line in (capsys.readouterr().out + caplog.text).splitlines() if " % (" in line]
    counts = [re.search(r"(\d+) % \((\d+) of 12\) · (\d) of 3 jobs done", line) for line in said]
    assert None not in counts, said
    percents = [int(count[1]) for count in counts if count is not None]
    assert (percents[0], len(percents)) == (0, len(set(percents)))
    assert any("rows/min" in line for line in said[1:])
