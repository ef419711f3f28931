"""Below the SDK's types: the raw JSON of an answer, and the meaning of a failure.

The SDK's types drop fields that the engine needs and reject some answers of the service outright. An event hook on the HTTP
client that the SDK is given keeps the body of batch calls; downloads are never touched, they would be read into memory.
"""

from __future__ import annotations

import contextlib
import functools
import json
import mmap
import re
from collections.abc import Callable, Iterator, Mapping
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
from airflow_gemini_batch.engine.gemini.deadlines import limit_body, limit_headers
from airflow_gemini_batch.engine.gemini.origins import Origin, keep_to
from airflow_gemini_batch.engine.gemini.quotas import likely_limit
from airflow_gemini_batch.engine.gemini.sdk import http_library
from airflow_gemini_batch.engine.json.lenient import read_any
from airflow_gemini_batch.engine.printable import keys_in_files, printable

#: The answers that are kept: of batch calls, which are of a size for memory.
_KEPT_PATHS = re.compile(r"/batches(/|$|\?)|:(async)?[bB]atch")

#: Characters of a service's message that are shown: a proxy's may be a web page, a refused file's has one line for each line.
_MESSAGE_CHARACTERS = 2000

#: What an HTTP request is for, by its path.
_CALLS = (
    ("upload", re.compile(r"/upload/")),
    ("create", re.compile(r":(async)?[bB]atch")),
    ("jobs", re.compile(r"/batches(/|$)")),
    ("files", re.compile(r"/files(/|$)")),
)

#: RetryInfo of 2^63 seconds has been seen; waiting for quota is limited to a day.
_LONGEST_RETRY_AFTER = 86_400.0

#: Told of each answer of the service: what was called (upload, create, jobs, files, other) and the HTTP status.
OnAnswer = Callable[[str, int], None]


class Captured:
    """The body of the last answer inside a ``with captured()``."""

    def __init__(self) -> None:
        self.body: bytes | None = None
        self.is_good = False

    def keep(self, body: bytes, status: int) -> None:
        self.body, self.is_good = body, status == 200

    def run(self, call: Callable[[], object]) -> None:
        """Make the call; an answer that only the SDK cannot read (its types, its JSON parser) is not a failure."""
        try:
            call()
        except (sdk_errors.APIError, GeminiBatchError):
            raise
        except Exception:
            if not self.is_good:
                raise

    def json(self) -> dict[str, Any]:
        try:
            content = read_any(self.body or b"")
        except (ValueError, RecursionError) as error:
            raise OutcomeUnknownError(
                f"The service answered with {len(self.body or b'')} bytes that are not readable JSON."
            ) from error
        if not isinstance(content, dict):
            raise OutcomeUnknownError(f"The service answered with a JSON {type(content).__name__}, expected an object.")
        return content


_capturing: ContextVar[Captured | None] = ContextVar("airflow_gemini_batch_capturing", default=None)


@contextlib.contextmanager
def captured() -> Iterator[Captured]:
    """Keep the raw body of the call made inside. Nothing is shared between threads or tasks."""
    box = Captured()
    token = _capturing.set(box)
    try:
        yield box
    finally:
        _capturing.reset(token)


def hooked_client(base_url: str, on_answer: OnAnswer | None = None) -> Any:
    """An HTTP client whose batch answers can be captured, and which stays at the origin of the base URL."""
    module = http_library()
    hooks = keep_to(Origin.of(module.URL(base_url)), module.URL)
    hooks["request"].append(limit_headers)
    hooks["response"] += [functools.partial(limit_body, module.SyncByteStream), _keep]
    if on_answer is not None:
        hooks["response"].append(lambda response: on_answer(_call_of(response.request.url.path), response.status_code))
    return module.Client(follow_redirects=True, event_hooks=hooks)


def _call_of(path: str) -> str:
    return next((call for call, pattern in _CALLS if pattern.search(path)), "other")


def mask_keys(path: Path) -> None:
    """Replace API keys in a downloaded file by asterisks of the same length, so that its size still is what the service says."""
    keys = keys_in_files()
    if not keys or path.stat().st_size == 0:
        return
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as content:
        for key in keys:
            at = content.find(key)
            while at >= 0:
                content[at : at + len(key)] = b"*" * len(key)
                at = content.find(key, at + len(key))


def _keep(response: Any) -> None:
    box = _capturing.get()
    if box is not None and _KEPT_PATHS.search(response.request.url.path):
        box.keep(response.read(), response.status_code)


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
    code, message = error.code, str(error.message or error)
    status = printable(str(error.status or ""))
    text = f"Could not {doing}: {code} {status}: {printable(message[:_MESSAGE_CHARACTERS])}"
    details = _details(error.details)
    if not _is_of_the_service(error.details):
        # A proxy or a load balancer; the service behind it may have done the work.
        return OutcomeUnknownError(f"{text} The answer is not the service's own.", code=code, status=status)
    if code == 401 or "API_KEY_INVALID" in {detail.get("reason") for detail in details} or _wants_key(code, message):
        return ApiKeyError(f"{text} Check the API key of the connection.", code=code, status=status)
    if code == 404:
        return NotFoundError(text, code=code, status=status)
    if code == 429:
        return QuotaError(
            f"{text} {likely_limit(message, details, doing)}".rstrip(),
            code=code,
            status=status,
            retry_after=_retry_after(details, error),
        )
    # 499: a proxy has given up waiting for the answer.
    if code in (408, 499) or not 400 <= code < 500:
        return OutcomeUnknownError(text, code=code, status=status)
    return RefusedError(text, code=code, status=status, service_message=message)


def _of_transport(error: Exception, doing: str) -> ServiceError | None:
    """Only a connection that was never made is certain to have done nothing."""
    kinds = {kind.__name__ for kind in type(error).__mro__ if kind.__module__.split(".")[0] in ("httpx", "httpx2")}
    text = f"Could not {doing}: {type(error).__name__}: {printable(str(error))}"
    if kinds & {"ConnectError", "ConnectTimeout", "PoolTimeout", "UnsupportedProtocol", "InvalidURL"}:
        return UnreachableError(f"{text}. No connection was made; check the base URL and the network.")
    if kinds & {"NetworkError", "ProtocolError"}:
        return DroppedError(text)
    if kinds:
        return OutcomeUnknownError(text)
    # 200 with a body that is not JSON; an upload whose last answer names no file.
    if isinstance(error, (json.JSONDecodeError, pydantic.ValidationError, KeyError)) or "pload status" in str(error):
        return OutcomeUnknownError(
            f"Could not {doing}: the service's answer is not as documented ({printable(_in_short(error))})."
        )
    return None


def _in_short(error: Exception) -> str:
    if isinstance(error, pydantic.ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)


def _wants_key(code: int, message: str) -> bool:
    return code == 403 and ("unregistered callers" in message or "API key" in message or "API Key" in message)


def _is_of_the_service(body: Any) -> bool:
    """Whether an error's body has the form of the service's: ``{"error": {"code": …, "message": …}}``, or a list of one."""
    if isinstance(body, list) and body:
        body = body[0]
    error = body.get("error") if isinstance(body, Mapping) else None
    return isinstance(error, Mapping) and ("message" in error or "status" in error or "code" in error)


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
