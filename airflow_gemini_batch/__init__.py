"""Airflow provider for the Gemini Batch API: a table goes in, two tables come out, and every row is in exactly one of them.

The names in ``__all__`` and ``airflow_gemini_batch.emulator`` are the public API; every other module is private.

The public names are imported when they are first used: the engine must work without Airflow, and Airflow imports this package in
every one of its processes.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_gemini_batch._references import GroupReferenceDict, JobReferenceDict, PartReferenceDict, ShardReferenceDict
    from airflow_gemini_batch.engine.api import collect, redrive, run_batch
    from airflow_gemini_batch.engine.errors import (
        ApiKeyError,
        BalanceError,
        BudgetError,
        CorruptRunError,
        DeadLetterRatioError,
        DestinationError,
        DroppedError,
        GeminiBatchError,
        InputError,
        NamelessJobError,
        NoRoomError,
        NotFoundError,
        OutcomeUnknownError,
        QuotaError,
        RefusedError,
        ServiceError,
        ShardsFailedError,
        UnreachableError,
        UnsettledError,
        WaitTimeoutError,
    )
    from airflow_gemini_batch.engine.estimate.estimating import estimate
    from airflow_gemini_batch.engine.estimate.result import Estimate
    from airflow_gemini_batch.engine.finish.discarding import Discarded, discard
    from airflow_gemini_batch.engine.finish.summary import JobSummary, Summary
    from airflow_gemini_batch.engine.gemini.caches import Cache, Caches
    from airflow_gemini_batch.engine.gemini.client import Endpoint, GeminiClient
    from airflow_gemini_batch.engine.gemini.files import RemoteFile
    from airflow_gemini_batch.engine.gemini.inventory import DeleteOutcome
    from airflow_gemini_batch.engine.gemini.jobs import Job, JobState, JobStats
    from airflow_gemini_batch.engine.gemini.webhooks import Webhook, Webhooks
    from airflow_gemini_batch.engine.options import BatchOptions
    from airflow_gemini_batch.engine.project_limits import ProjectLimits
    from airflow_gemini_batch.engine.specs import EmbedRequest, GenerateRequest, Media, RawRequest, RequestSpec
    from airflow_gemini_batch.hooks.gemini import GeminiHook
    from airflow_gemini_batch.operators.batch import GeminiBatchOperator
    from airflow_gemini_batch.operators.discard import GeminiBatchDiscardOperator
    from airflow_gemini_batch.operators.estimate import GeminiBatchEstimateOperator
    from airflow_gemini_batch.operators.evals import GeminiBatchCompareOperator, GeminiBatchScoreOperator
    from airflow_gemini_batch.operators.groups import (
        GeminiBatchBuildGroupOperator,
        GeminiBatchMergeOperator,
        GeminiBatchPlanOperator,
    )
    from airflow_gemini_batch.operators.manage import (
        GeminiBatchCancelJobOperator,
        GeminiBatchCleanupOperator,
        GeminiBatchDeleteFileOperator,
        GeminiBatchDeleteJobOperator,
        GeminiBatchGetJobOperator,
        GeminiBatchListFilesOperator,
        GeminiBatchListJobsOperator,
    )
    from airflow_gemini_batch.operators.redrive import GeminiBatchRedriveOperator
    from airflow_gemini_batch.operators.steps import (
        GeminiBatchBuildOperator,
        GeminiBatchDownloadOperator,
        GeminiBatchFinishOperator,
        GeminiBatchSubmitOperator,
    )
    from airflow_gemini_batch.sensors.batch import GeminiBatchSensor
    from airflow_gemini_batch.texts import failure_text, summary_text
    from airflow_gemini_batch.triggers.events import GeminiBatchEventTrigger

__version__ = "0.1.0"

__all__ = [
    "ApiKeyError",
    "BalanceError",
    "BatchOptions",
    "BudgetError",
    "Cache",
    "Caches",
    "CorruptRunError",
    "DeadLetterRatioError",
    "DeleteOutcome",
    "DestinationError",
    "Discarded",
    "DroppedError",
    "EmbedRequest",
    "Endpoint",
    "Estimate",
    "GeminiBatchBuildGroupOperator",
    "GeminiBatchBuildOperator",
    "GeminiBatchCancelJobOperator",
    "GeminiBatchCleanupOperator",
    "GeminiBatchCompareOperator",
    "GeminiBatchDeleteFileOperator",
    "GeminiBatchDeleteJobOperator",
    "GeminiBatchDiscardOperator",
    "GeminiBatchDownloadOperator",
    "GeminiBatchError",
    "GeminiBatchEstimateOperator",
    "GeminiBatchEventTrigger",
    "GeminiBatchFinishOperator",
    "GeminiBatchGetJobOperator",
    "GeminiBatchListFilesOperator",
    "GeminiBatchListJobsOperator",
    "GeminiBatchMergeOperator",
    "GeminiBatchOperator",
    "GeminiBatchPlanOperator",
    "GeminiBatchRedriveOperator",
    "GeminiBatchScoreOperator",
    "GeminiBatchSensor",
    "GeminiBatchSubmitOperator",
    "GeminiClient",
    "GeminiHook",
    "GenerateRequest",
    "GroupReferenceDict",
    "InputError",
    "Job",
    "JobReferenceDict",
    "JobState",
    "JobStats",
    "JobSummary",
    "Media",
    "NamelessJobError",
    "NoRoomError",
    "NotFoundError",
    "OutcomeUnknownError",
    "PartReferenceDict",
    "ProjectLimits",
    "QuotaError",
    "RawRequest",
    "RefusedError",
    "RemoteFile",
    "RequestSpec",
    "ServiceError",
    "ShardReferenceDict",
    "ShardsFailedError",
    "Summary",
    "UnreachableError",
    "UnsettledError",
    "WaitTimeoutError",
    "Webhook",
    "Webhooks",
    "collect",
    "discard",
    "estimate",
    "failure_text",
    "redrive",
    "run_batch",
    "summary_text",
]

#: Public name -> the module that defines it.
_HOMES = {
    "ApiKeyError": "engine.errors",
    "BalanceError": "engine.errors",
    "BatchOptions": "engine.options",
    "BudgetError": "engine.errors",
    "Cache": "engine.gemini.caches",
    "Caches": "engine.gemini.caches",
    "CorruptRunError": "engine.errors",
    "DeadLetterRatioError": "engine.errors",
    "DeleteOutcome": "engine.gemini.inventory",
    "DestinationError": "engine.errors",
    "Discarded": "engine.finish.discarding",
    "DroppedError": "engine.errors",
    "EmbedRequest": "engine.specs",
    "Endpoint": "engine.gemini.client",
    "Estimate": "engine.estimate.result",
    "GeminiBatchBuildGroupOperator": "operators.groups",
    "GeminiBatchBuildOperator": "operators.steps",
    "GeminiBatchCancelJobOperator": "operators.manage",
    "GeminiBatchCleanupOperator": "operators.manage",
    "GeminiBatchDeleteFileOperator": "operators.manage",
    "GeminiBatchDeleteJobOperator": "operators.manage",
    "GeminiBatchCompareOperator": "operators.evals",
    "GeminiBatchDiscardOperator": "operators.discard",
    "GeminiBatchDownloadOperator": "operators.steps",
    "GeminiBatchError": "engine.errors",
    "GeminiBatchEstimateOperator": "operators.estimate",
    "GeminiBatchEventTrigger": "triggers.events",
    "GeminiBatchFinishOperator": "operators.steps",
    "GeminiBatchGetJobOperator": "operators.manage",
    "GeminiBatchListFilesOperator": "operators.manage",
    "GeminiBatchListJobsOperator": "operators.manage",
    "GeminiBatchMergeOperator": "operators.groups",
    "GeminiBatchOperator": "operators.batch",
    "GeminiBatchPlanOperator": "operators.groups",
    "GeminiBatchRedriveOperator": "operators.redrive",
    "GeminiBatchScoreOperator": "operators.evals",
    "GeminiBatchSensor": "sensors.batch",
    "GeminiBatchSubmitOperator": "operators.steps",
    "GeminiClient": "engine.gemini.client",
    "GeminiHook": "hooks.gemini",
    "GenerateRequest": "engine.specs",
    "GroupReferenceDict": "_references",
    "InputError": "engine.errors",
    "Job": "engine.gemini.jobs",
    "JobReferenceDict": "_references",
    "JobState": "engine.gemini.jobs",
    "JobStats": "engine.gemini.jobs",
    "JobSummary": "engine.finish.summary",
    "Media": "engine.specs",
    "NamelessJobError": "engine.errors",
    "NotFoundError": "engine.errors",
    "OutcomeUnknownError": "engine.errors",
    "PartReferenceDict": "_references",
    "NoRoomError": "engine.errors",
    "ProjectLimits": "engine.project_limits",
    "QuotaError": "engine.errors",
    "RawRequest": "engine.specs",
    "RefusedError": "engine.errors",
    "RemoteFile": "engine.gemini.files",
    "RequestSpec": "engine.specs",
    "ServiceError": "engine.errors",
    "ShardReferenceDict": "_references",
    "ShardsFailedError": "engine.errors",
    "Summary": "engine.finish.summary",
    "UnreachableError": "engine.errors",
    "UnsettledError": "engine.errors",
    "WaitTimeoutError": "engine.errors",
    "Webhook": "engine.gemini.webhooks",
    "Webhooks": "engine.gemini.webhooks",
    "collect": "engine.api",
    "discard": "engine.finish.discarding",
    "estimate": "engine.estimate.estimating",
    "failure_text": "texts",
    "redrive": "engine.api",
    "run_batch": "engine.api",
    "summary_text": "texts",
}

if not TYPE_CHECKING:  # otherwise a type checker would accept any misspelt name as Any

    def __getattr__(name: str) -> Any:
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
