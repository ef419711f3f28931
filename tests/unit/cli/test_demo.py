"""Where the demo writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_gemini_batch import cli
from airflow_gemini_batch.demo.show import dags_folder


def test_a_place_that_cannot_be_written_is_told_with_the_remedy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()

    code = cli.main(["demo", "--folder", str(tmp_path / "file" / "below")])

    assert code == 1
    assert "Choose another place with --folder" in capsys.readouterr().out


def test_the_dag_of_the_demo_is_the_one_that_users_read() -> None:
    assert (dags_folder() / "describe_stdlib.py").is_file()
