"""`:batchGenerateContent` and `:asyncBatchEmbedContent`; get, list, cancel, delete and patch jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from airflow_gemini_batch.emulator.batches.input_file import REQUEST_MESSAGE, InputTotals, check
from airflow_gemini_batch.emulator.batches.job_store import JobStore
from airflow_gemini_batch.emulator.batches.jobs import Job, rows_left_by_cancel, snapshot_of, writes_output
from airflow_gemini_batch.emulator.batches.line_format import LineFormat
from airflow_gemini_batch.emulator.batches.operations import batch, operation
from airflow_gemini_batch.emulator.batches.output_writer import OutputWriter
from airflow_gemini_batch.emulator.clock import HOUR, nanoseconds
from airflow_gemini_batch.emulator.files.file_store import FileStore
from airflow_gemini_batch.emulator.http import refusals
from airflow_gemini_batch.emulator.http.bodies import json_response, page_size_of, read_object, to_json
from airflow_gemini_batch.emulator.http.callers import API_VERSIONS, project_of, version_of
from airflow_gemini_batch.emulator.http.request_fields import field_problems
from airflow_gemini_batch.emulator.models.names import known_model
from airflow_gemini_batch.emulator.proto_json import Json, get_int, get_list, get_object, get_text
from airflow_gemini_batch.emulator.service import Service, new_id

METHOD_BY_KIND = {"generate": "batchGenerateContent", "embed": "asyncBatchEmbedContent"}
_KIND_BY_METHOD = {method: kind for kind, method in METHOD_BY_KIND.items()}


class BatchesApi:
    """The batch endpoints."""

    def __init__(
        self,
        service: Service,
        files: FileStore,
        jobs: JobStore,
        writer: OutputWriter,
        save_webhooks: Callable[[str, Json], None],
        formats: Mapping[str, LineFormat],
    ) -> None:
        """
        :param save_webhooks: stores the `webhookConfig` of a job (job id, batch) when the job is created.
        :param formats: line formats by job kind, for kinds whose lines are not Gemini's own.
        """
        self._service = service
        self._files = files
        self._jobs = jobs
        self._writer = writer
        self._save_webhooks = save_webhooks
        self._formats = formats

    def routes(self) -> list[Route]:
        found = []
        for version in API_VERSIONS:
            found += [
                Route(f"/{version}/{models}/{{model}}:{method}", self._create, methods=["POST"], name=method)
                for models in ("models", "tunedModels")
                for method in _KIND_BY_METHOD
            ]
            found += [
                Route(f"/{version}/batches", self._list, methods=["GET"]),
                Route(f"/{version}/batches/{{id}}:cancel", self._cancel, methods=["POST"]),
                Route(f"/{version}/batches/{{id}}:updateGenerateContentBatch", self._change, methods=["PATCH"]),
                Route(f"/{version}/batches/{{id}}:updateEmbedContentBatch", self._change, methods=["PATCH"]),
                Route(f"/{version}/batches/{{id}}", self._get, methods=["GET"]),
                Route(f"/{version}/batches/{{id}}", self._delete, methods=["DELETE"]),
            ]
        return found

    async def _create(self, request: Request) -> Response:
        project = project_of(request, self._service)
        path, _, method = request.url.path.rpartition(":")
        model = known_model("/".join(path.split("/")[-2:]), version_of(request), method, self._service.options.models)
        body = await read_object(request, most=self._service.options.max_inline_bytes)
        for problem in field_problems(body, "CreateBatchRequest"):
            raise refusals.field_refused(problem, "batch")
        job = await self.create(request, project, model, _KIND_BY_METHOD[method], get_object(body, "batch"))
        return json_response(operation(job, snapshot_of(job, job.created_ns)))

    async def create(self, request: Request, project: str, model: str, kind: str, body: Json) -> Job:
        """Creates and starts a job. `request` is the call that is answered with it; the journal records that answer."""
        try:
            job, entry = await self._make(project, model, kind, body)
        except refusals.Refusal as refusal:
            request.state.entry = self._service.journal.write(
                "refuse", project, display_name=get_text(body, "displayName"), model=model, reason=str(refusal)
            )
            raise
        request.state.entry = entry
        if writes_output(job.plan):
            self._writer.put(job)
        return job

    async def _make(self, project: str, model: str, kind: str, body: Json) -> tuple[Job, int]:
        """The job and the number of its journal entry. Both are committed before the call is answered."""
        config = get_object(body, "inputConfig")
        file_name = get_text(config, "fileName")
        job_id = new_id(36)
        content = f"{job_id}.in"
        sha256 = None
        try:
            if file_name:
                file = self._files.find(project, file_name.removeprefix("files/"))
                if file is None:
                    raise refusals.not_found()
                if file.state(self._service.clock.now()) != "ACTIVE":
                    raise refusals.file_not_active(file.id)
                sha256 = file.sha256
                kind = await asyncio.to_thread(self._kind_of_lines, kind, self._files.path(file))
                if kind in self._formats:
                    target = self._service.store.content(content)
                    await asyncio.to_thread(self._formats[kind].translate_input, self._files.path(file), target)
                else:
                    # A hard link, because the file may be deleted or expire while the job runs.
                    self._service.store.share_content(file.content, content)
            else:
                requests = get_list(get_object(config, "requests"), "requests")
                await asyncio.to_thread(_write_inline, self._service.store.content(content), requests, kind)
            totals = await asyncio.to_thread(check, self._service.store.content(content), kind)
            with self._service.store.transaction():
                job = self._new_job(job_id, project, model, kind, body, file_name or None, totals)
                self._save_webhooks(job.id, body)
                self._jobs.add(job, self._service.rules.for_rows(job.display_name, model))
                entry = self._service.journal.write(
                    "create",
                    project,
                    job=job.name,
                    display_name=job.display_name,
                    model=model,
                    file=job.file_name,
                    sha256=sha256,
                    requests=job.request_count,
                )
        except BaseException:
            self._service.store.content(content).unlink(missing_ok=True)
            raise
        return job, entry

    def _kind_of_lines(self, kind: str, path: Path) -> str:
        """The kind of a job with this input file: files of another format are served by Gemini's own method too."""
        formats = ((name, form) for name, form in self._formats.items() if form.native_kind == kind)
        return next((name for name, form in formats if form.is_used_in(path)), kind)

    def _new_job(
        self, job_id: str, project: str, model: str, kind: str, body: Json, file_name: str | None, totals: InputTotals
    ) -> Job:
        options = self._service.options
        self._jobs.settle()
        active = self._jobs.active(project)
        above_limit = len(active) >= options.max_active_jobs
        if above_limit and options.overflow == "refuse":
            raise refusals.batch_quota_exceeded()
        enqueued = sum(job.tokens for job in active if job.model == model)
        if options.max_enqueued_tokens is not None and enqueued + totals.tokens > options.max_enqueued_tokens:
            raise refusals.batch_quota_exceeded()
        display_name = get_text(body, "displayName")
        plan = self._service.rules.for_job(display_name, model)
        pending = options.pending_seconds if plan.pending_seconds is None else plan.pending_seconds
        running = options.running_seconds if plan.running_seconds is None else plan.running_seconds
        now = self._service.clock.now()
        return Job(
            id=job_id,
            project=project,
            kind=kind,
            model=model,
            display_name=display_name,
            file_name=file_name,
            request_count=totals.requests,
            created_ns=now,
            released_ns=None if above_limit else now,
            pending_ns=nanoseconds(pending),
            running_ns=nanoseconds(running),
            lifetime_ns=int(options.job_hours * HOUR),
            plan=plan,
            priority=get_int(body, "priority") or 0,
            tokens=totals.tokens,
        )

    async def _get(self, request: Request) -> Response:
        job = self._requested(request)
        snapshot = snapshot_of(job, self._service.clock.now())
        if snapshot.done:
            self._jobs.count_poll(job)
        rows = await asyncio.to_thread(self._inline_rows, job) if job.inline and snapshot.has_output else None
        return json_response(operation(job, snapshot, rows))

    async def _list(self, request: Request) -> Response:
        project = project_of(request, self._service)
        self._jobs.settle()
        size = page_size_of(request, default=50, most=1000)
        jobs, more = self._jobs.page(project, size, request.query_params.get("pageToken"))
        now = self._service.clock.now()
        body: dict[str, Any] = {}
        if jobs:
            body["operations"] = [operation(job, snapshot_of(job, now)) for job in jobs]
        for job in jobs:
            if job.polls < job.plan.responses_file_late_polls and snapshot_of(job, now).done:
                self._jobs.count_poll(job)
        if more:
            body["nextPageToken"] = more
        return json_response(body)

    async def _cancel(self, request: Request) -> Response:
        """The job is cancelled at once. Also 200 for a job that has ended or whose fault rule ignores cancels."""
        self.cancel(self._requested(request))
        return json_response({})

    def cancel(self, job: Job) -> None:
        if not snapshot_of(job, self._service.clock.now()).done and not job.plan.cancel_is_ignored:
            with self._service.store.transaction():
                self._jobs.cancel(job)
                self._service.journal.write("cancel", job.project, job=job.name, display_name=job.display_name)
            if rows_left_by_cancel(job) is not None:
                self._writer.put(job)

    async def _delete(self, request: Request) -> Response:
        job = self._requested(request)
        with self._service.store.transaction():
            self._jobs.delete(job)
            self._service.journal.write("delete", job.project, job=job.name, display_name=job.display_name)
        return json_response({})

    async def _change(self, request: Request) -> Response:
        """PATCH returns the batch resource, not an operation."""
        job = self._requested(request)
        body = await read_object(request)
        priority = get_int(body, "priority")
        name = get_text(body, "displayName") or job.display_name
        self._jobs.change(job, name, job.priority if priority is None else priority)
        job = self._requested(request)
        return json_response(batch(job, snapshot_of(job, self._service.clock.now()), None))

    def _requested(self, request: Request) -> Job:
        project = project_of(request, self._service)
        self._jobs.settle()
        return self._jobs.get(project, request.path_params["id"])

    def _inline_rows(self, job: Job) -> list[bytes]:
        return self._service.store.content(f"{job.id}.out").read_bytes().split(b"\n")[:-1]


def _write_inline(path: Path, requests: list[Any], kind: str) -> None:
    """Writes inlined requests to an input file, one per line. Unknown fields are refused with the service's wording."""
    with path.open("wb") as lines:
        for number, item in enumerate(requests):
            request = item.get("request") if isinstance(item, dict) else None
            if not isinstance(request, dict):
                raise refusals.invalid_argument(f"batch.input_config.requests.requests[{number}].request is missing.")
            for problem in field_problems(request, REQUEST_MESSAGE[kind]):
                raise refusals.field_refused(problem, f"batch.input_config.requests.requests[{number}].request")
            lines.write(to_json({"request": request, "metadata": item.get("metadata")}) + b"\n")
