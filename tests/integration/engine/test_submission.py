"""Exactly one job per shard and attempt, whatever the network, the service and other tries do meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from airflow_gemini_batch.emulator import Emulator, Fault, HttpFault, JobFault, ListingFault
from airflow_gemini_batch.engine.build.building import build_run
from airflow_gemini_batch.engine.build.call import RunSpec
from airflow_gemini_batch.engine.errors import NamelessJobError, OutcomeUnknownError, QuotaError, RefusedError, UnreachableError
from airflow_gemini_batch.engine.gemini.client import Endpoint, GeminiClient
from airflow_gemini_batch.engine.gemini.jobs import JobState
from airflow_gemini_batch.engine.run.layout import Run, Shard
from airflow_gemini_batch.engine.run.ledger import Ledger, Submitted
from airflow_gemini_batch.engine.run.storage import locate
from airflow_gemini_batch.engine.run.tokens import display_name, input_file_name, token_of
from airflow_gemini_batch.engine.specs import GenerateRequest
from airflow_gemini_batch.engine.submit.refused_rows import Outgoing
from airflow_gemini_batch.engine.submit.submission import Submission
from tests.integration.engine.conftest import MODEL, SHORT_WAITS, creates, table
from tests.integration.engine.scripted_server import Answer, serving

pytestmark = pytest.mark.integration

CREATE = ":batchGenerateContent"


@pytest.fixture
def submission(client: GeminiClient, tmp_path: Path) -> Submission:
    run = Run(locate(str(tmp_path / "run")))
    manifest = build_run(run, RunSpec(table(4), GenerateRequest(prompt="${body}"), MODEL, key="id"), SHORT_WAITS)
    return Submission(run, manifest, client, SHORT_WAITS)


@pytest.fixture
def shard(submission: Submission) -> Shard:
    return submission.manifest.shards[0]


def a_lost_create(submission: Submission, shard: Shard) -> str:
    """What a worker leaves that was killed between the create and its record: an intent, and a job that nobody knows."""
    token = token_of(submission.manifest, shard)
    file = submission._upload(Outgoing(submission.run, shard, ()), token)
    Ledger(submission.run).claim(shard.id, token, 1)
    return submission.client.create_job(model=MODEL, input_file=file, display_name=display_name(token, shard)).name


def test_a_submitted_shard_is_not_submitted_again(submission: Submission, shard: Shard, emulator: Emulator) -> None:
    first = submission.submit(shard)

    assert submission.submit(shard) == first
    assert len(creates(emulator)) == 1


@pytest.mark.parametrize(
    "fault",
    [
        HttpFault(do="drop", when="after", path=CREATE, count=1),
        HttpFault(do="status", when="after", status=503, path=CREATE, count=1),
        HttpFault(do="status", when="after", status=500, body="<html>", path=CREATE, count=1),
    ],
)
def test_an_unanswered_create_is_looked_up_not_repeated(
    fault: Fault, submission: Submission, shard: Shard, emulator: Emulator
) -> None:
    emulator.faults.add(fault)

    record = submission.submit(shard)

    assert record.adopted
    assert len(creates(emulator)) == 1


def test_a_create_that_timed_out_is_looked_up_not_repeated(submission: Submission, shard: Shard, emulator: Emulator) -> None:
    emulator.faults.add(HttpFault(do="delay", when="after", seconds=2, path=CREATE, count=1))

    record = submission.submit(shard)

    assert record.adopted
    assert len(creates(emulator)) == 1


@pytest.mark.parametrize(
    "fault",
    [HttpFault(do="drop", path=CREATE, count=2), HttpFault(do="status", status=503, path=CREATE, count=2)],
)
def test_a_create_that_was_lost_on_the_way_is_made_after_looking(
    fault: Fault, submission: Submission, shard: Shard, emulator: Emulator
) -> None:
    emulator.faults.add(fault)

    assert not submission.submit(shard).adopted
    assert len(creates(emulator)) == 1


@pytest.mark.parametrize("told", [{"sizeBytes": "1"}, {"sha256Hash": "0" * 43 + "="}])
def test_a_file_that_arrived_damaged_is_sent_once_more(
    told: dict[str, str], submission: Submission, shard: Shard, emulator: Emulator
) -> None:
    damaged = {"file": {"name": "files/damaged", "state": "ACTIVE", **told}}
    emulator.faults.add(
        HttpFault(do="status", status=200, body=damaged, headers={"X-Goog-Upload-Status": "final"}, path="upload_id=", count=1)
    )

    record = submission.submit(shard)

    assert record.input_file == input_file_name(token_of(submission.manifest, shard))
    assert len(creates(emulator)) == 1


def test_a_way_that_damages_every_upload_makes_no_job(submission: Submission, shard: Shard, emulator: Emulator) -> None:
    damaged = {"file": {"name": "files/damaged", "sizeBytes": "1"}}
    emulator.faults.add(
        HttpFault(do="status", status=200, body=damaged, headers={"X-Goog-Upload-Status": "final"}, path="upload_id=")
    )

    with pytest.raises(OutcomeUnknownError, match="Something in between changes files"):
        submission.submit(shard)

    assert creates(emulator) == []


def test_a_service_that_never_answers_a_create_is_not_flooded(submission: Submission, shard: Shard, emulator: Emulator) -> None:
    rule = emulator.faults.add(HttpFault(do="status", status=503, path=CREATE))[0]
    with pytest.raises(OutcomeUnknownError):
        replace(submission, options=replace(SHORT_WAITS, listing_lag=0.01)).submit(shard)
    emulator.faults.remove(rule)

    submission.submit(shard)

    assert len(creates(emulator)) == 1


@pytest.mark.parametrize("answer", [{"name": "operations/x"}, {}])
def test_a_create_that_was_answered_without_a_name_is_never_paid_again(answer: object, tmp_path: Path) -> None:
    def reply(method: str, path: str) -> Answer:
        if "/upload/" in path and "upload_id" not in path:
            return Answer(headers={"X-Goog-Upload-URL": f"{script.url}/upload/v1beta/files?upload_id=1"})
        if "/upload/" in path:
            return Answer(body={"file": {"name": "files/in"}}, headers={"X-Goog-Upload-Status": "final"})
        if CREATE in path:
            return Answer(body=answer)
        return Answer(404, {"error": {"code": 404}}) if "/files/" in path else Answer()

    run = Run(locate(str(tmp_path / "run")))
    manifest = build_run(run, RunSpec(table(4), GenerateRequest(prompt="${body}"), MODEL, key="id"), SHORT_WAITS)
    with serving(reply) as script, GeminiClient(Endpoint(api_key="k", base_url=script.url)) as client:
        with pytest.raises(NamelessJobError, match="no second one was created"):
            Submission(run, manifest, client, SHORT_WAITS).submit(manifest.shards[0])

        assert sum(CREATE in path for _, path, _, _ in script.seen) == 1
        assert sum("/batches?" in path for _, path, _, _ in script.seen) > 0
    assert Ledger(run).intent(manifest.shards[0].id) is not None


def test_whether_there_is_room_is_read_from_one_listing(submission: Submission, client: GeminiClient, emulator: Emulator) -> None:
    run = Run(submission.run.destination / "many")
    manifest = build_run(
        run, RunSpec(table(4), GenerateRequest(prompt="${body}"), MODEL, key="id"), replace(SHORT_WAITS, max_shard_requests=1)
    )
    limited = Submission(run, manifest, client, replace(SHORT_WAITS, max_active_jobs=3, transport="inline"))

    for shard in manifest.shards:
        limited.submit(shard)

    looks = [call["route"] for call in emulator.calls() if call["method"] == "GET" and "/batches" in call["route"]]
    assert looks == ["/v1beta/batches"]


def test_a_listing_that_lags_is_given_its_time(submission: Submission, shard: Shard, emulator: Emulator) -> None:
    emulator.faults.add(
        HttpFault(do="drop", when="after", path=CREATE, count=1), ListingFault(lag_seconds=0.5, page_size=1, empty_pages=(1,))
    )

    record = replace(submission, options=replace(SHORT_WAITS, listing_lag=3.0)).submit(shard)

    assert record.adopted
    assert len(creates(emulator)) == 1


def test_a_listing_that_began_before_it_could_show_the_job_is_not_believed(
    submission: Submission, shard: Shard, emulator: Emulator
) -> None:
    # Many pages or a slow service: read when the job could not be seen yet, answered when it could have been.
    slowly = SHORT_WAITS.listing_lag + 0.2
    emulator.faults.add(
        HttpFault(do="drop", when="after", path=CREATE, count=1),
        HttpFault(do="delay", when="after", seconds=slowly, method="GET", path=r"/batches($|\?)"),
        ListingFault(lag_seconds=SHORT_WAITS.listing_lag - 0.05),
    )

    assert submission.submit(shard).adopted
    assert len(creates(emulator)) == 1


def test_a_job_left_by_a_killed_worker_is_found_on_the_last_page(
    submission: Submission, shard: Shard, client: GeminiClient, emulator: Emulator
) -> None:
    job = a_lost_create(submission, shard)
    file = input_file_name(token_of(submission.manifest, shard))
    for number in range(6):
        client.create_job(model=MODEL, input_file=file, display_name=f"somebody else's {number}")
    emulator.faults.add(ListingFault(page_size=2, bury="^gb-"))

    record = submission.submit(shard)

    assert (record.job, record.adopted) == (job, True)


def test_a_claim_left_by_a_worker_that_never_created_is_taken_over(
    submission: Submission, shard: Shard, emulator: Emulator
) -> None:
    Ledger(submission.run).claim(shard.id, token_of(submission.manifest, shard), 1)

    record = submission.submit(shard)

    assert not record.adopted
    assert len(creates(emulator)) == 1


def test_of_many_tries_at_once_one_creates_and_all_get_its_job(submission: Submission, shard: Shard, emulator: Emulator) -> None:
    emulator.faults.add(HttpFault(do="delay", seconds=0.2, path=CREATE))
    jobs: list[str] = []
    ready = threading.Barrier(4)

    def submit() -> None:
        ready.wait()
        jobs.append(submission.submit(shard).job)

    _together(submit, 4)

    assert len(jobs) == 4
    assert len(set(jobs)) == 1
    assert len(creates(emulator)) == 1


def test_of_two_jobs_for_the_same_requests_the_older_is_kept_and_the_other_cancelled(
    submission: Submission, shard: Shard, client: GeminiClient, emulator: Emulator
) -> None:
    emulator.faults.add(JobFault(pending_seconds=3600))
    first = a_lost_create(submission, shard)
    token = token_of(submission.manifest, shard)
    second = client.create_job(model=MODEL, input_file=input_file_name(token), display_name=display_name(token, shard)).name

    assert submission.submit(shard).job == first
    assert client.get_job(first).state is JobState.PENDING
    assert client.get_job(second).state is JobState.CANCELLED


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (HttpFault(do="status", status=429, path=CREATE), QuotaError),
        (HttpFault(do="status", status=400, path=CREATE), RefusedError),
        (HttpFault(do="status", status=429, path="/upload/"), QuotaError),
    ],
)
def test_after_a_definite_refusal_the_next_call_creates_without_looking(
    fault: Fault, kind: type[Exception], submission: Submission, shard: Shard, emulator: Emulator
) -> None:
    rule = emulator.faults.add(fault)[0]
    with pytest.raises(kind):
        submission.submit(shard)
    emulator.faults.remove(rule)
    assert Ledger(submission.run).intent(shard.id) is None

    assert not submission.submit(shard).adopted
    assert not [call for call in emulator.calls() if call["route"].endswith("/batches") and call["method"] == "GET"]


def test_no_connection_leaves_no_claim(submission: Submission, shard: Shard) -> None:
    with GeminiClient(Endpoint(api_key="k", base_url="http://127.0.0.1:9")) as unreachable, pytest.raises(UnreachableError):
        replace(submission, client=unreachable).submit(shard)

    assert Ledger(submission.run).intent(shard.id) is None


def test_an_input_file_that_is_there_already_is_not_sent_again(submission: Submission, shard: Shard, emulator: Emulator) -> None:
    submission._upload(Outgoing(submission.run, shard, ()), token_of(submission.manifest, shard))

    submission.submit(shard)

    assert len(emulator.journal("upload")) == 1


def test_a_file_name_taken_by_something_else_is_gone_around(
    submission: Submission, shard: Shard, client: GeminiClient, tmp_path: Path, emulator: Emulator
) -> None:
    name = input_file_name(token_of(submission.manifest, shard))
    (tmp_path / "other").write_bytes(b"something else")
    with open(tmp_path / "other", "rb") as other:
        client.upload(other, name=name, display_name="other")

    record = submission.submit(shard)

    assert record.input_file != name
    assert len(creates(emulator)) == 1


def _together(call: Callable[[], None], times: int) -> None:
    threads = [threading.Thread(target=call) for _ in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def job_of(record: Submitted | None) -> str:
    assert record is not None
    return record.job


PROXY_PAGES = ["<html>Forbidden</html>", "", "denied", {"message": "denied"}, {"error": "denied"}, ["denied"]]


@pytest.mark.parametrize("body", PROXY_PAGES, ids=str)
@pytest.mark.parametrize("status", [400, 401, 403, 404, 407, 409, 413, 429, 451])
def test_a_create_that_somebody_else_refused_is_looked_up_not_repeated(
    status: int, body: object, submission: Submission, shard: Shard, emulator: Emulator
) -> None:
    emulator.faults.add(HttpFault(do="status", status=status, body=body, when="after", path=CREATE, count=1))

    assert submission.submit(shard) is not None
    assert len(creates(emulator)) == 1


def test_a_create_that_names_another_job_is_looked_up(submission: Submission, shard: Shard, emulator: Emulator) -> None:
    other = {"name": "batches/other", "metadata": {"displayName": "another shard's", "state": "BATCH_STATE_PENDING"}}
    emulator.faults.add(HttpFault(do="status", status=200, body=other, when="after", path=CREATE, count=1))

    assert job_of(submission.submit(shard)) != "batches/other"
    assert len(creates(emulator)) == 1


def test_another_job_that_is_named_for_a_create_is_never_recorded(
    submission: Submission, shard: Shard, emulator: Emulator
) -> None:
    other = {"name": "batches/other", "metadata": {"displayName": "another shard's", "state": "BATCH_STATE_PENDING"}}
    emulator.faults.add(HttpFault(do="status", status=200, body=other, when="before", path=CREATE))

    with pytest.raises(NamelessJobError, match=r"another job: batches/other"):
        submission.submit(shard)

    assert Ledger(submission.run).submitted(shard.id) is None


@pytest.mark.parametrize("status", [400, 403, 404, 409, 413])
@pytest.mark.parametrize("lost", ["drop", "status"])
def test_an_upload_that_was_stored_and_then_refused_is_used(
    lost: str, status: int, submission: Submission, shard: Shard, emulator: Emulator
) -> None:
    submission = replace(submission, options=replace(submission.options, transport="file"))
    emulator.faults.add(
        HttpFault(do=lost, status=503, when="after", path="/upload/", nth=2, count=1),  # type: ignore[arg-type]
        HttpFault(do="status", status=status, path="/upload/", nth=3, count=1000),
    )

    assert submission.submit(shard) is not None
    assert len(creates(emulator)) == 1


@pytest.mark.parametrize("status", [400, 403, 413])
def test_an_upload_that_is_refused_once_is_tried_again(
    status: int, submission: Submission, shard: Shard, emulator: Emulator
) -> None:
    submission = replace(submission, options=replace(submission.options, transport="file"))
    emulator.faults.add(HttpFault(do="status", status=status, path="/upload/", nth=2, count=1))

    assert submission.submit(shard) is not None


def test_a_second_job_is_cancelled_when_another_try_has_recorded_the_first(
    submission: Submission, shard: Shard, client: GeminiClient, emulator: Emulator
) -> None:
    emulator.faults.add(JobFault(do="hang"))
    first = a_lost_create(submission, shard)
    token = token_of(submission.manifest, shard)
    second = client.create_job(model=MODEL, input_file=input_file_name(token), display_name=display_name(token, shard))
    submission.ledger.record(shard.id, token, client.get_job(first), adopted=True)

    assert submission._record(shard, token, second, adopted=False).job == first
    assert client.get_job(second.name).state is JobState.CANCELLED
    assert client.get_job(first).state is not JobState.CANCELLED
