"""The order of the emulator's modules and folders: an import points to an earlier one, or stays inside its folder."""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGE = "airflow_gemini_batch.emulator"
EMULATOR = ROOT / "airflow_gemini_batch" / "emulator"

#: The base first, then the folders in the order in which they depend on each other, then the modules that combine them.
ORDER = [
    *["options", "patterns", "clock", "store", "journal", "proto_json", "faults", "service"],
    *["http", "answers", "files", "models", "batches", "webhooks", "openai", "control"],
    *["app", "serving", "cli", "__init__", "__main__"],
]
MODULES = {".".join(file.relative_to(EMULATOR).with_suffix("").parts): file for file in sorted(EMULATOR.rglob("*.py"))}


def _imported(file: Path) -> Iterator[str]:
    """Modules of the emulator that the file imports, relative to the package; imports inside functions count too."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module is not None and f"{node.module}.".startswith(f"{PACKAGE}."):
            inner = node.module.removeprefix(PACKAGE).removeprefix(".")
            for alias in node.names:
                full = f"{inner}.{alias.name}".removeprefix(".")
                yield full if full in MODULES else inner or "__init__"


@pytest.mark.parametrize("module", MODULES)
def test_an_import_points_to_an_earlier_layer_or_stays_in_its_own(module: str) -> None:
    layer = module.partition(".")[0]

    later = [name for name in _imported(MODULES[module]) if ORDER.index(name.partition(".")[0]) > ORDER.index(layer)]

    assert later == []


def test_no_modules_import_each_other() -> None:
    graph = {module: set(_imported(file)) & set(MODULES) for module, file in MODULES.items()}

    assert list(graphlib.TopologicalSorter(graph).static_order())
