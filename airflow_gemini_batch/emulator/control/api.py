"""The control API under `/emulator`, a path that the real service does not have.

It sets fault rules, moves the clock, and shows the journal, the calls, the jobs and the webhooks. It needs no API key, but
refuses web pages of other origins.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from airflow_gemini_batch.emulator.batches.job_store import JobStore
from airflow_gemini_batch.emulator.batches.jobs import Job, snapshot_of
from airflow_gemini_batch.emulator.batches.operations import stats
from airflow_gemini_batch.emulator.batches.output_writer import OutputWriter
from airflow_gemini_batch.emulator.clock import timestamp_ns
from airflow_gemini_batch.emulator.control.guard import check_caller
from airflow_gemini_batch.emulator.faults.kinds import Rule, parse_fault
from airflow_gemini_batch.emulator.http import refusals
from airflow_gemini_batch.emulator.http.bodies import json_response, read_object
from airflow_gemini_batch.emulator.service import Service
from airflow_gemini_batch.emulator.webhooks.deliveries import DeliveryStore

#: How long a call waits for outputs to be written, unless `timeout` is given.
_IDLE_TIMEOUT_SECONDS = 60.0


_Handler = Callable[[Request], Awaitable[Response]]


class ControlApi:
    """The endpoints under `/emulator`."""

    def __init__(self, service: Service, jobs: JobStore, writer: OutputWriter, deliveries: DeliveryStore) -> None:
        self._service = service
        self._jobs = jobs
        self._writer = writer
        self._deliveries = deliveries

    def routes(self) -> list[Route]:
        handlers = [
            ("", self._about, ["GET"]),
            ("/", self._about, ["GET"]),
            ("/faults", self._list_faults, ["GET"]),
            ("/faults", self._add_faults, ["POST"]),
            ("/faults", self._clear_faults, ["DELETE"]),
            ("/faults/{id:int}", self._remove_fault, ["DELETE"]),
            ("/clock", self._clock, ["GET", "POST"]),
            ("/idle", self._idle, ["GET", "POST"]),
            ("/journal", self._journal, ["GET"]),
            ("/calls", self._calls, ["GET"]),
            ("/jobs", self._list_jobs, ["GET"]),
            ("/deliveries", self._list_deliveries, ["GET"]),
        ]
        return [Route(f"/emulator{path}", self._guarded(handler), methods=methods) for path, handler, methods in handlers]

    def _guarded(self, handler: _Handler) -> _Handler:
        async def handle(request: Request) -> Response:
            check_caller(request, self._service.options.control_hosts)
            return await handler(request)

        return handle

    async def _about(self, request: Request) -> Response:
        return json_response(
            {
                "what": "An emulator of the Gemini Batch API. Its answers are synthetic: no model has read the requests.",
                "time": timestamp_ns(self._service.clock.now()),
                # API keys are in no answer.
                "options": {name: value for name, value in asdict(self._service.options).items() if name != "keys"},
                "faults": len(self._service.rules.rules()),
            }
        )

    async def _list_faults(self, request: Request) -> Response:
        return json_response({"faults": [_rule(rule) for rule in self._service.rules.rules()]})

    async def _add_faults(self, request: Request) -> Response:
        """One rule or a list of rules. If one is invalid, none is added."""
        text = await request.body()
        try:
            raw = msgspec.json.decode(text, type=list[msgspec.Raw]) if text.lstrip()[:1] == b"[" else [text]
            faults = [parse_fault(bytes(one)) for one in raw]
        except msgspec.DecodeError as error:
            return json_response({"error": {"code": 400, "message": str(error), "status": "INVALID_ARGUMENT"}}, 400)
        return json_response({"faults": [_rule(self._service.rules.add(fault)) for fault in faults]})

    async def _clear_faults(self, request: Request) -> Response:
        self._service.rules.clear()
        return json_response({})

    async def _remove_fault(self, request: Request) -> Response:
        removed = self._service.rules.remove(request.path_params["id"])
        return (
            json_response({})
            if removed
            else json_response({"error": {"code": 404, "message": f"no rule has the id {request.path_params['id']}"}}, 404)
        )

    async def _clock(self, request: Request) -> Response:
        """POST `{"advance_seconds": 3600}` moves the clock, after outputs in progress have been written."""
        if request.method == "POST":
            seconds = _number((await read_object(request)).get("advance_seconds"), "advance_seconds")
            if not await self._wait_idle(_IDLE_TIMEOUT_SECONDS):
                return json_response({"error": {"code": 504, "message": "outputs are still being written"}}, 504)
            try:
                self._service.clock.advance(seconds)
            except ValueError as error:
                raise refusals.invalid_argument(f"advance_seconds: {error}") from error
            self._jobs.settle()
        now = self._service.clock.now()
        return json_response({"time": timestamp_ns(now), "now_ns": now})

    async def _idle(self, request: Request) -> Response:
        timeout = _number(request.query_params.get("timeout", _IDLE_TIMEOUT_SECONDS), "timeout")
        return json_response({"idle": await self._wait_idle(timeout)})

    async def _journal(self, request: Request) -> Response:
        query = request.query_params
        entries = self._service.journal.entries(query.get("action"), query.get("display_name"))
        return json_response({"entries": entries})

    async def _calls(self, request: Request) -> Response:
        return json_response({"calls": self._service.journal.calls()})

    async def _list_jobs(self, request: Request) -> Response:
        """The current state of all jobs of all projects, including deleted ones."""
        self._jobs.settle()
        now = self._service.clock.now()
        return json_response({"jobs": [_job(job, now) for job in self._jobs.all_jobs()]})

    async def _list_deliveries(self, request: Request) -> Response:
        return json_response({"deliveries": self._deliveries.shown()})

    async def _wait_idle(self, timeout: float) -> bool:
        return await asyncio.to_thread(self._writer.wait_idle, timeout)


def _number(value: Any, name: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise refusals.invalid_argument(f"{name} must be a number of seconds, found {value!r}.") from None


def _rule(rule: Rule) -> dict[str, Any]:
    fault = msgspec.to_builtins(rule.fault)
    return {"id": rule.id, "seen": rule.seen, "fired": rule.fired, "fault": fault}


def _job(job: Job, now: int) -> dict[str, Any]:
    snapshot = snapshot_of(job, now)
    return {
        "name": job.name,
        "project": job.project,
        "kind": job.kind,
        "display_name": job.display_name,
        "model": job.model,
        "file": job.file_name,
        "time": timestamp_ns(job.created_ns),
        "state": snapshot.state,
        "done": snapshot.done,
        "deleted": job.deleted,
        "stats": stats(job, snapshot),
    }
