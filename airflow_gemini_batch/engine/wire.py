"""Under the SDK's types: the raw JSON of an answer, and what a failure means.

The SDK's types drop fields that the engine needs and reject some answers of the service outright. An event hook on the HTTP
client that the SDK is given keeps the body of batch calls; downloads are never touched, they would be read into memory.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pydantic
from google.genai import errors as sdk_errors

from airflow_gemini_batch.engine.errors import (
    ApiKeyError,
    DroppedError,
    GeminiBatchError,
    NotFoundError,
    OutcomeUnknownError,
    QuotaError,
    RefusedError,
    ServiceError,
    UnreachableError,
)
from airflow_gemini_batch.engine.storage import BLOCK_BYTES

#: How the SDK fails on an answer that its types cannot take: pydantic's way, and before 2.33 a slip of its own.
_UNREADABLE = (pydantic.ValidationError, AttributeError)

_BATCH_PATHS = re.compile(r"/batches(/|$|\?)|:(async)?[bB]atch")

#: RetryInfo of 2^63 seconds has been seen; nobody waits longer than a day on a quota.
_LONGEST_RETRY_AFTER = 86_400.0


class Captured:
    """The body of the last batch answer inside a ``with captured()``."""

    def __init__(self) -> None:
        self.body: bytes | None = None

    def run(self, call: Callable[[], object]) -> None:
        """Make the call; an answer that only the SDK's types cannot take is no failure."""
        try:
            call()
        except _UNREADABLE:
            if self.body is None:
                raise

    async def arun(self, call: Callable[[], Awaitable[object]]) -> None:
        try:
            await call()
        except _UNREADABLE:
            if self.body is None:
                raise

    def json(self) -> dict[str, Any]:
        try:
            content = json.loads(self.body or b"")
        except ValueError as error:
            raise OutcomeUnknownError(f"The service answered with {len(self.body or b'')} bytes that are no JSON.") from error
        if not isinstance(content, dict):
            raise OutcomeUnknownError(f"The service answered with a JSON {type(content).__name__}, expected an object.")
        return content


_capturing: ContextVar[Captured | None] = ContextVar("airflow_gemini_batch_capturing", default=None)


@contextlib.contextmanager
def captured() -> Iterator[Captured]:
    """Keep the raw body of the batch call made inside. Nothing is shared between threads or tasks."""
    box = Captured()
    token = _capturing.set(box)
    try:
        yield box
    finally:
        _capturing.reset(token)


def http_module() -> Any:
    """The HTTP library to hand to the SDK: httpx, which both of its majors take, unless the user's environment says httpx2."""
    return importlib.import_module("httpx2" if os.environ.get("GOOGLE_GENAI_HTTP_CLIENT") == "httpx2" else "httpx")


def hooked_client(*, asynchronous: bool = False) -> Any:
    """An HTTP client whose batch answers can be captured. Redirects are followed, as the SDK's own client does."""
    module = http_module()
    if asynchronous:
        return module.AsyncClient(follow_redirects=True, event_hooks={"response": [_keep_async]})
    return module.Client(follow_redirects=True, event_hooks={"response": [_keep]})


def _keep(response: Any) -> None:
    box = _capturing.get()
    if box is not None and _BATCH_PATHS.search(response.request.url.path):
        box.body = response.read()


async def _keep_async(response: Any) -> None:
    box = _capturing.get()
    if box is not None and _BATCH_PATHS.search(response.request.url.path):
        box.body = await response.aread()


def fetch_to(path: Path, url: str, *, http: Any, api_key: str, timeout: float) -> None:
    """Download as newer SDKs do: streamed, over the client that the SDK has been given."""
    with http.stream("GET", url, headers={"x-goog-api-key": api_key}, timeout=timeout) as response:
        if response.status_code != 200:
            response.read()
            sdk_errors.APIError.raise_for_response(response)
        with open(path, "wb") as file:
            for block in response.iter_bytes(BLOCK_BYTES):
                file.write(block)


@contextlib.contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn whatever the SDK or its HTTP library raises into the engine's errors, which say what the service has done.

    :param doing: completes "Could not …".
    """
    try:
        yield
    except GeminiBatchError:
        raise
    except sdk_errors.APIError as error:
        raise _of_answer(error, doing) from error
    except Exception as error:
        meaning = _of_transport(error, doing)
        if meaning is None:
            raise
        raise meaning from error


def _of_answer(error: sdk_errors.APIError, doing: str) -> ServiceError:
    code, status, message = error.code, error.status or "", error.message or str(error)
    text = f"Could not {doing}: {code} {status}: {message}"
    details = _details(error.details)
    if code == 401 or "API_KEY_INVALID" in {detail.get("reason") for detail in details} or _wants_key(code, message):
        return ApiKeyError(f"{text} Check the API key of the connection.", code=code, status=status)
    if code == 404:
        return NotFoundError(text, code=code, status=status)
    if code == 429:
        return QuotaError(
            f"{text} {_likely_quota(message, doing)}".rstrip(), code=code, status=status, retry_after=_retry_after(details, error)
        )
    if code == 408 or not 400 <= code < 500:
        return OutcomeUnknownError(text, code=code, status=status)
    return RefusedError(text, code=code, status=status)


def _of_transport(error: Exception, doing: str) -> ServiceError | None:
    """Only a connection that was never made is certain to have done nothing."""
    kinds = {kind.__name__ for kind in type(error).__mro__ if kind.__module__.split(".")[0] in ("httpx", "httpx2")}
    text = f"Could not {doing}: {type(error).__name__}: {error}"
    if kinds & {"ConnectError", "ConnectTimeout", "PoolTimeout", "UnsupportedProtocol", "InvalidURL"}:
        return UnreachableError(f"{text}. No connection was made; check the base URL and the network.")
    if kinds & {"NetworkError", "ProtocolError"}:
        return DroppedError(text)
    if kinds:
        return OutcomeUnknownError(text)
    # 200 with a body that is no JSON; an upload whose last answer names no file.
    if isinstance(error, (json.JSONDecodeError, pydantic.ValidationError, KeyError)) or "pload status" in str(error):
        return OutcomeUnknownError(f"{text} (an answer that the SDK cannot read)")
    return None


def _likely_quota(message: str, doing: str) -> str:
    """Which quota it probably was: the service names the storage, and uses one sentence for all the others."""
    if "file_storage_bytes" in message:
        return "The project's file storage (20 GB) is full: delete files, or wait until they expire 48 hours after their upload."
    if doing.startswith("create"):
        return "Probably too many batch jobs at once (100 for a project) or too many enqueued tokens for the model."
    return ""


def _wants_key(code: int, message: str) -> bool:
    return code == 403 and ("unregistered callers" in message or "API key" in message or "API Key" in message)


def _details(body: Any) -> list[Mapping[str, Any]]:
    if isinstance(body, list) and body:
        body = body[0]
    error = body.get("error", body) if isinstance(body, Mapping) else {}
    details = error.get("details") if isinstance(error, Mapping) else None
    return [detail for detail in details if isinstance(detail, Mapping)] if isinstance(details, list) else []


def _retry_after(details: list[Mapping[str, Any]], error: sdk_errors.APIError) -> float | None:
    stated = [str(detail["retryDelay"]) for detail in details if "retryDelay" in detail]
    headers = getattr(error.response, "headers", None)
    if headers is not None and headers.get("retry-after"):
        stated.append(headers["retry-after"])
    for text in stated:
        match = re.fullmatch(r"(\d+(?:\.\d+)?)s?", text)
        if match and float(match[1]) <= _LONGEST_RETRY_AFTER:
            return float(match[1])
    return None
