"""Measure what it costs to find equal rows while a table is read: build time and peak memory, with and without ``dedupe``.

    python benchmarks/dedupe.py                                # 1 and 10 million rows, of which none and 40 % are equal
    python benchmarks/dedupe.py --rows 1000000 --rounds 3

Each measurement has a process of its own, and the two alternate, so that other load on the machine affects them equally. CPU
seconds, elapsed seconds and the peak memory above that of the imports are printed. Compare only figures of one call.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from benching.tables import BLOCK, MODEL, REQUEST, WORDS

from airflow_gemini_batch.engine.build.shards import build_shards
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.request.encoding import compile_request
from airflow_gemini_batch.engine.request.fingerprints import Fingerprinter
from airflow_gemini_batch.engine.run.layout import Run
from airflow_gemini_batch.engine.run.storage import locate
from airflow_gemini_batch.engine.source.open import open_source

#: Of five consecutive rows, so many repeat the text of an earlier row.
_REPEATS_OF_FIVE = 2

#: The dearest that finding equal rows may be: CPU seconds relative to a build without it, and MB above the imports.
_MOST_TIME, _MOST_MEMORY = 1.10, 250


def make_table(file: Path, rows: int, *, equal: bool) -> None:
    """Write a table with about 400 characters of mixed text in each row.

    :param equal: whether 40 % of the rows repeat the text of an earlier one, near or far. Otherwise all texts are different.
    """
    dice = random.Random(1)
    texts = pa.array([" ".join(dice.choices(WORDS, k=60))[:380] for _ in range(BLOCK)])
    numbers = np.random.default_rng(1)
    schema = pa.schema([("id", pa.string()), ("text", pa.string()), ("lang", pa.string())])
    with pq.ParquetWriter(file, schema, use_dictionary=["lang"]) as writer:
        for start in range(0, rows, BLOCK):
            row = np.arange(start, min(start + BLOCK, rows))
            asked = _asked(row, numbers) if equal else row
            text = pc.binary_join_element_wise(pa.array(asked).cast(pa.string()), texts.take(pa.array(asked % BLOCK)), " ")
            lang = pa.array(["de", "en"]).take(pa.array(asked % 2))
            ids = pc.binary_join_element_wise("id", pa.array(row).cast(pa.string()), "-")
            writer.write_table(pa.table([ids, text, lang], schema=schema))


def _asked(rows: Any, numbers: np.random.Generator) -> Any:
    """For each row the number of the row whose text it has: its own, or that of an earlier row that repeats none."""
    groups = rows // 5
    earlier = (numbers.random(len(rows)) * groups).astype(np.int64) * 5
    earlier += numbers.integers(_REPEATS_OF_FIVE, 5, len(rows))
    return np.where((rows % 5 < _REPEATS_OF_FIVE) & (groups > 0), earlier, rows)


def build(table: Path, folder: Path, *, dedupe: bool) -> int:
    """Build a run. Returns the rows that share another row's request."""
    source = open_source(str(table))
    encoder = compile_request(REQUEST, source.schema, MODEL)
    built = build_shards(
        source,
        encoder,
        run=Run(locate(str(folder))),
        key="id",
        carry=["lang"],
        options=BatchOptions(),
        fingerprinter=Fingerprinter(MODEL, encoder.spec),
        dedupe=dedupe,
    )
    return sum(shard.duplicates for shard in built.shards)


def measured(table: Path, *, dedupe: bool) -> dict[str, float]:
    """Measure one build in a new process. What it has written is deleted."""
    folder = table.parent / "run"
    command = [sys.executable, __file__, "--measure", str(table), "--folder", str(folder), *(["--dedupe"] if dedupe else [])]
    figures: dict[str, float] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    shutil.rmtree(folder)
    return figures


def measure(table: Path, folder: Path, dedupe: bool) -> None:
    memory = PeakMemory()
    started, cpu = time.perf_counter(), time.process_time()
    shared = build(table, folder, dedupe=dedupe)
    figures = {"cpu": time.process_time() - cpu, "seconds": time.perf_counter() - started, "MB": memory.stop()}
    print(json.dumps({**figures, "shared": shared}))


class PeakMemory(threading.Thread):
    """Watches how much memory this process takes beyond what it takes now.

    Pages of files do not count: the system takes them back when it needs them. (What getrusage says includes the peak of the
    process that has started this one.)
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._ended = threading.Event()
        self._first = self._peak = _memory()
        self.start()

    def run(self) -> None:
        while not self._ended.wait(0.02):
            self._peak = max(self._peak, _memory())

    def stop(self) -> float:
        """MB."""
        self._ended.set()
        self.join()
        return (self._peak - self._first) / 2**20


def _memory() -> int:
    _, resident, shared, *_ = Path("/proc/self/statm").read_text().split()
    return (int(resident) - int(shared)) * resource.getpagesize()


def compare(rows: int, rounds: int, *, equal: bool) -> bool:
    """Print the figures of one table. Returns whether they are within the limits."""
    with tempfile.TemporaryDirectory(prefix="gemini-batch-dedupe-") as temporary:
        table = Path(temporary) / "table.parquet"
        make_table(table, rows, equal=equal)
        runs = [{dedupe: measured(table, dedupe=dedupe) for dedupe in (False, True)} for _ in range(rounds)]
    print(f"{rows:,} rows, {'40 % equal to an earlier one' if equal else 'all different'}, medians of {rounds}")
    for dedupe, name in ((False, "without"), (True, "dedupe")):
        cpu, seconds, memory = (statistics.median(run[dedupe][figure] for run in runs) for figure in ("cpu", "seconds", "MB"))
        ratio = statistics.median(run[dedupe]["cpu"] / run[False]["cpu"] for run in runs)
        shared = int(runs[0][dedupe]["shared"])
        figures = f"{cpu:8.2f} s of CPU {seconds:8.2f} s {memory:6.0f} MB   {ratio:5.3f} times the CPU   {shared:>9,} share"
        print(f"  {name:<8} {figures}", flush=True)
    return ratio <= _MOST_TIME and memory <= _MOST_MEMORY


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, action="append", help="may be repeated (default: 1 and 10 million)")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--dedupe", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        measure(given.measure, given.folder, given.dedupe)
        return 0
    tables = [(rows, equal) for rows in given.rows or (1_000_000, 10_000_000) for equal in (False, True)]
    within = [compare(rows, given.rounds, equal=equal) for rows, equal in tables]
    print(f"Limits: {_MOST_TIME} times the CPU, {_MOST_MEMORY} MB: {'kept' if all(within) else 'MISSED'}.")
    return 0 if all(within) else 1


if __name__ == "__main__":
    sys.exit(main())
