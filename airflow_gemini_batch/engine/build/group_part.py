"""What the build of one group keeps for the merge, besides its shards (see ``run.groups``)."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from types import TracebackType
from typing import IO

import numpy as np

from airflow_gemini_batch.engine.build.rows import Rows
from airflow_gemini_batch.engine.build.set_aside import SetAside
from airflow_gemini_batch.engine.run.groups import KEPT_BYTES, GroupFiles, Plan
from airflow_gemini_batch.engine.run.storage import BLOCK_BYTES
from airflow_gemini_batch.engine.source.keys import KeyIndex


class GroupPart:
    """One group of a plan, while it is built. A context manager, for its file."""

    def __init__(self, files: GroupFiles, plan: Plan, group: int) -> None:
        self._files, self._group, self._groups = files, group, len(plan.groups)
        self.in_microseconds = plan.in_microseconds
        self._fingerprints: IO[bytes]

    def __enter__(self) -> GroupPart:
        self._fingerprints = tempfile.TemporaryFile(prefix="gemini-batch-fingerprints-")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._fingerprints.close()

    def number(self, place: int) -> int:
        """The number of a shard in the run, by its place in the group."""
        return place * self._groups + self._group

    def watched(self, blocks: Iterator[Rows]) -> Iterator[Rows]:
        """The rows that go into shards; their fingerprints are noted."""
        for rows in blocks:
            words = rows.words()[:, : KEPT_BYTES // 8]
            words[~rows.has_request()] = 0
            self._fingerprints.write(np.ascontiguousarray(words).tobytes())
            yield rows

    def keep(self, keys: KeyIndex, duplicates: SetAside) -> None:
        files = self._files
        keys.write(files.keys_file(self._group))
        duplicates.write(files.duplicates_file(self._group))
        self._fingerprints.seek(0)
        with files.fingerprints_file(self._group).writing() as out:
            shutil.copyfileobj(self._fingerprints, out, BLOCK_BYTES)
