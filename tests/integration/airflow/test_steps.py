"""The trip in steps, each of which can be repeated on its own."""

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
from tests.integration.airflow.conftest import CONTEXT, MODEL, Legs, context, created, read, table


class Trip:
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
        shards = Legs(GeminiBatchBuildOperator(task_id="build", **{**given, **arguments}), context).finish()
        return list(shards)

    def submit(self, shard: dict[str, Any], **arguments: Any) -> Legs:
        return Legs(GeminiBatchSubmitOperator(task_id="submit", shard=shard, **arguments))

    def wait(self, job: dict[str, Any], **arguments: Any) -> Legs:
        options = {"poll_interval": 0.1, **arguments.pop("options", {})}
        return Legs(GeminiBatchSensor(task_id="wait", job=job, options=options, **arguments))

    def download(self, job: dict[str, Any]) -> dict[str, Any]:
        return dict(Legs(GeminiBatchDownloadOperator(task_id="download", job=job)).finish())

    def finish(self, **arguments: Any) -> dict[str, Any]:
        task = GeminiBatchFinishOperator(task_id="finish", destination=self.destination, **arguments)
        return dict(Legs(task).finish())


@pytest.fixture
def trip(connect: Callable[..., None], source: str, tmp_path: Path) -> Trip:
    return Trip(source, str(tmp_path / "run"))


def test_the_steps_make_the_same_trip(trip: Trip, tmp_path: Path, emulator: Emulator) -> None:
    shards = trip.build()
    jobs = [trip.submit(shard).finish() for shard in shards]
    done = [trip.wait(job).finish() for job in jobs]
    parts = [trip.download(job) for job in done]
    summary = trip.finish()

    assert [shard["requests"] for shard in shards] == [5, 5, 2]
    assert [job["state"] for job in done] == ["SUCCEEDED"] * 3
    assert sum(part["results"] for part in parts) == summary["results"] == len(read(tmp_path / "run" / "results")) == 12
    assert {part["results_uri"] for part in parts} == {str(file) for file in (tmp_path / "run" / "results").iterdir()}
    assert len(created(emulator)) == 3


def test_every_step_may_be_repeated(trip: Trip, emulator: Emulator) -> None:
    for _ in range(2):
        shards = trip.build()
        jobs = [trip.submit(shard).finish() for shard in shards]
        done = [trip.wait(job).finish() for job in jobs]
        parts = [trip.download(job) for job in done]
        trip.finish()

    assert [part["job"] for part in parts] == [job["job"] for job in jobs]
    assert len(created(emulator)) == 3


def test_a_shard_without_requests_passes_through(trip: Trip, emulator: Emulator) -> None:
    trip.source = pa.table({"id": ["a", "b"], "body": pa.array([None, None], pa.string())})

    [shard] = trip.build()
    job = trip.submit(shard).finish()
    waited = trip.wait(job)
    part = trip.download(waited.finish())

    assert (shard["rows"], shard["requests"]) == (2, 0)
    assert (job["job"], waited.events) == (None, [])
    assert (part["results"], part["dead_letter"], part["reasons"]) == (0, 2, {"INVALID_INPUT": 2})
    assert trip.finish()["balanced"]
    assert created(emulator) == []


def test_a_table_without_rows_makes_empty_tables_and_a_summary(trip: Trip, tmp_path: Path) -> None:
    trip.source = table(0)

    [shard] = trip.build()
    part = trip.download(trip.wait(trip.submit(shard).finish()).finish())

    assert (shard["rows"], part["results"], part["dead_letter"], trip.finish()["rows"]) == (0, 0, 0, 0)
    assert read(tmp_path / "run" / "results") == []


def test_finishing_fails_while_a_shard_is_missing(trip: Trip) -> None:
    first, second, _ = trip.build()
    trip.download(trip.wait(trip.submit(first).finish()).finish())
    trip.submit(second).finish()

    with pytest.raises(AirflowFailException, match=r"BalanceError: .* 2 of 3 shards have not been collected"):
        trip.finish()


def test_finishing_what_was_never_built_says_so(trip: Trip) -> None:
    with pytest.raises(AirflowFailException, match=r"DestinationError: .* holds no run"):
        trip.finish()


def test_a_refused_submission_is_tried_again_by_deferring(
    trip: Trip, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_gemini_batch.engine.wait.waiting._QUOTA_WAIT", 0.2)
    shard, *_ = trip.build()
    emulator.faults.add(HttpFault(do="status", status=429, method="POST", path=":batchGenerateContent", count=2))

    legs = trip.submit(shard)
    job = legs.finish()

    assert job["job"].startswith("batches/")
    assert [event["refusals"] for event in legs.events] == list(range(1, len(legs.events) + 1))
    assert {event["why"] for event in legs.events} == {"time"}
    assert len(created(emulator)) == 1


def test_a_submission_that_stays_refused_ends_at_the_timeout(trip: Trip, emulator: Emulator) -> None:
    shard, *_ = trip.build()
    emulator.faults.add(HttpFault(do="status", status=429, method="POST", path=":batchGenerateContent"))

    with pytest.raises(AirflowFailException, match=r"WaitTimeoutError: .*429.* Refused 1 times"):
        trip.submit(shard, options={"timeout": timedelta(seconds=1)}).finish()


def test_a_limit_on_jobs_holds_over_the_tasks_of_all_shards(
    trip: Trip, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_gemini_batch.engine.wait.waiting._QUOTA_WAIT", 0.2)
    emulator.faults.add(JobFault(do="hang"))
    first, second, _ = trip.build()
    job = trip.submit(first, options={"max_active_jobs": 1}).finish()["job"]

    waiting = trip.submit(second, options={"max_active_jobs": 1}).start()
    assert (waiting.ended, waiting.trigger.refusals, len(created(emulator))) == (False, 1, 1)

    with GeminiHook().client as client:
        client.cancel_job(job)
    while not waiting.ended:
        waiting.resume()
    assert len(created(emulator)) == 2


@pytest.mark.parametrize(("fault", "state"), [("expire", "EXPIRED"), ("cancel", "CANCELLED")])
def test_what_a_job_left_undone_lands_as_letters_that_the_one_operator_sends_again(
    fault: Any, state: str, trip: Trip, describe: Callable[..., GeminiBatchOperator], emulator: Emulator
) -> None:
    emulator.faults.add(JobFault(do=fault, display_name="shard 0 attempt 0"))
    shard, *_ = trip.build()

    done = trip.wait(trip.submit(shard).finish()).finish()
    part = trip.download(done)
    summary = Legs(describe(carry=[])).finish()

    assert (done["state"], part["reasons"]) == (state, {f"JOB_{state}": 5})
    assert summary["results"] == (12 if state == "EXPIRED" else 7)  # what somebody cancelled, only they may want again


def test_the_steps_know_a_shard_that_is_sent_again(
    trip: Trip, describe: Callable[..., GeminiBatchOperator], emulator: Emulator
) -> None:
    emulator.faults.add(JobFault(do="fail", error_code=14, display_name="shard 0 attempt 0"))
    first, *_ = trip.build()
    Legs(describe(carry=[])).finish()

    again = trip.download(trip.wait(trip.submit({**first, "attempt": 1}).finish()).finish())

    assert (again["attempt"], again["results"]) == (1, 5)
    assert len(created(emulator)) == len(set(created(emulator))) == 4


@pytest.mark.parametrize("how", [{"deferrable": True}, {"deferrable": False}], ids=["deferrable", "poke"])
def test_a_job_that_failed_is_an_end_like_any_other(how: dict[str, Any], trip: Trip, emulator: Emulator) -> None:
    emulator.faults.add(JobFault(do="fail", display_name="shard 0"))
    shard, *_ = trip.build()

    done = trip.wait(trip.submit(shard).finish(), **how).finish()
    part = trip.download(done)

    assert done["state"] == "FAILED"
    assert part["reasons"] == {"JOB_FAILED": 5}


@pytest.mark.parametrize("how", [{"deferrable": True}, {"deferrable": False}], ids=["deferrable", "poke"])
def test_the_sensor_times_out_as_sensors_do(how: dict[str, Any], trip: Trip, emulator: Emulator) -> None:
    emulator.faults.add(JobFault(do="hang"))
    shard, *_ = trip.build()
    job = trip.submit(shard).finish()

    with pytest.raises(AirflowSensorTimeout):
        trip.wait(job, options={"timeout": 0.3}, **how).finish()

    assert emulator.jobs()[0]["state"] == "BATCH_STATE_PENDING"


@pytest.mark.parametrize("is_named", [True, False])
def test_the_sensor_waits_for_an_output_that_is_not_named_yet(
    is_named: bool, trip: Trip, tmp_path: Path, emulator: Emulator
) -> None:
    emulator.faults.add(JobFault(responses_file_late_seconds=3600))
    shard, *_ = trip.build()
    legs = trip.wait(trip.submit(shard).finish(), options={"timeout": 2.0}).start()
    while not legs.trigger.late:
        legs.resume()

    assert legs.trigger.until > legs.trigger.deadline
    if is_named:
        emulator.advance(2 * 3600)
        assert legs.resume().result["state"] == "SUCCEEDED"
    else:
        [record] = (tmp_path / "run/_run/ledger").glob("*.end.json")
        end = json.loads(record.read_bytes())
        record.write_text(json.dumps({**end, "seen_at": end["seen_at"] - 13 * 3600}))
        with pytest.raises(AirflowFailException, match="does not name its output file"):
            legs.resume({"why": "time", "message": "", "deadline": legs.trigger.deadline, "refusals": 0})


def test_the_sensor_waits_out_an_outage_in_its_worker_slot(trip: Trip, emulator: Emulator) -> None:
    shard, *_ = trip.build()
    job = trip.submit(shard).finish()
    emulator.faults.add(HttpFault(do="drop", method="GET", path="/batches", count=5))

    assert trip.wait(job, deferrable=False).finish()["state"] == "SUCCEEDED"


def test_downloading_before_the_end_is_left_to_a_retry(trip: Trip, emulator: Emulator) -> None:
    emulator.faults.add(JobFault(do="hang"))
    shard, *_ = trip.build()

    with pytest.raises(OutcomeUnknownError, match="There is nothing to download yet: batches/"):
        trip.download(trip.submit(shard).finish())


def test_a_reference_into_a_run_that_was_replaced_is_refused(trip: Trip) -> None:
    *_, last = trip.build()
    trip.source = table(2)
    trip.build(if_exists="replace", context=context(run_id="the next one"))

    with pytest.raises(AirflowFailException, match="has no shard 00002-0: the reference belongs to a run that has been replaced"):
        trip.submit(last).start()


@pytest.mark.parametrize("step", ["submit", "wait", "download"])
def test_what_is_no_reference_is_said_by_each_step(step: str, trip: Trip) -> None:
    def run() -> None:
        task = getattr(trip, step)({"destination": trip.destination})
        task.start()

    with pytest.raises(AirflowFailException, match=r"InputError: (shard|job) is not a (shard|job) reference"):
        run()
