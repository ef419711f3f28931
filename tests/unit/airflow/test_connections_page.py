"""docs/connections.md names every field, and its examples are connections."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from airflow_gemini_batch import GeminiHook
from airflow_gemini_batch.hooks.gemini import EXTRA_FIELDS
from airflow_gemini_batch.provider_info import get_provider_info

PAGE = (Path(__file__).parents[3] / "docs" / "connections.md").read_text(encoding="utf-8")
[FORM] = get_provider_info()["connection-types"]
EXAMPLES = [shlex.split(block.replace("\\\n", "")) for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)]


def rows(title: str) -> dict[str, list[str]]:
    """Field -> the other cells of its row."""
    section = PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]
    cells = [[cell.strip() for cell in row.strip("|").split(" | ")] for row in section.splitlines() if row.startswith("| `")]
    return {first.strip("`"): others for first, *others in cells}


def test_the_table_of_the_extra_has_every_field_that_is_read() -> None:
    assert list(rows("Fields of the extra")) == list(EXTRA_FIELDS)


def test_the_tables_name_the_fields_as_the_form_does() -> None:
    labels = {field: cells[1] for field, cells in rows("Fields of the extra").items() if cells[1] != "JSON only"}
    hidden = {field for field, cells in rows("Fields").items() if cells[0] == "hidden"}
    renamed = {field: cells[0] for field, cells in rows("Fields").items() if field in ("host", "password")}

    assert labels == {name: field["label"] for name, field in FORM["conn-fields"].items()}
    assert hidden == set(FORM["ui-field-behaviour"]["hidden-fields"])
    assert renamed == FORM["ui-field-behaviour"]["relabeling"]


def test_the_example_for_the_environment_is_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    [assignment] = [words[1] for words in EXAMPLES if words[0] == "export"]
    name, _, value = assignment.partition("=")
    monkeypatch.setenv(name, value.replace("AIza…", "AIzaAnyKey"))

    endpoint = GeminiHook().endpoint

    assert (endpoint.key(), endpoint.request_timeout) == ("AIzaAnyKey", 120.0)


def test_the_examples_for_the_command_line_are_read_by_airflow() -> None:
    from airflow.cli.cli_parser import get_parser

    commands = [words[1:] for words in EXAMPLES if words[0] == "airflow"]

    parsed = [get_parser().parse_args(command) for command in commands]

    assert [arguments.conn_type for arguments in parsed] == ["gemini", "gemini"]
    assert parsed[1].conn_extra == '{"api_version": "v1"}'
