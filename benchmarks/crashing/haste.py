"""The engine's waits, made short: in the children of the harness only, so that a thousand crashes take minutes and not days.

What is shortened is how long the engine waits, never what it does or in which order. The conditions under which the promise
holds stay as they are: the endpoint's timeout is below the lease, and the listing's lag below the settling time.
"""

from __future__ import annotations

import dataclasses
import os
import ssl
from types import ModuleType
from typing import Any

from google.genai import types

from airflow_gemini_batch.engine import advance
from airflow_gemini_batch.engine.gemini import client
from airflow_gemini_batch.engine.gemini.retries import Retries
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.submit import job_search
from airflow_gemini_batch.engine.wait import waiting
from airflow_gemini_batch.hooks.gemini import GeminiHook


def hurry(*, lease: float, listing_lag: float) -> None:
    """Make the waits of this process short.

    :param lease, listing_lag: become the defaults of ``BatchOptions``, for the operators of the step form.
    """
    names = [field.name for field in dataclasses.fields(BatchOptions)]
    defaults = dict(zip(names, BatchOptions.__init__.__defaults__ or (), strict=True))
    BatchOptions.__init__.__defaults__ = tuple({**defaults, "claim_lease": lease, "listing_lag": listing_lag}.values())
    if (BatchOptions().claim_lease, BatchOptions().listing_lag) != (lease, listing_lag):
        raise AssertionError("The defaults of BatchOptions are not where they were: tell the harness where they went.")
    _shorten(job_search, "_LIST_EVERY", 0.2)
    _shorten(advance, "_ASK_AGAIN", 0.3)
    _shorten(waiting, "_LONGEST_BACKOFF", 0.5)
    _shorten(waiting, "_QUOTA_WAIT", 0.3)
    _shorten(waiting, "_LONGEST_QUOTA_WAIT", 1.0)
    _shorten(client, "RETRIES", Retries(first_delay=0.1, longest_delay=0.5))


#: The SDK's types that a trip uses. They complete themselves at their first use, which takes a third of a second in all.
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
    """Do in the parent, once, what every child would do again. No client is made, and no thread.

    :param plain_http: the service has no certificate, so nobody needs those of the world's authorities.
    """
    for name in _TYPES:
        kind = getattr(types, name, None)
        if kind is not None:
            kind.model_rebuild(raise_errors=False)
    # Airflow imports what finds a connection when the first one is asked for.
    os.environ["AIRFLOW_CONN_WARM_UP"] = '{"conn_type": "gemini", "password": "of-nobody"}'
    assert GeminiHook("warm_up").endpoint is not None
    del os.environ["AIRFLOW_CONN_WARM_UP"]
    if plain_http:
        ssl.SSLContext.load_verify_locations = lambda *_, **__: None  # type: ignore[method-assign]


def _shorten(module: ModuleType, name: str, value: Any) -> None:
    if not hasattr(module, name):
        raise AssertionError(f"{module.__name__}.{name} is no more: tell the harness where it went.")
    setattr(module, name, value)
