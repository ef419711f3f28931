"""Search for a secret in files, databases and exceptions, in plain text and in simple encodings.

A search that finds nothing proves something only if it would have found the secret. So ``test_search.py`` plants the key in every
kind of location that is searched here.
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


def found_in_folder(key: str, folder: Path, *, excluding: tuple[Path, ...] = ()) -> list[str]:
    """The files below a folder that hold the key."""
    files = [file for file in sorted(folder.rglob("*")) if file.is_file() and not file.is_symlink()]
    searched = [file for file in files if not any(file.is_relative_to(other) for other in excluding)]
    return [str(file.relative_to(folder)) for file in searched if any(_is_in(key, content) for content in _contents(file))]


def is_in_text(key: str, *texts: str) -> bool:
    return any(_is_in(key, text.encode()) for text in texts)


def text_of(error: BaseException) -> str:
    """Everything that an exception could reveal: the traceback with the chain of causes, arguments and attributes."""
    texts = ["".join(traceback.format_exception(error))]
    seen: list[BaseException] = []
    queue: list[BaseException | None] = [error]
    while queue:
        each = queue.pop()
        if each is not None and each not in seen:
            seen.append(each)
            texts += [str(each), repr(each), repr(each.args), repr(vars(each))]
            queue += [each.__cause__, each.__context__]
    return "\n".join(texts)


def _is_in(key: str, content: bytes) -> bool:
    if b"%" in content and key.encode() in urllib.parse.unquote_to_bytes(content):
        return True
    return any(form in content for form in _encoded(key))


def _encoded(key: str) -> Iterator[bytes]:
    """The key as it is, reversed, in hex, in UTF-16, and as a part of any base64 text."""
    plain = key.encode()
    yield plain
    yield plain[::-1]
    yield plain.hex().encode()
    yield key.encode("utf-16-le")
    for shift in range(3):
        # Without the first and last characters, which depend on what is next to the key.
        yield base64.b64encode(b"\0" * shift + plain)[4 if shift else 0 : -4]


def _contents(file: Path) -> Iterator[bytes]:
    """A file's bytes, and the values that only a reader of its format can see."""
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
    """Every value of every table. Long values are split over several pages of the file, so its bytes do not show them whole."""
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
