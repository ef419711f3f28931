"""The rows that a refusal names.

The service checks every request when a job is created, and refuses the whole job for one that it cannot read. Its error names
lines of the input file (``Error on line 3: …``, counted from 1) or requests of the call (``…requests[2].request``, from 0).
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import re
import tempfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from airflow_gemini_batch.engine.errors import CorruptRunError, RefusedError
from airflow_gemini_batch.engine.printable import printable
from airflow_gemini_batch.engine.run.layout import Run, Shard
from airflow_gemini_batch.engine.run.request_lines import read_keys

_LINE = re.compile(r"^\s*Error on line (\d+)\b", re.MULTILINE)
_REQUEST = re.compile(r"\brequests\[(\d+)\]")


def refused_rows(error: RefusedError, keys: Sequence[str]) -> dict[str, str]:
    """Key -> what the service says about its request; empty when the refusal is not about single rows.

    :param keys: of the requests that were sent, in their order.
    """
    found = list(_named(error.received_message))
    if error.code != 400 or not all(0 <= number < len(keys) for number, _ in found):
        return {}
    rows: dict[str, str] = {}
    for number, words in found:
        rows.setdefault(keys[number], printable(words))  # they go to the ledger, the log and the table
    return rows


@dataclass(frozen=True, slots=True)
class Outgoing:
    """The requests of a shard that are sent: all of its file, without the rows that the service has refused to take.

    :param refused: keys of those rows.
    """

    run: Run
    shard: Shard
    refused: Collection[str]

    @property
    def is_empty(self) -> bool:
        return len(self.refused) >= self.shard.requests

    def keys(self) -> list[str]:
        """In the order of the file."""
        with self.open() as file:
            return list(read_keys(file))

    @contextlib.contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """The lines as a file. Raises CorruptRunError when they are not those that were built."""
        requests = self.run.requests_file(self.shard.id)
        self._require_built(requests.sha256())
        with requests.open() as whole:
            if not self.refused:
                yield whole
                return
            with tempfile.TemporaryFile() as remaining:
                for line in whole:
                    if next(read_keys([line])) not in self.refused:
                        remaining.write(line)
                remaining.seek(0)
                yield remaining

    def read(self) -> bytes:
        """The same in memory, for a small shard."""
        content = self.run.requests_file(self.shard.id).read()
        self._require_built(hashlib.sha256(content).hexdigest())
        if not self.refused:
            return content
        return b"".join(line for line in io.BytesIO(content) if next(read_keys([line])) not in self.refused)

    def _require_built(self, found: str) -> None:
        if found != self.shard.sha256:
            raise CorruptRunError(
                f"{self.run.requests_file(self.shard.id)} has sha256 {found[:12]}…, the manifest says {self.shard.sha256[:12]}…: "
                "it was changed after the build. Nothing was sent. Restore it, or start over with if_exists='replace'."
            )

    def identity(self) -> tuple[int, str]:
        """Size in bytes, and sha256 as hex digits."""
        if not self.refused:
            return self.shard.bytes, self.shard.sha256
        with self.open() as file:
            digest = hashlib.sha256()
            size = 0
            for line in file:
                size += len(line)
                digest.update(line)
            return size, digest.hexdigest()


def _named(message: str) -> Iterator[tuple[int, str]]:
    """Position from 0, and the words about it."""
    lines = list(_LINE.finditer(message))
    if lines:
        ends = [*(match.start() for match in lines[1:]), len(message)]
        for match, end in zip(lines, ends, strict=True):
            yield int(match[1]) - 1, message[match.start() : end].strip()
        return
    for line in message.splitlines():
        for match in _REQUEST.finditer(line):
            yield int(match[1]), line.strip()
