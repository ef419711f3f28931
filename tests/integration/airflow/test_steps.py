"""A run in steps, each of which can be repeated on its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from airflow_gemini_batch import (
    GeminiBatchBuildOperator,
    GeminiBatchDownloadOperator,
    GeminiBatchFinishOperator,
    GeminiBatchOperator,
    GeminiBatchSensor,
    GeminiBatchSubmitOperator,
    GeminiHook,
    GenerateRequest,
)
from airflow_gemini_batch._compat import AirflowFailException, AirflowSensorTimeout
from airflow_gemini_batch.emulator import Emulator, HttpFault, JobFault
from airflow_gemini_batch.engine.errors import OutcomeUnknownError
from tests.integration.airflow.conftest import CONTEXT, MODEL, Passes, context, created, read, table


class Steps:
    """The steps, each run as a task of its own."""

    def __init__(self, source: Any, destination: str) -> None:
        self.source = source
        self.destination = destination

    def build(self, *, context: Any = CONTEXT, **arguments: Any) -> list[dict[str, Any]]:
        given: dict[str, Any] = {
            "source": self.source,
            "request": GenerateRequest(prompt="Repeat: ${body}"),
            "model": MODEL,
            "destination": self.destination,
            "key": "id",
            "options": {"max_shard_requests": 5},
        }
        shards = Passes(GeminiBatchBuildOperator(task_id="build", **{**given, **arguments}), context).finish()
        return list(shards)

    def submit(self, shard: dict[str, Any], **arguments: Any) -> Passes:
        return Passes(GeminiBatchSubmitOperator(task_id="submit", shard=shard, **arguments))

    def wait(self, job: dict[str, Any], **arguments: Any) -> Passes:
        options = {"poll_interval": 0.1, **arguments.pop("options", {})}
        return Passes(GeminiBatchSensor(task_id="wait", job=job, options=options, **arguments))

    def download(self, job: dict[str, Any]) -> dict[str, Any]:
        return dict(Passes(GeminiBatchDownloadOperator(task_id="download", job=job)).finish())

    def finish(self, **arguments: Any) -> dict[str, Any]:
        task = GeminiBatchFinishOperator(task_id="finish", destination=self.destination, **arguments)
        return dict(Passes(task).finish())


@pytest.fixture
def steps(connect: Callable[..., None], source: str, tmp_path: Path) -> Steps:
    return Steps(source, str(tmp_path / "run"))


def test_the_steps_produce_the_same_tables(steps: Steps, tmp_path: Path, emulator: Emulator) -> None:
    shards = steps.build()
    jobs = [steps.submit(shard).finish() for shard in shards]
    done = [steps.wait(job).finish() for job in jobs]
    parts = [steps.download(job) for job in done]
    summary = steps.finish()

    assert [shard["requests"] for shard in shards] == [5, 5, 2]
    assert [job["state"] for job in done] == ["SUCCEEDED"] * 3
    assert sum(part["results"] for part in parts) == summary["results"] == len(read(tmp_path / "run" / "results")) == 12
    assert {part["results_uri"] for part in parts} == {str(file) for file in (tmp_path / "run" / "results").iterdir()}
    assert len(created(emulator)) == 3


def test_every_step_may_be_repeated(steps: Steps, emulator: Emulator) -> None:
    for _ in range(2):
        shards = steps.build()
        jobs = [steps.submit(shard).finish() for shard in shards]
        done = [steps.wait(job).finish() for job in jobs]
        parts = [steps.download(job) for job in done]
        steps.finish()

    assert [part["job"] for part in parts] == [job["job"] for job in jobs]
    assert len(created(emulator)) == 3


def test_a_shard_without_requests_passes_through(steps: Steps, emulator: Emulator) -> None:
    steps.source = pa.table({"id": ["a", "b"], "body": pa.array([None, None], pa.string())})

    [shard] = steps.build()
    job = steps.submit(shard).finish()
    waited = steps.wait(job)
    part = steps.download(waited.finish())

    assert (shard["rows"], shard["requests"]) == (2, 0)
    assert (job["job"], waited.events) == (None, [])
    assert (part["results"], part["dead_letter"], part["reasons"]) == (0, 2, {"INVALID_INPUT": 2})
    assert steps.finish()["balanced"]
    assert created(emulator) == []


def test_a_table_without_rows_makes_empty_tables_and_a_summary(steps: Steps, tmp_path: Path) -> None:
    steps.source = table(0)

    [shard] = steps.build()
    part = steps.download(steps.wait(steps.submit(shard).finish()).finish())

    assert (shard["rows"], part["results"], part["dead_letter"], steps.finish()["rows"]) == (0, 0, 0, 0)
    assert read(tmp_path / "run" / "results") == []


def test_finishing_fails_while_a_shard_is_missing(steps: Steps) -> None:
    first, second, _ = steps.build()
    steps.download(steps.wait(steps.submit(first).finish()).finish())
    steps.submit(second).finish()

    with pytest.raises(AirflowFailException, match=r"BalanceError: .* 2 of 3 shards have not been collected"):
        steps.finish()


def test_finishing_a_run_that_was_never_built_is_an_error(steps: Steps) -> None:
    with pytest.raises(AirflowFailException, match=r"DestinationError: .* holds no run"):
        steps.finish()


def test_a_submission_refused_for_quota_is_retried_after_deferring(
    steps: Steps, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_gemini_batch.engine.gemini.waits._QUOTA_WAIT", 0.2)
    shard, *_ = steps.build()
    emulator.faults.add(HttpFault(do="status", status=429, method="POST", path=":batchGenerateContent", count=2))

    passes = steps.submit(shard)
    job = passes.finish()

    assert job["job"].startswith("batches/")
    assert [event["refusals"] for event in passes.events] == list(range(1, len(passes.events) + 1))
    assert {event["why"] for event in passes.events} == {"time"}
    assert len(created(emulator)) == 1


def test_a_submission_that_stays_refused_ends_at_the_timeout(steps: Steps, emulator: Emulator) -> None:
    shard, *_ = steps.build()
    emulator.faults.add(HttpFault(do="status", status=429, method="POST", path=":batchGenerateContent"))

    with pytest.raises(AirflowFailException, match=r"WaitTimeoutError: .*429.* Refused 1 times"):
        steps.submit(shard, options={"timeout": timedelta(seconds=1)}).finish()


def test_max_active_jobs_applies_across_the_tasks_of_all_shards(
    steps: Steps, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_gemini_batch.engine.gemini.waits._QUOTA_WAIT", 0.2)
    emulator.faults.add(JobFault(do="hang"))
    first, second, _ = steps.build()
    job = steps.submit(first, options={"max_active_jobs": 1}).finish()["job"]

    waiting = steps.submit(second, options={"max_active_jobs": 1}).start()
    assert (waiting.ended, waiting.trigger.refusals, len(created(emulator))) == (False, 1, 1)

    with GeminiHook().client as client:
        client.cancel_job(job)
    while not waiting.ended:
        waiting.resume()
    assert len(created(emulator)) == 2


@pytest.mark.parametrize(("fault", "state"), [("expire", "EXPIRED"), ("cancel", "CANCELLED")])
def test_unanswered_rows_become_dead_letters_that_the_operator_resubmits(
    fault: Any, state: str, steps: Steps, describe: Callable[..., GeminiBatchOperator], emulator: Emulator
) -> None:
    emulator.faults.add(JobFault(do=fault, display_name="shard 0 attempt 0"))
    shard, *_ = steps.build()

    done = steps.wait(steps.submit(shard).finish()).finish()
    part = steps.download(done)
    summary = Passes(describe(carry=[])).finish()

    assert (done["state"], part["reasons"]) == (state, {f"JOB_{state}": 5})
    assert summary["results"] == (12 if state == "EXPIRED" else 7)  # rows cancelled from outside are not resubmitted


def test_the_steps_find_a_resubmitted_shard(
    steps: Steps, describe: Callable[..., GeminiBatchOperator], emulator: Emulator
) -> None:
    emulator.faults.add(JobFault(do="fail", error_code=14, display_name="shard 0 attempt 0"))
    first, *_ = steps.build()
    Passes(describe(carry=[])).finish()

    again = steps.download(steps.wait(steps.submit({**first, "attempt": 1}).finish()).finish())

    assert (again["attempt"], again["results"]) == (1, 5)
    assert len(created(emulator)) == len(set(created(emulator))) == 4


@pytest.mark.parametrize("how", [{"deferrable": True}, {"deferrable": False}], ids=["deferrable", "poke"])
def test_a_failed_job_counts_as_ended(how: dict[str, Any], steps: Steps, emulator: Emulator) -> None:
    emulator.faults.add(JobFault(do="fail", display_name="shard 0"))
    shard, *_ = steps.build()

    done = steps.wait(steps.submit(shard).finish(), **how).finish()
    part = steps.download(done)

    assert done["state"] == "FAILED"
    assert part["reasons"] == {"JOB_FAILED": 5}


@pytest.mark.parametrize("how", [{"deferrable": True}, {"deferrable": False}], ids=["deferrable", "poke"])
def test_the_sensor_times_out_as_sensors_do(how: dict[str, Any], steps: Steps, emulator: Emulator) -> None:
    emulator.faults.add(JobFault(do="hang"))
    shard, *_ = steps.build()
    job = steps.submit(shard).finish()

    with pytest.raises(AirflowSensorTimeout):
        steps.wait(job, options={"timeout": 0.3}, **how).finish()

    assert emulator.jobs()[0]["state"] == "BATCH_STATE_PENDING"


@pytest.mark.parametrize("is_named", [True, False])
def test_the_sensor_waits_for_an_output_that_is_not_named_yet(
    is_named: bool, steps: Steps, tmp_path: Path, emulator: Emulator
) -> None:
    emulator.faults.add(JobFault(responses_file_late_seconds=3600))
    shard, *_ = steps.build()
    passes = steps.wait(steps.submit(shard).finish(), options={"timeout": 2.0}).start()
    while not passes.trigger.late:
        passes.resume()

    assert passes.trigger.until > passes.trigger.deadline
    if is_named:
        emulator.advance(2 * 3600)
        assert passes.resume().result["state"] == "SUCCEEDED"
    else:
        [record] = (tmp_path / "run/_run/ledger").glob("*.end.json")
        end = json.loads(record.read_bytes())
        record.write_text(json.dumps({**end, "seen_at": end["seen_at"] - 13 * 3600}))
        with pytest.raises(AirflowFailException, match="does not name its output file"):
            passes.resume({"why": "time", "message": "", "deadline": passes.trigger.deadline, "refusals": 0})


def test_the_sensor_in_a_worker_slot_continues_after_an_outage(steps: Steps, emulator: Emulator) -> None:
    shard, *_ = steps.build()
    job = steps.submit(shard).finish()
    emulator.faults.add(HttpFault(do="drop", method="GET", path="/batches", count=5))

    assert steps.wait(job, deferrable=False).finish()["state"] == "SUCCEEDED"


def test_downloading_before_the_job_has_ended_may_be_retried(steps: Steps, emulator: Emulator) -> None:
    emulator.faults.add(JobFault(do="hang"))
    shard, *_ = steps.build()

    with pytest.raises(OutcomeUnknownError, match="There is nothing to download yet: batches/"):
        steps.download(steps.submit(shard).finish())


def test_a_reference_into_a_run_that_was_replaced_is_refused(steps: Steps) -> None:
    *_, last = steps.build()
    steps.source = table(2)
    steps.build(if_exists="replace", context=context(run_id="the next one"))

    with pytest.raises(AirflowFailException, match="has no shard 00002-0: the reference belongs to a run that has been replaced"):
        steps.submit(last).start()


@pytest.mark.parametrize("step", ["submit", "wait", "download"])
def test_each_step_refuses_a_value_that_is_not_a_reference(step: str, steps: Steps) -> None:
    def run() -> None:
        task = getattr(steps, step)({"destination": steps.destination})
        task.start()

    with pytest.raises(AirflowFailException, match=r"InputError: (shard|job) is not a (shard|job) reference"):
        run()


def test_the_limits_of_the_connection_apply_across_runs_and_a_waiting_submit_holds_no_worker(
    connect: Callable[..., None], source: str, tmp_path: Path, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_gemini_batch.engine.gemini.waits._TURN_WAIT", 0.2)
    monkeypatch.setattr("airflow_gemini_batch.engine.slots.slots._LOOK_EVERY", 0.0)
    connect(extra=json.dumps({"limits_folder": str(tmp_path / "limits"), "max_active_jobs": 1}))
    emulator.faults.add(JobFault(do="hang"))
    one, two = Steps(source, str(tmp_path / "one")), Steps(source, str(tmp_path / "two"))
    job = one.submit(one.build()[0]).finish()["job"]

    waiting = two.submit(two.build()[0]).start()
    assert (waiting.ended, waiting.trigger.refusals, len(created(emulator))) == (False, 1, 1)

    with GeminiHook().client as client:
        client.cancel_job(job)
    while not waiting.ended:
        waiting.resume()
    assert len(created(emulator)) == 2
