"""What DAG files and triggers import beyond Airflow's SDK. Held by name, because times depend on the machine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

OPERATORS = "from airflow_gemini_batch import GeminiBatchOperator, GeminiBatchSensor, GenerateRequest, BatchOptions"
STEPS = (
    "from airflow_gemini_batch import GeminiBatchBuildOperator, GeminiBatchSubmitOperator, GeminiBatchDownloadOperator, "
    "GeminiBatchFinishOperator"
)
CLIENT = "from airflow_gemini_batch.engine.gemini.client import GeminiClient"
TRIGGER = (
    "import airflow_gemini_batch.triggers.batch, airflow_gemini_batch.engine.gemini.job_fetching, "
    "airflow_gemini_batch.engine.run.job_progress"
)

#: Those of the engine that an operator needs: small ones that import nothing but the standard library and msgspec.
ENGINE = {
    *("costs", "costs.prices", "costs.shard_cost", "costs.tariff", "costs.total", "costs.usage"),
    *("errors", "gemini", "gemini.jobs", "gemini.names", "gemini.waits", "options", "printable", "project_limits", "rates"),
    *("reasons", "specs"),
    *("wait", "wait.progress", "wait.waiting"),
}


def imported(first: str, then: str) -> set[str]:
    """The modules that ``then`` imports after Airflow's SDK and ``first``."""
    begin = f"import json, sys, airflow.sdk\n{first}\nbefore = set(sys.modules)"
    code = f"{begin}\n{then}\nprint(json.dumps(list(set(sys.modules) - before)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def packages(modules: set[str]) -> set[str]:
    found = {module.partition(".")[0] for module in modules} - sys.stdlib_module_names
    return {name for name in found if not name.startswith("_")}


@pytest.mark.parametrize("names", [OPERATORS, STEPS])
def test_operators_import_no_package_beyond_the_sdk_and_a_small_part_of_the_engine(names: str) -> None:
    modules = imported("", names)
    engine = {
        module.removeprefix("airflow_gemini_batch.engine.") for module in modules if "airflow_gemini_batch.engine." in module
    }

    assert packages(modules) <= {"airflow", "airflow_gemini_batch", "msgspec", "pydantic"}
    assert engine <= ENGINE


def test_a_trigger_imports_no_package_beyond_its_client_but_those_that_write_its_progress() -> None:
    modules = imported(CLIENT, TRIGGER)

    assert packages(modules) <= {"airflow", "airflow_gemini_batch", "fsspec", "msgspec", "numpy", "pyarrow", "pydantic"}
    assert {module for module in modules if module.startswith(("pyarrow.parquet", "pyarrow.compute", "pandas"))} == set()
