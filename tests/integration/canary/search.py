"""Looking for a secret wherever it could have gone: in plain text and thinly veiled, in files, databases and exceptions.

A search that finds nothing proves something only when it would have found it: ``test_search.py`` plants the key in every kind of
place that is searched here.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import sqlite3
import traceback
import urllib.parse
import zlib
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

_SQLITE = b"SQLite format 3\0"


def found_in_folder(key: str, folder: Path, *, apart_from: tuple[Path, ...] = ()) -> list[str]:
    """The files below a folder that hold the key."""
    files = [file for file in sorted(folder.rglob("*")) if file.is_file() and not file.is_symlink()]
    searched = [file for file in files if not any(file.is_relative_to(other) for other in apart_from)]
    return [str(file.relative_to(folder)) for file in searched if any(_is_in(key, content) for content in _contents(file))]


def is_in_text(key: str, *texts: str) -> bool:
    return any(_is_in(key, text.encode()) for text in texts)


def text_of(error: BaseException) -> str:
    """All that an exception could tell a log or a person: traceback with the chain of causes, arguments, attributes."""
    told = ["".join(traceback.format_exception(error))]
    seen: list[BaseException] = []
    queue: list[BaseException | None] = [error]
    while queue:
        each = queue.pop()
        if each is not None and each not in seen:
            seen.append(each)
            told += [str(each), repr(each), repr(each.args), repr(vars(each))]
            queue += [each.__cause__, each.__context__]
    return "\n".join(told)


def _is_in(key: str, content: bytes) -> bool:
    if b"%" in content and key.encode() in urllib.parse.unquote_to_bytes(content):
        return True
    return any(veiled in content for veiled in _veils(key))


def _veils(key: str) -> Iterator[bytes]:
    """The key, and the key as it looks backwards, in hex, in UTF-16 and inside any base64."""
    plain = key.encode()
    yield plain
    yield plain[::-1]
    yield plain.hex().encode()
    yield key.encode("utf-16-le")
    for shift in range(3):
        # Without the characters that depend on the key's neighbours.
        yield base64.b64encode(b"\0" * shift + plain)[4 if shift else 0 : -4]


def _contents(file: Path) -> Iterator[bytes]:
    """A file as it is, and what is readable in it only with the right reader."""
    content = file.read_bytes()
    yield content
    if content.startswith(_SQLITE):
        yield from _rows(file)
    elif content.startswith(b"PAR1"):
        yield from _table(pq.read_table(file))
    elif content.startswith(b"ARROW1"):
        yield from _table(pa.ipc.open_file(file).read_all())
    elif content.startswith(b"\x1f\x8b"):
        yield gzip.decompress(content)


def _rows(database: Path) -> Iterator[bytes]:
    """Every value of every table: long ones are spread over the file's pages."""
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        connection.text_factory = bytes
        names = [row[0].decode() for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for name in names:
            for row in connection.execute(f'SELECT * FROM "{name}"'):  # noqa: S608
                for value in row:
                    if isinstance(value, bytes):
                        yield value
                        with contextlib.suppress(zlib.error):
                            yield zlib.decompress(value)


def _table(table: pa.Table) -> Iterator[bytes]:
    for batch in table.to_batches():
        yield json.dumps(batch.to_pylist(), default=repr, ensure_ascii=False).encode()
    yield repr(table.schema.metadata).encode()
