"""Each name gets its own answer, for as few requests as the listing allows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from airflow_gemini_batch.engine.errors import RefusedError, ServiceError
from airflow_gemini_batch.engine.gemini.client import Endpoint, GeminiClient
from airflow_gemini_batch.engine.gemini.job_fetching import Fetched, fetch_jobs
from airflow_gemini_batch.engine.gemini.jobs import Job, JobState
from tests.integration.engine.scripted_server import Answer, Script, serving


def operation(name: str) -> dict[str, Any]:
    return {"name": name, "metadata": {"state": "BATCH_STATE_RUNNING"}}


def fetch(names: list[str], reply: Callable[[str, str], Answer]) -> tuple[dict[str, Fetched], Script]:
    with serving(reply) as script, GeminiClient(Endpoint(api_key="k", base_url=script.url)) as client:
        return fetch_jobs(client, names), script


def gets_by_name(script: Script) -> list[str]:
    return [path.partition("?")[0].rpartition("/")[2] for _, path, _, _ in script.seen if "/batches/" in path]


def test_jobs_of_the_first_page_take_one_request() -> None:
    names = [f"batches/{number}" for number in range(50)]

    jobs, script = fetch(names, lambda method, path: Answer(body={"operations": [operation(name) for name in names]}))

    assert len(script.seen) == 1
    assert {name: job.state for name, job in jobs.items() if isinstance(job, Job)} == dict.fromkeys(names, JobState.RUNNING)


def test_pages_are_read_only_while_that_takes_fewer_requests_than_asking_by_name() -> None:
    pages = iter(range(100))

    def reply(method: str, path: str) -> Answer:
        if "/batches/" in path:
            return Answer(body=operation(path.partition("?")[0].removeprefix("/v1beta/")))
        return Answer(body={"operations": [operation("batches/other")], "nextPageToken": str(next(pages))})

    jobs, script = fetch(["batches/a", "batches/b", "batches/c"], reply)

    assert [isinstance(job, Job) for job in jobs.values()] == [True] * 3
    assert sorted(gets_by_name(script)) == ["a", "b", "c"]
    assert len(script.seen) == 6


def test_no_job_is_called_absent_on_the_listings_word_alone() -> None:
    def reply(method: str, path: str) -> Answer:
        return Answer(body=operation("batches/late")) if "/batches/late" in path else Answer(body={})

    jobs, _ = fetch(["batches/late"], reply)

    assert isinstance(jobs["batches/late"], Job)


def test_an_absent_a_refused_and_a_running_job_have_each_their_own_answer() -> None:
    def reply(method: str, path: str) -> Answer:
        if "/batches/gone" in path:
            return Answer(404, {"error": {"code": 404, "message": "no such job", "status": "NOT_FOUND"}})
        if "/batches/refused" in path:
            return Answer(403, {"error": {"code": 403, "message": "not yours", "status": "PERMISSION_DENIED"}})
        return Answer(body={"operations": [operation("batches/runs")]})

    jobs, script = fetch(["batches/gone", "batches/refused", "batches/runs"], reply)

    assert jobs["batches/gone"] is None
    assert isinstance(jobs["batches/refused"], RefusedError)
    assert isinstance(jobs["batches/runs"], Job)
    assert "runs" not in gets_by_name(script)


def test_an_outage_is_the_answer_of_the_jobs_that_have_none_yet() -> None:
    def reply(method: str, path: str) -> Answer:
        if "/batches/" in path:
            return Answer(503, {"error": {"code": 503, "message": "out", "status": "UNAVAILABLE"}})
        return Answer(body={"operations": [operation("batches/found")]})

    jobs, script = fetch(["batches/found", "batches/x", "batches/y"], reply)

    assert isinstance(jobs["batches/found"], Job)
    assert isinstance(jobs["batches/x"], ServiceError)
    assert jobs["batches/x"] is jobs["batches/y"]
    assert set(gets_by_name(script)) == {"x"}, "an outage is not repeated for every job"
