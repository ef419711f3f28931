"""Shortens the engine's waits, in the harness's child processes only, so that a thousand crashes take minutes and not days.

Only the length of the waits changes, not what the engine does or in which order. The conditions of the guarantee still hold: a
request times out before the claim's lease ends, and the service's listing shows a new job within ``listing_lag``.
"""

from __future__ import annotations

import os
import ssl
from types import ModuleType
from typing import Any

from google.genai import types

from airflow_gemini_batch.engine.gemini import client, waits
from airflow_gemini_batch.engine.gemini.retries import Retries
from airflow_gemini_batch.engine.passes import collecting
from airflow_gemini_batch.engine.slots import slots
from airflow_gemini_batch.engine.submit import job_search
from airflow_gemini_batch.engine.wait import waiting
from airflow_gemini_batch.hooks.gemini import GeminiHook


def shorten_waits() -> None:
    """Shorten the waits of this process that are not options."""
    _replace(job_search, "_LIST_EVERY", 0.2)
    _replace(collecting, "_ASK_AGAIN", 0.3)
    _replace(waiting, "_LONGEST_BACKOFF", 0.5)
    _replace(slots, "_LOOK_EVERY", 0.3)
    _replace(waits, "_TURN_WAIT", 0.2)
    _replace(waits, "_LONGEST_TURN_WAIT", 0.5)
    _replace(waits, "_QUOTA_WAIT", 0.3)
    _replace(waits, "_LONGEST_QUOTA_WAIT", 1.0)
    _replace(client, "RETRIES", Retries(first_delay=0.1, longest_delay=0.5))


#: The SDK's types that a run uses. Pydantic builds each at its first use, which takes a third of a second in all.
_TYPES = (
    "BatchJob",
    "BatchJobDestination",
    "BatchJobSource",
    "CreateBatchJobConfig",
    "CreateFileConfig",
    "CreateFileResponse",
    "DeleteFileResponse",
    "File",
    "GenerateContentConfig",
    "HttpOptions",
    "HttpResponse",
    "InlinedRequest",
    "ListBatchJobsConfig",
    "ListBatchJobsResponse",
    "Part",
    "UploadFileConfig",
    "UserContent",
    "_CreateBatchJobParameters",
    "_CreateFileParameters",
    "_DeleteFileParameters",
    "_GetBatchJobParameters",
    "_GetFileParameters",
    "_ListBatchJobsParameters",
    "_CancelBatchJobParameters",
)


def warm_up(*, plain_http: bool) -> None:
    """Do once, in the parent, what each child would otherwise repeat. No client is created, and no thread.

    :param plain_http: the service is reached without TLS, so the certificates of public authorities need not be loaded.
    """
    for name in _TYPES:
        kind = getattr(types, name, None)
        if kind is not None:
            kind.model_rebuild(raise_errors=False)
    # Airflow imports its secrets backends when the first connection is read.
    os.environ["AIRFLOW_CONN_WARM_UP"] = '{"conn_type": "gemini", "password": "not-a-key"}'
    assert GeminiHook("warm_up").endpoint is not None
    del os.environ["AIRFLOW_CONN_WARM_UP"]
    if plain_http:
        ssl.SSLContext.load_verify_locations = lambda *_, **__: None  # type: ignore[method-assign]


def _replace(module: ModuleType, name: str, value: Any) -> None:
    if not hasattr(module, name):
        raise AssertionError(f"{module.__name__}.{name} does not exist. Update short_waits.py to where it has moved.")
    setattr(module, name, value)
