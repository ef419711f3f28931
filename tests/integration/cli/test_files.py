"""``gemini-batch files``."""

from __future__ import annotations

from tests.integration.cli.conftest import Command


def test_files_are_listed_and_deleted(run: str, gemini_batch: Command) -> None:
    _, lines, stderr = gemini_batch("files", "list")
    output_file = next(line.split("\t")[0] for line in lines if "output" in line)
    input_file = next(line.split("\t")[0] for line in lines if "output" not in line)

    assert stderr.startswith("4 files, ")
    deleted = gemini_batch("files", "delete", input_file, output_file)
    assert deleted[:2] == (0, [f"{input_file} deleted", f"{output_file} undeletable"])
