"""The tree in docs/architecture.md names every folder of the package, and nothing that is not there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "airflow_gemini_batch"
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
TREE = PAGE.split("\n    airflow_gemini_batch/\n")[1].split("\n    dags/")[0]


def test_the_tree_names_every_folder() -> None:
    folders = {file.parent.name for pattern in ("*", "engine/*", "emulator/*") for file in PACKAGE.glob(f"{pattern}/*.py")}

    assert {name for name in folders if f" {name}/" not in TREE} == set()


def test_the_tree_names_nothing_that_is_not_there() -> None:
    named = re.findall(r"(?<= )(\w+/|\w+\.py)(?=\s)", TREE)

    assert {name for name in named if not list(PACKAGE.rglob(name.rstrip("/")))} == set()
