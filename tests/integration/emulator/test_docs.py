"""The snippets in docs/emulator.md and docs/official-samples.md run, and their tables are complete."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import get_args, get_type_hints

from airflow_gemini_batch.emulator import FileFault, JobFault, Options
from airflow_gemini_batch.emulator.faults.kinds import RowFaultKind, WebhookFault
from tests.doc_snippets import DOCS, run_snippets

PAGE = (Path(__file__).parents[3] / "docs" / "emulator.md").read_text()


def test_the_snippets_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    snippets = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, object] = {}

    for snippet in snippets:
        exec(snippet, names)  # noqa: S102

    assert len(snippets) == 4


def test_every_option_and_every_fault_is_documented():
    documented = set(re.findall(r"`(\w+)`", PAGE))

    assert {field.name for field in fields(Options)} <= documented
    assert set(get_args(RowFaultKind)) <= documented
    assert set(get_args(get_type_hints(WebhookFault)["do"])) <= documented
    for kind in (FileFault, JobFault):
        assert set(kind.__struct_fields__) - {"nth", "count", "probability", "seed"} <= documented


def test_every_official_sample_names_existing_tests(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    here = Path(__file__).parent
    tests = {name for file in here.glob("test_*.py") for name in re.findall(r"^def (test_\w+)", file.read_text(), re.MULTILINE)}

    documented = set(re.findall(r"`(test_\w+)`", (DOCS / "official-samples.md").read_text()))

    assert run_snippets("official-samples.md") == 1
    assert len(documented) >= 20
    assert documented <= tests
