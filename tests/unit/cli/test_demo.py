"""The folder that the demo writes to, and the DAG that it runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_gemini_batch import cli
from airflow_gemini_batch.demo.run import dags_folder


def test_the_error_for_a_folder_that_cannot_be_written_names_the_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()

    code = cli.main(["demo", "--folder", str(tmp_path / "file" / "below")])

    assert code == 1
    assert "Choose another folder with --folder" in capsys.readouterr().out


def test_the_demo_runs_the_example_dag() -> None:
    assert (dags_folder() / "describe_stdlib.py").is_file()
