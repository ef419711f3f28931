"""The control API under `/emulator`, a path that the real service does not have.

It sets faults, moves the clock and tells what was asked of the emulator. It needs no key.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from airflow_gemini_batch.emulator.batches.job_store import JobList
from airflow_gemini_batch.emulator.batches.jobs import Job, look
from airflow_gemini_batch.emulator.batches.operations import stats
from airflow_gemini_batch.emulator.batches.output_writer import Runner
from airflow_gemini_batch.emulator.clock import timestamp_ns
from airflow_gemini_batch.emulator.faults.kinds import Rule, parse_fault
from airflow_gemini_batch.emulator.http import refusals
from airflow_gemini_batch.emulator.http.bodies import answer, read_object
from airflow_gemini_batch.emulator.service import World
from airflow_gemini_batch.emulator.webhooks.deliveries import Mail

#: How long a call waits for outputs to be written unless it says otherwise.
_PATIENCE_SECONDS = 60.0


class ControlApi:
    def __init__(self, world: World, jobs: JobList, runner: Runner, mail: Mail) -> None:
        self._world = world
        self._jobs = jobs
        self._runner = runner
        self._mail = mail

    def routes(self) -> list[Route]:
        return [
            Route("/emulator", self._about, methods=["GET"]),
            Route("/emulator/", self._about, methods=["GET"]),
            Route("/emulator/faults", self._list_faults, methods=["GET"]),
            Route("/emulator/faults", self._add_faults, methods=["POST"]),
            Route("/emulator/faults", self._clear_faults, methods=["DELETE"]),
            Route("/emulator/faults/{id:int}", self._remove_fault, methods=["DELETE"]),
            Route("/emulator/clock", self._clock, methods=["GET", "POST"]),
            Route("/emulator/idle", self._idle, methods=["GET", "POST"]),
            Route("/emulator/journal", self._journal, methods=["GET"]),
            Route("/emulator/calls", self._calls, methods=["GET"]),
            Route("/emulator/jobs", self._list_jobs, methods=["GET"]),
            Route("/emulator/deliveries", self._list_deliveries, methods=["GET"]),
        ]

    async def _about(self, request: Request) -> Response:
        return answer(
            {
                "what": "An emulator of the Gemini Batch API. Its answers are synthetic: no model has seen the requests.",
                "time": timestamp_ns(self._world.clock.now()),
                # Keys stay out of every answer.
                "options": {name: value for name, value in asdict(self._world.options).items() if name != "keys"},
                "faults": len(self._world.rules.rules()),
            }
        )

    async def _list_faults(self, request: Request) -> Response:
        return answer({"faults": [_rule(rule) for rule in self._world.rules.rules()]})

    async def _add_faults(self, request: Request) -> Response:
        """One rule, or a list of them: all are set or none."""
        text = await request.body()
        try:
            raw = msgspec.json.decode(text, type=list[msgspec.Raw]) if text.lstrip()[:1] == b"[" else [text]
            faults = [parse_fault(bytes(one)) for one in raw]
        except msgspec.DecodeError as error:
            return answer({"error": {"code": 400, "message": str(error), "status": "INVALID_ARGUMENT"}}, 400)
        return answer({"faults": [_rule(self._world.rules.add(fault)) for fault in faults]})

    async def _clear_faults(self, request: Request) -> Response:
        self._world.rules.clear()
        return answer({})

    async def _remove_fault(self, request: Request) -> Response:
        removed = self._world.rules.remove(request.path_params["id"])
        return answer({}) if removed else answer({"error": {"code": 404, "message": "no such rule"}}, 404)

    async def _clock(self, request: Request) -> Response:
        """POST `{"advance_seconds": 3600}` moves the clock; outputs under way are written first."""
        if request.method == "POST":
            seconds = _number((await read_object(request)).get("advance_seconds"), "advance_seconds")
            if not await self._wait_idle(_PATIENCE_SECONDS):
                return answer({"error": {"code": 504, "message": "outputs are still being written"}}, 504)
            try:
                self._world.clock.advance(seconds)
            except ValueError as error:
                raise refusals.invalid_argument(f"advance_seconds: {error}") from error
            self._jobs.settle()
        now = self._world.clock.now()
        return answer({"time": timestamp_ns(now), "now_ns": now})

    async def _idle(self, request: Request) -> Response:
        timeout = _number(request.query_params.get("timeout", _PATIENCE_SECONDS), "timeout")
        return answer({"idle": await self._wait_idle(timeout)})

    async def _journal(self, request: Request) -> Response:
        query = request.query_params
        entries = self._world.journal.entries(query.get("action"), query.get("display_name"))
        return answer({"entries": entries})

    async def _calls(self, request: Request) -> Response:
        return answer({"calls": self._world.journal.calls()})

    async def _list_jobs(self, request: Request) -> Response:
        """Every job of every project, deleted ones too, as it stands now."""
        self._jobs.settle()
        now = self._world.clock.now()
        return answer({"jobs": [_job(job, now) for job in self._jobs.everything()]})

    async def _list_deliveries(self, request: Request) -> Response:
        return answer({"deliveries": self._mail.shown()})

    async def _wait_idle(self, timeout: float) -> bool:
        return await asyncio.to_thread(self._runner.wait_idle, timeout)


def _number(value: Any, name: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise refusals.invalid_argument(f"{name} is a number of seconds, not {value!r}.") from None


def _rule(rule: Rule) -> dict[str, Any]:
    fault = msgspec.to_builtins(rule.fault)
    return {"id": rule.id, "seen": rule.seen, "fired": rule.fired, "fault": fault}


def _job(job: Job, now: int) -> dict[str, Any]:
    seen = look(job, now)
    return {
        "name": job.name,
        "project": job.project,
        "kind": job.kind,
        "display_name": job.display_name,
        "model": job.model,
        "file": job.file_name,
        "time": timestamp_ns(job.created_ns),
        "state": seen.state,
        "done": seen.done,
        "deleted": job.deleted,
        "stats": stats(job, seen),
    }
