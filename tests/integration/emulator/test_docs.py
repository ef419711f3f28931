"""What docs/emulator.md and docs/official-samples.md show works as it stands there, and their tables name what there is."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import get_args, get_type_hints

from airflow_gemini_batch.emulator import FileFault, JobFault, Options
from airflow_gemini_batch.emulator.faults.kinds import RowTrouble, WebhookFault
from tests.doc_snippets import DOCS, run_snippets

PAGE = (Path(__file__).parents[3] / "docs" / "emulator.md").read_text()


def test_the_snippets_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    snippets = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, object] = {}

    for snippet in snippets:
        exec(snippet, names)  # noqa: S102

    assert len(snippets) == 3


def test_every_option_and_every_fault_is_told():
    told = set(re.findall(r"`(\w+)`", PAGE))

    assert {field.name for field in fields(Options)} <= told
    assert set(get_args(RowTrouble)) <= told
    assert set(get_args(get_type_hints(WebhookFault)["do"])) <= told
    for kind in (FileFault, JobFault):
        assert set(kind.__struct_fields__) - {"nth", "count", "probability", "seed"} <= told


def test_every_official_sample_names_tests_that_there_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    here = Path(__file__).parent
    tests = {name for file in here.glob("test_*.py") for name in re.findall(r"^def (test_\w+)", file.read_text(), re.MULTILINE)}

    told = set(re.findall(r"`(test_\w+)`", (DOCS / "official-samples.md").read_text()))

    assert run_snippets("official-samples.md") == 1
    assert len(told) >= 20
    assert told <= tests
