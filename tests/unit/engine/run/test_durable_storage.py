"""A write is on the disk before it is visible, and exclusive also where the file system has no hard links."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from airflow_gemini_batch.engine.run.storage import Location, locate


class PlainFileSystem(MemoryFileSystem):
    """A file system whose ``pipe_file`` does not know ``mode``, as older fsspec implementations."""

    protocol = "plain"
    cachable = False
    store: dict[str, Any] = {}  # noqa: RUF012
    pseudo_dirs = [""]  # noqa: RUF012

    def pipe_file(self, path: str, value: bytes) -> None:
        super().pipe_file(path, value)


def receive(file: Location) -> None:
    with file.receiving() as path:
        path.write_bytes(b"x")


@pytest.fixture
def file(tmp_path: Path) -> Location:
    return locate(str(tmp_path / "folder" / "file"))


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the operating system was asked for, in order."""
    asked: list[str] = []
    flush, rename, link = os.fsync, os.replace, os.link

    def fsync(descriptor: int) -> None:
        asked.append("flush folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "flush file")
        flush(descriptor)

    def replace(old: str, new: str) -> None:
        asked.append("publish")
        rename(old, new)

    def linked(old: str, new: str) -> None:
        asked.append("publish")
        link(old, new)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(os, "link", linked)
    return asked


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="tells a folder's descriptor from a file's by /proc")
@pytest.mark.parametrize("write", [lambda file: file.write(b"x"), lambda file: file.create(b"x"), receive])
def test_a_file_is_flushed_then_published_then_its_folder_is_flushed(
    write: Callable[[Location], None], file: Location, steps: list[str]
) -> None:
    write(file)

    assert steps == ["flush file", "publish", "flush folder"]
    assert file.read() == b"x"


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOTSUP, errno.EMLINK])
def test_without_hard_links_the_first_of_two_creates_wins_too(code: int, file: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: str) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", refuse)

    assert [file.create(b"first"), file.create(b"second")] == [True, False]
    assert file.read() == b"first"


def test_a_link_that_fails_otherwise_is_an_error_and_creates_nothing(file: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: str) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "link", fail)

    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        file.create(b"x")

    assert not file.exists()
    assert os.listdir(os.path.dirname(file.path)) == []


def test_where_exclusive_creation_is_unknown_what_is_there_is_kept() -> None:
    file = Location(PlainFileSystem(), "/bucket/file", "plain://bucket/file")

    assert [file.create(b"first"), file.create(b"second")] == [True, False]
    assert file.read() == b"first"
