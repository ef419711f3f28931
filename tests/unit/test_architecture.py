"""The shape of the package, held by tests so that it survives everyone who works on it."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import airflow_gemini_batch

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "airflow_gemini_batch"
#: What must work without Airflow.
GROUND_FLOOR = (
    "airflow_gemini_batch.engine",
    "airflow_gemini_batch.emulator",
    "airflow_gemini_batch.evals",
    "airflow_gemini_batch.webhooks",
)
MAX_LINES = 400
#: Public names that are used where a task or a notebook runs, and not in what Airflow parses.
USED_AT_RUN_TIME = {
    "Cache",
    "Caches",
    "DeleteOutcome",
    "Discarded",
    "Endpoint",
    "Estimate",
    "GeminiClient",
    "JobSummary",
    "Summary",
    "Webhook",
    "Webhooks",
    "collect",
    "discard",
    "redrive",
    "run_batch",
    "estimate",
}


def _module_name(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


#: Without the programs: importing ``__main__`` runs it.
MODULES = {_module_name(file): file for file in sorted(PACKAGE.rglob("*.py")) if file.stem != "__main__"}


def _imports(node: ast.AST) -> Iterator[str]:
    """What the code imports when it runs, functions included; ``from a import b`` gives ``a.b``."""
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                for otherwise in child.orelse:
                    yield from _imports(otherwise)
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=module, names=names, level=0):
                yield from (f"{module}.{alias.name}" for alias in names)
            case _:
                yield from _imports(child)


def imported_by(file: Path) -> set[str]:
    return set(_imports(ast.parse(file.read_text(encoding="utf-8"), filename=str(file))))


def home_of(name: str) -> str | None:
    """The module of the package that an imported name lives in."""
    return next((home for home in (name, name.rpartition(".")[0]) if home in MODULES), None)


def _is_on_ground_floor(module: str) -> bool:
    return any(module == floor or module.startswith(f"{floor}.") for floor in GROUND_FLOOR)


@pytest.mark.parametrize("module", [module for module in MODULES if _is_on_ground_floor(module)])
def test_the_ground_floor_names_no_airflow(module: str) -> None:
    imported = imported_by(MODULES[module])

    assert not {name for name in imported if name.split(".")[0] == "airflow"}
    assert not {home for name in imported if (home := home_of(name)) and not _is_on_ground_floor(home)} - {"airflow_gemini_batch"}


@pytest.mark.parametrize("floor", GROUND_FLOOR)
def test_the_ground_floor_runs_without_airflow(floor: str) -> None:
    modules = [module for module in MODULES if module == floor or module.startswith(f"{floor}.")]
    # None in sys.modules makes every import of that name fail, and so does not depend on who else is installed.
    code = f"import importlib, sys; sys.modules['airflow'] = None; [importlib.import_module(m) for m in {modules!r}]"

    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)

    assert modules
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize(
    "module",
    ["airflow_gemini_batch", "airflow_gemini_batch.cli", "airflow_gemini_batch.evals", "airflow_gemini_batch.provider_info"],
)
def test_the_doorstep_is_light(module: str) -> None:
    heavy = ("airflow", "google.genai", "pandas", "pyarrow", "scipy", "starlette")
    code = f"import sys, {module}; sys.exit(', '.join(m for m in {heavy!r} if m in sys.modules) or None)"

    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)

    assert ended.returncode == 0, f"importing {module} also imports {ended.stderr}"


def test_what_a_dag_file_imports_is_light() -> None:
    # Airflow parses DAG files all the time, and once more for every task.
    names = [name for name in airflow_gemini_batch.__all__ if name not in USED_AT_RUN_TIME]
    code = (
        f"import sys; from airflow_gemini_batch import {', '.join(names)}; "
        "sys.exit(', '.join(m for m in ('google.genai', 'pandas', 'pyarrow', 'starlette') if m in sys.modules) or None)"
    )

    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)

    assert ended.returncode == 0, f"a DAG file also imports {ended.stderr}"


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {
        module: {home for name in imported_by(file) if (home := home_of(name)) and home != module}
        for module, file in MODULES.items()
    }

    # CycleError names the circle.
    graphlib.TopologicalSorter(graph).prepare()


def test_no_file_has_two_subjects() -> None:
    files = [file for folder in (PACKAGE, "tests", "dags", "benchmarks") for file in (ROOT / folder).rglob("*.py")]
    lines = {str(file.relative_to(ROOT)): len(file.read_text(encoding="utf-8").splitlines()) for file in files}

    assert {name: count for name, count in lines.items() if count > MAX_LINES} == {}
