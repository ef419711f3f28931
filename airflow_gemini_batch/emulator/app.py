"""The emulated service as an ASGI application."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from airflow_gemini_batch.emulator.batches.api import BatchesApi
from airflow_gemini_batch.emulator.batches.job_store import JobStore
from airflow_gemini_batch.emulator.batches.output_writer import OutputWriter
from airflow_gemini_batch.emulator.control.api import ControlApi
from airflow_gemini_batch.emulator.files.file_store import FilesApi, FileStore
from airflow_gemini_batch.emulator.files.uploads import UploadsApi
from airflow_gemini_batch.emulator.http import refusals
from airflow_gemini_batch.emulator.http.bodies import TOO_DEEP, json_response
from airflow_gemini_batch.emulator.http.fault_middleware import FaultMiddleware, drain
from airflow_gemini_batch.emulator.http.refusals import Refusal
from airflow_gemini_batch.emulator.models.api import ModelsApi
from airflow_gemini_batch.emulator.models.cache_store import CacheStore
from airflow_gemini_batch.emulator.models.caches import CachesApi
from airflow_gemini_batch.emulator.models.references import References
from airflow_gemini_batch.emulator.openai.api import OpenAIBatchesApi
from airflow_gemini_batch.emulator.openai.lines import FORMATS
from airflow_gemini_batch.emulator.options import Options
from airflow_gemini_batch.emulator.service import AnswerFunction, Service
from airflow_gemini_batch.emulator.webhooks.api import WebhooksApi
from airflow_gemini_batch.emulator.webhooks.deliveries import DeliverySender, DeliveryStore
from airflow_gemini_batch.emulator.webhooks.webhook_store import WebhookStore


def create_app(state_dir: Path | str, options: Options | None = None, answers: AnswerFunction | None = None) -> Starlette:
    """The emulated service on the folder `state_dir`. Its threads and its database are closed when the ASGI lifespan ends."""
    service = Service(Path(state_dir), options or Options(), answers)
    files = FileStore(service)
    webhooks = WebhookStore(service)
    deliveries = DeliveryStore(service, webhooks)
    jobs = JobStore(service, files, deliveries.announce)
    caches = CacheStore(service)
    references = References(files, caches)
    writer = OutputWriter(service, references, jobs, FORMATS)
    sender = DeliverySender(service, webhooks, deliveries, jobs.settle)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        files.drop_expired()
        service.store.sweep()
        writer.start()
        sender.start()
        yield
        sender.stop()
        writer.stop()
        service.close()

    batches = BatchesApi(service, files, jobs, writer, webhooks.save_job_webhooks, FORMATS)
    apis = (
        UploadsApi(service, files),
        FilesApi(service, files, jobs.settle),
        batches,
        OpenAIBatchesApi(service, files, jobs, batches),
        ModelsApi(service, references),
        CachesApi(service, caches, references),
        WebhooksApi(service, webhooks, deliveries),
        ControlApi(service, jobs, writer, deliveries),
    )
    app = Starlette(
        routes=[route for api in apis for route in api.routes()],
        middleware=[Middleware(FaultMiddleware, service=service)],
        exception_handlers={
            Refusal: _refuse,
            HTTPException: _unknown_route,
            RecursionError: _too_deep,
            Exception: _internal_error,
            ClientDisconnect: _disconnected,
        },
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return app


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    await drain(request.scope, request.receive)
    return json_response(error.body, error.http_status)


async def _unknown_route(request: Request, error: Exception) -> Response:
    return json_response(refusals.not_found().body, 404)


async def _too_deep(request: Request, error: Exception) -> Response:
    return json_response(refusals.invalid_argument(f"Invalid JSON payload received. {TOO_DEEP}").body, 400)


async def _internal_error(request: Request, error: Exception) -> Response:
    """AnswerFunction 500 in the service's format. The server logs the error."""
    return json_response(refusals.internal().body, 500)


async def _disconnected(request: Request, error: Exception) -> Response:
    """The connection broke while the body was being received. The bytes that arrived are kept. No client reads this answer."""
    return Response(status_code=499)
