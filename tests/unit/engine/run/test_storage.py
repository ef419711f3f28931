"""Whole or absent, and "cannot be read" is not "is not there"."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from airflow_gemini_batch.engine.errors import DestinationError
from airflow_gemini_batch.engine.run.storage import Location, locate


@pytest.fixture(params=["local", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    return locate(str(tmp_path)) if request.param == "local" else locate(f"memory://{tmp_path.name}")


def test_what_is_written_is_read_back(folder: Location) -> None:
    file = folder / "a" / "b.bin"

    file.write(b"one\ntwo")

    assert file.read() == b"one\ntwo"
    assert file.size() == 7
    assert len(file.sha256()) == 64
    assert [child.name for child in (folder / "a").children()] == ["b.bin"]


def test_a_write_that_fails_leaves_what_was_there(folder: Location) -> None:
    file = folder / "a.bin"
    file.write(b"first")

    def interrupted() -> None:
        with file.writing() as out:
            out.write(b"second, but not all of it")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()

    assert file.read() == b"first"
    assert [child.name for child in folder.children()] == ["a.bin"]


def test_only_the_first_of_two_creates_wins(folder: Location) -> None:
    file = folder / "claim.json"

    assert [file.create(b"mine"), file.create(b"yours")] == [True, False]

    assert file.read() == b"mine"


def test_an_absent_file_is_absent_and_nothing_else(folder: Location) -> None:
    file = folder / "nothing"

    assert not file.exists()
    with pytest.raises(FileNotFoundError):
        file.read()
    file.delete()
    assert (folder / "no" / "folder").children() == []


def test_a_file_received_from_another_program_arrives_whole(folder: Location) -> None:
    with (folder / "r" / "x.jsonl").receiving() as path:
        path.write_bytes(b"{}\n")

    assert (folder / "r" / "x.jsonl").read() == b"{}\n"


def test_a_folder_is_removed_with_all_that_is_in_it(folder: Location) -> None:
    (folder / "run" / "x").write(b"1")

    (folder / "run").delete()

    assert not (folder / "run" / "x").exists()


def test_a_destination_below_a_file_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")

    with pytest.raises(DestinationError, match="choose another destination"):
        (locate(str(tmp_path)) / "file" / "sub" / "a").write(b"1")


def test_a_full_disk_says_so_and_keeps_what_is_there(tmp_path: Path) -> None:
    file = locate(str(tmp_path)) / "a"
    file.write(b"kept")

    def fill() -> None:
        with file.writing():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(DestinationError, match="Free space there"):
        fill()

    assert file.read() == b"kept"


def test_a_reader_of_tables_does_not_see_the_temporary_file(tmp_path: Path) -> None:
    folder = locate(str(tmp_path))

    with (folder / "part.parquet").writing() as out:
        out.write(b"x")
        names = os.listdir(tmp_path)

    assert len(names) == 1
    assert names[0].startswith(".")
