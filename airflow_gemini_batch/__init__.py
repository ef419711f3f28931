"""Airflow provider for the Gemini Batch API: a table goes in, two tables come out, and the books balance.

The public names are imported when they are first used: the engine must stay usable where Airflow is not wanted, and Airflow
imports this package in every one of its processes.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_gemini_batch.engine.api import run_batch
    from airflow_gemini_batch.engine.specs import EmbedRequest, GenerateRequest, Media, RawRequest
    from airflow_gemini_batch.hooks.gemini import GeminiHook
    from airflow_gemini_batch.operators.batch import GeminiBatchOperator
    from airflow_gemini_batch.operators.manage import (
        GeminiBatchCancelJobOperator,
        GeminiBatchCleanupOperator,
        GeminiBatchDeleteFileOperator,
        GeminiBatchDeleteJobOperator,
        GeminiBatchGetJobOperator,
        GeminiBatchListFilesOperator,
        GeminiBatchListJobsOperator,
    )
    from airflow_gemini_batch.operators.steps import (
        GeminiBatchBuildOperator,
        GeminiBatchDownloadOperator,
        GeminiBatchFinishOperator,
        GeminiBatchSubmitOperator,
    )
    from airflow_gemini_batch.sensors.batch import GeminiBatchSensor
    from airflow_gemini_batch.triggers.events import GeminiBatchEventTrigger

__version__ = "0.1.0"

__all__ = [
    "EmbedRequest",
    "GeminiBatchBuildOperator",
    "GeminiBatchCancelJobOperator",
    "GeminiBatchCleanupOperator",
    "GeminiBatchDeleteFileOperator",
    "GeminiBatchDeleteJobOperator",
    "GeminiBatchDownloadOperator",
    "GeminiBatchEventTrigger",
    "GeminiBatchFinishOperator",
    "GeminiBatchGetJobOperator",
    "GeminiBatchListFilesOperator",
    "GeminiBatchListJobsOperator",
    "GeminiBatchOperator",
    "GeminiBatchSensor",
    "GeminiBatchSubmitOperator",
    "GeminiHook",
    "GenerateRequest",
    "Media",
    "RawRequest",
    "run_batch",
]

_HOMES = {
    "EmbedRequest": "engine.specs",
    "GeminiBatchBuildOperator": "operators.steps",
    "GeminiBatchCancelJobOperator": "operators.manage",
    "GeminiBatchCleanupOperator": "operators.manage",
    "GeminiBatchDeleteFileOperator": "operators.manage",
    "GeminiBatchDeleteJobOperator": "operators.manage",
    "GeminiBatchDownloadOperator": "operators.steps",
    "GeminiBatchEventTrigger": "triggers.events",
    "GeminiBatchFinishOperator": "operators.steps",
    "GeminiBatchGetJobOperator": "operators.manage",
    "GeminiBatchListFilesOperator": "operators.manage",
    "GeminiBatchListJobsOperator": "operators.manage",
    "GeminiBatchOperator": "operators.batch",
    "GeminiBatchSensor": "sensors.batch",
    "GeminiBatchSubmitOperator": "operators.steps",
    "GeminiHook": "hooks.gemini",
    "GenerateRequest": "engine.specs",
    "Media": "engine.specs",
    "RawRequest": "engine.specs",
    "run_batch": "engine.api",
}

if not TYPE_CHECKING:  # else a type checker would take every misspelt name for Any

    def __getattr__(name: str) -> Any:
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
