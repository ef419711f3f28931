"""The demo's report, printed for a real run."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from airflow_gemini_batch import GenerateRequest, estimate, run_batch
from airflow_gemini_batch.demo.report import print_report
from airflow_gemini_batch.emulator import Emulator
from airflow_gemini_batch.engine.gemini.client import Endpoint
from airflow_gemini_batch.examples.stdlib import Description

MODEL = "gemini-3.6-flash"

#: One row has no documentation. The other holds line breaks and text that looks like markup, to be printed as plain text.
ROWS = [
    {"name": "bisect.insort_left", "documentation": "Insert item x in list a.\n\n[bold]Keep it sorted.[/bold]"},
    {"name": "aifc.open", "documentation": None},
]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    import pyarrow as pa

    folder: Path = tmp_path_factory.mktemp("report")
    table = pa.Table.from_pylist(ROWS)
    request = GenerateRequest(prompt="Describe ${name}: ${documentation}", response_schema=Description)
    prices = {MODEL: {"input": 0.375, "output": 1.875}}
    with Emulator(folder / "emulator", pending_seconds=0, running_seconds=0) as emulator:
        expected = estimate(table, request, model=MODEL, key="name", options={"prices": prices})
        summary = run_batch(
            table,
            request,
            model=MODEL,
            destination=str(folder / "run"),
            key="name",
            options={"poll_interval": 0.1, "prices": prices},
            endpoint=Endpoint(api_key="any-key", base_url=emulator.url),
        )
    output = io.StringIO()
    print_report(Console(file=output, width=80), summary.as_dict(), expected.as_dict(), seconds=12.0)
    return output.getvalue()


def test_it_shows_the_counts(report: str) -> None:
    assert "every key is in one table, once" in report
    assert "INVALID_INPUT 1" in report
    assert "SUCCEEDED 1" in report


def test_it_shows_the_estimate_above_the_cost(report: str) -> None:
    said = " ".join(report.split())

    assert re.search(r"Estimate \S+ before it: \$\S+ to .* Cost \$\S+ what the service would charge", said)


def test_it_shows_a_row_of_each_table_on_one_line(report: str) -> None:
    lines = report.splitlines()

    assert [line for line in lines if line.split()[:1] == ["bisect.insort_left"]]
    assert [line for line in lines if line.split()[:2] == ["aifc.open", "INVALID_INPUT"] and "${documentation}" in line]


def test_it_fits_the_terminal(report: str) -> None:
    assert max(map(len, report.splitlines())) <= 80
