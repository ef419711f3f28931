"""The public API is the names at the root, ``.evals`` and ``.emulator``; a change of a list is a decision."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

import airflow_gemini_batch

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
PUBLIC_MODULES = {"airflow_gemini_batch", "airflow_gemini_batch.emulator", "airflow_gemini_batch.evals"}

PUBLIC = [
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


def test_the_public_names_are_these() -> None:
    assert airflow_gemini_batch.__all__ == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_can_be_imported(name: str) -> None:
    assert getattr(airflow_gemini_batch, name) is not None


def test_a_type_checker_sees_the_same_names_from_the_same_modules() -> None:
    file = ROOT / "airflow_gemini_batch" / "__init__.py"
    imports = [node for node in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(node, ast.ImportFrom)]

    seen = {alias.name: node.module for node in imports for alias in node.names if node.module not in ("__future__", "typing")}

    assert seen == {name: f"airflow_gemini_batch.{home}" for name, home in airflow_gemini_batch._HOMES.items()}
    assert sorted(seen) == sorted(PUBLIC)


def test_a_misspelt_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'GeminiBatchOperater'"):
        _ = airflow_gemini_batch.GeminiBatchOperater  # type: ignore[attr-defined]


def test_every_error_of_the_engine_is_public() -> None:
    errors = importlib.import_module("airflow_gemini_batch.engine.errors")

    assert {name for name, value in vars(errors).items() if isinstance(value, type)} <= set(PUBLIC)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_pages_import_public_names_only(page: Path) -> None:
    imported = set(re.findall(r"^\s*(?:from|import) (airflow_gemini_batch[\w.]*)", page.read_text("utf-8"), re.MULTILINE))

    assert imported <= PUBLIC_MODULES
