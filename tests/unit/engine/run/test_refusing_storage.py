"""A store that refuses is never reported as an empty one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from airflow_gemini_batch.engine.errors import DestinationError
from airflow_gemini_batch.engine.run.storage import Location, locate


class RefusingFileSystem(MemoryFileSystem):
    """An object store whose credentials are not allowed to read: fsspec's file systems raise PermissionError then."""

    protocol = "refusing"
    cachable = False

    def _refuse(self, *_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Access Denied")

    info = ls = rm = _open = pipe_file = _refuse


@pytest.fixture
def place() -> Location:
    return Location(RefusingFileSystem(), "/bucket/run/manifest.json", "refusing://bucket/run/manifest.json")


@pytest.mark.parametrize(
    "reading",
    [Location.exists, Location.size, Location.read, Location.sha256, Location.children, Location.delete],
    ids=lambda method: method.__name__,
)
def test_a_refusal_is_raised(reading: Any, place: Location) -> None:
    with pytest.raises(PermissionError):
        reading(place)


def test_a_refused_write_says_what_to_do(place: Location) -> None:
    with pytest.raises(DestinationError, match="write access"):
        place.create(b"x")


@pytest.mark.parametrize("reading", [Location.exists, Location.size, Location.read], ids=lambda method: method.__name__)
def test_a_path_below_a_file_is_not_an_absent_one(reading: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")

    with pytest.raises(NotADirectoryError):
        reading(locate(str(tmp_path / "file" / "below")))
