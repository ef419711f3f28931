"""`/openai/batches`: the batches of Google's OpenAI compatibility layer.

The layer can create, get, list and cancel. Files are uploaded and downloaded through the Files API, as Google's page says;
there is no `/openai/files`. The jobs are ordinary jobs and can be read under `/batches` too.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from airflow_gemini_batch.emulator.batches.api import METHOD_BY_KIND, BatchesApi
from airflow_gemini_batch.emulator.batches.job_store import JobStore
from airflow_gemini_batch.emulator.batches.jobs import (
    CANCELLED,
    EXPIRED,
    FAILED,
    PENDING,
    RUNNING,
    SUCCEEDED,
    Job,
    JobSnapshot,
    snapshot_of,
)
from airflow_gemini_batch.emulator.clock import SECOND
from airflow_gemini_batch.emulator.files.file_store import FileStore
from airflow_gemini_batch.emulator.http import refusals
from airflow_gemini_batch.emulator.http.bodies import json_response, read_object
from airflow_gemini_batch.emulator.http.callers import API_VERSIONS, project_of, version_of
from airflow_gemini_batch.emulator.models.names import known_model
from airflow_gemini_batch.emulator.openai.lines import ENDPOINT_BY_KIND, model_of
from airflow_gemini_batch.emulator.proto_json import Json, get_object, get_text
from airflow_gemini_batch.emulator.service import Service

_STATUS = {
    PENDING: "validating",
    RUNNING: "in_progress",
    SUCCEEDED: "completed",
    FAILED: "failed",
    CANCELLED: "cancelled",
    EXPIRED: "expired",
}
#: The field with the end time, by state.
_ENDED_AT = {SUCCEEDED: "completed_at", FAILED: "failed_at", CANCELLED: "cancelled_at", EXPIRED: "expired_at"}
_KIND_BY_ENDPOINT = {endpoint: kind for kind, endpoint in ENDPOINT_BY_KIND.items()}


class OpenAIBatchesApi:
    """The batch endpoints of the compatibility layer."""

    def __init__(self, service: Service, files: FileStore, jobs: JobStore, batches: BatchesApi) -> None:
        self._service = service
        self._files = files
        self._jobs = jobs
        self._batches = batches

    def routes(self) -> list[Route]:
        found = []
        for version in API_VERSIONS:
            root = f"/{version}/openai/batches"
            found += [Route(root, self._create, methods=["POST"]), Route(root, self._list, methods=["GET"])]
            # An id is `batches/…`. OpenAI's client puts it into the path unescaped.
            for one in (f"{root}/batches/{{id}}", f"{root}/{{id}}"):
                found += [Route(f"{one}/cancel", self._cancel, methods=["POST"]), Route(one, self._get, methods=["GET"])]
        return found

    async def _create(self, request: Request) -> Response:
        project = project_of(request, self._service)
        body = await read_object(request)
        kind = _KIND_BY_ENDPOINT.get(str(body.get("endpoint")))
        if kind is None:
            raise refusals.invalid_argument(f"endpoint must be one of {', '.join(_KIND_BY_ENDPOINT)}.")
        if body.get("completion_window") != "24h":
            raise refusals.invalid_argument("completion_window must be 24h.")
        file_name = str(body.get("input_file_id", ""))
        file = self._files.find(project, file_name.removeprefix("files/"))
        if file is None:
            raise refusals.not_found()
        method = METHOD_BY_KIND[kind.removeprefix("openai-")]
        model = known_model(
            f"models/{model_of(self._files.path(file))}", version_of(request), method, self._service.options.models
        )
        display_name = get_text(get_object(body, "metadata"), "display_name")
        batch = {"inputConfig": {"fileName": file.name}, "displayName": display_name}
        job = await self._batches.create(request, project, model, kind, batch)
        return json_response(_batch(job, snapshot_of(job, job.created_ns)))

    async def _get(self, request: Request) -> Response:
        return json_response(self._resource(self._requested(request)))

    async def _list(self, request: Request) -> Response:
        project = project_of(request, self._service)
        self._jobs.settle()
        own_jobs = [
            job
            for job in reversed(self._jobs.all_jobs())
            if job.project == project and job.kind in ENDPOINT_BY_KIND and not job.deleted
        ]
        after, limit = request.query_params.get("after"), _limit_of(request)
        start = next((index + 1 for index, job in enumerate(own_jobs) if job.name == after), 0)
        page = [self._resource(job) for job in own_jobs[start : start + limit]]
        ends = {"first_id": page[0]["id"], "last_id": page[-1]["id"]} if page else {}
        return json_response({"object": "list", "data": page, **ends, "has_more": len(own_jobs) > start + limit})

    async def _cancel(self, request: Request) -> Response:
        job = self._requested(request)
        self._batches.cancel(job)
        return json_response(self._resource(self._requested(request)))

    def _requested(self, request: Request) -> Job:
        project = project_of(request, self._service)
        self._jobs.settle()
        job = self._jobs.get(project, request.path_params["id"])
        if job.kind not in ENDPOINT_BY_KIND:
            raise refusals.not_found()
        return job

    def _resource(self, job: Job) -> Json:
        return _batch(job, snapshot_of(job, self._service.clock.now()))


def _limit_of(request: Request) -> int:
    text = request.query_params.get("limit", "20")
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 100):
        raise refusals.invalid_argument(f"limit must be from 1 to 100, was {text}.")
    return int(text)


def _batch(job: Job, snapshot: JobSnapshot) -> Json:
    created = job.created_ns // SECOND
    body: Json = {
        "id": job.name,
        "object": "batch",
        "endpoint": ENDPOINT_BY_KIND[job.kind],
        "input_file_id": job.file_name,
        "completion_window": "24h",
        "status": _STATUS.get(snapshot.state, "in_progress"),
        "created_at": created,
        "expires_at": created + job.lifetime_ns // SECOND,
        "request_counts": {"total": job.request_count, "completed": snapshot.successful, "failed": snapshot.failed},
    }
    if snapshot.has_output:
        body["output_file_id"] = f"files/{job.output_id}"
    if snapshot.ended_ns is not None and snapshot.state in _ENDED_AT:
        body[_ENDED_AT[snapshot.state]] = snapshot.ended_ns // SECOND
    if snapshot.error is not None and snapshot.state == FAILED:
        body["errors"] = {"object": "list", "data": [{"code": str(snapshot.error["code"]), "message": snapshot.error["message"]}]}
    if job.display_name:
        body["metadata"] = {"display_name": job.display_name}
    return body
