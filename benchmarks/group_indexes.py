"""Measure what the merge of groups takes to compare the keys and requests of all groups: CPU time and memory.

    python benchmarks/group_indexes.py                            # 10 million rows in 10 groups
    python benchmarks/group_indexes.py --rows 100000000           # needs 6 GB in TMPDIR

The groups' indexes are written as their builders leave them; of 1,000 requests one is another group's too. Not measured is the
writing of the shards that lose rows.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from dedupe import PeakMemory
from reuse import mixed

from airflow_gemini_batch.engine.build.group_indexes import _doubled_hashes, moved_rows
from airflow_gemini_batch.engine.run.groups import BuiltGroup, GroupFiles
from airflow_gemini_batch.engine.run.layout import Run, Shard
from airflow_gemini_batch.engine.run.storage import locate

_GROUPS = 10
#: One of so many requests is that of a row in the first group.
_SHARED = 1_000
#: MB above the imports, besides 16 bytes for each request that groups have in common.
_MOST_MEMORY = 250
_AT_ONCE = 1 << 20


def write_group(files: GroupFiles, group: int, rows: int) -> None:
    """The index files of one group, in which no two rows are alike."""
    files.folder.fs.makedirs(files.folder.path, exist_ok=True)
    with open(files.keys_file(group).path, "wb") as keys, open(files.fingerprints_file(group).path, "wb") as fingerprints:
        for start in range(0, rows, _AT_ONCE):
            number = np.arange(start, min(start + _AT_ONCE, rows), dtype=np.uint64)
            own = number + np.uint64(group * rows)
            keys.write(mixed(own).tobytes())  # sorted or not makes no difference for the merge
            asked = np.where(number % np.uint64(_SHARED) == 0, number, own)
            words = [mixed(asked + np.uint64(part << 60)) for part in (1, 2)]
            fingerprints.write(np.stack(words, axis=1).tobytes())


def measure(step: str, work: Any) -> tuple[Any, float]:
    memory, cpu, begun = PeakMemory(), time.process_time(), time.perf_counter()
    found = work()
    megabytes = memory.stop()
    print(f"{step}: {time.process_time() - cpu:.1f} s of CPU, {time.perf_counter() - begun:.1f} s, {megabytes:.0f} MB")
    return found, megabytes


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000, help="of all groups together (default: %(default)s)")
    rows = parser.parse_args().rows // _GROUPS
    with tempfile.TemporaryDirectory(prefix="gemini-batch-groups-") as folder:
        files = GroupFiles(Run(locate(Path(folder) / "run")), "0123456789abcdef")
        for group in range(_GROUPS):
            write_group(files, group, rows)
        groups = [BuiltGroup(group, (Shard(group, rows, rows, 0, ""),)) for group in range(_GROUPS)]
        doubled, of_keys = measure("keys", lambda: _doubled_hashes(files, groups))
        moves, of_requests = measure("requests", lambda: moved_rows(files, groups))
    expected = (_GROUPS - 1) * -(-rows // _SHARED)
    found = f"{len(doubled)} keys and {len(moves.rows):,} of {rows * _GROUPS:,} requests"
    print(f"{found} are in several groups (expected: 0 and {expected:,})")
    most = _MOST_MEMORY + 3 * 16 * expected / 2**20
    return 0 if max(of_keys, of_requests) <= most and (len(doubled), len(moves.rows)) == (0, expected) else 1


if __name__ == "__main__":
    sys.exit(main())
