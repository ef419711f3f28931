"""The search finds a planted key. Otherwise, finding nothing would prove nothing."""

from __future__ import annotations

import base64
import contextlib
import gzip
import sqlite3
import zlib
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from tests.integration.canary.search import found_in_folder, is_in_text, text_of

KEY = "AIzaPlantedOnPurpose-0123456789"


def _database(file: Path, value: object) -> None:
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE xcom (value)")
        connection.execute("INSERT INTO xcom VALUES (?)", (value,))
        connection.commit()


LOCATIONS: dict[str, Callable[[Path], object]] = {
    "log": lambda file: file.write_text(f"2026-11-22 ERROR GET /v1beta/batches?key={KEY} 403\n"),
    "URL": lambda file: file.write_text("key=" + "".join(f"%{ord(char):02X}" if char == "-" else char for char in KEY)),
    "base64": lambda file: file.write_bytes(base64.b64encode(b"x-goog-api-key: " + KEY.encode() + b"\r\n")),
    "hex": lambda file: file.write_text((b"key " + KEY.encode()).hex()),
    "gzip": lambda file: file.write_bytes(gzip.compress(KEY.encode())),
    "parquet": lambda file: pq.write_table(pa.table({"response": [KEY] * 3}), file, compression="zstd"),
    "arrow": lambda file: pa.feather.write_feather(pa.table({"key": [KEY]}), str(file), compression="zstd"),
    "database": lambda file: _database(file, f'{{"api_key": "{KEY}"}}'),
    "long value of a database": lambda file: _database(file, ("x" * 4000 + KEY) * 50),
    "compressed value of a database": lambda file: _database(file, zlib.compress(KEY.encode())),
}


@pytest.mark.parametrize("location", LOCATIONS)
def test_a_planted_key_is_found(location: str, tmp_path: Path) -> None:
    (tmp_path / "some" / "folder").mkdir(parents=True)
    (tmp_path / "other.txt").write_text("nothing here")
    LOCATIONS[location](tmp_path / "some" / "folder" / "file")

    assert found_in_folder(KEY, tmp_path) == ["some/folder/file"]
    assert found_in_folder(KEY, tmp_path, excluding=(tmp_path / "some",)) == []


def test_a_key_in_a_cause_is_found() -> None:
    try:
        try:
            raise ValueError({"headers": {"x-goog-api-key": KEY}})
        except ValueError:
            raise RuntimeError("something else") from None
    except RuntimeError as error:
        text = text_of(error)

    assert is_in_text(KEY, text)
    assert not is_in_text(KEY, "something else")
