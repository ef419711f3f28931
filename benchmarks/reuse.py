"""Measure how long it takes to look up the rows of a table in the answers of an earlier run, and how much memory.

    python benchmarks/reuse.py                   # 10 million rows, an index of 10 million answers
    python benchmarks/reuse.py --rows 1000000

Of the rows, 99 % have an answer. Measured are the merge of the index, which is done once, and the lookups; not the reading of the
table or the copying of the results.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from dedupe import PeakMemory

from airflow_gemini_batch.engine.build.earlier_runs import EarlierRun
from airflow_gemini_batch.engine.build.reuse import Answers
from airflow_gemini_batch.engine.run.bucket_sort import words_of
from airflow_gemini_batch.engine.run.layout import Run
from airflow_gemini_batch.engine.run.storage import locate

#: Rows of a block, as a source hands them out.
_BLOCK = 4096
_INDEX_BLOCK = 1 << 16
#: MB above the imports.
_MOST_MEMORY = 250
_NOW = dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc)


def fingerprints(numbers: Any) -> Any:
    """32 bytes for each number, which look like hashes."""
    words = np.stack([mixed(numbers + np.uint64(part << 56)) for part in range(4)], axis=1)
    return words.astype(">u8").tobytes()


def mixed(values: Any) -> Any:
    """The finaliser of splitmix64."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def make_index(file: Path, answers: int) -> None:
    """Write an index of answers to the requests 0, 1, …, as ``engine.build.answer_index`` does."""
    order = np.argsort(mixed(np.arange(answers, dtype=np.uint64))).astype(np.uint64)
    schema = pa.schema(
        [
            pa.field("fingerprint", pa.binary(32), nullable=False),
            pa.field("part", pa.dictionary(pa.int32(), pa.string()), nullable=False),
            pa.field("row", pa.int64(), nullable=False),
            pa.field("answered_at", pa.timestamp("us", "UTC"), nullable=False),
            pa.field("cost_usd", pa.float64()),
        ]
    )
    with pq.ParquetWriter(file, schema, compression="zstd", use_dictionary=["part"]) as writer:
        for start in range(0, answers, _INDEX_BLOCK):
            rows = order[start : start + _INDEX_BLOCK]
            count = len(rows)
            found = pa.Array.from_buffers(pa.binary(32), count, [None, pa.py_buffer(fingerprints(rows))])
            part = pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array(["part-00000-0.parquet"]))
            columns = [found, part, pa.array(rows.astype(np.int64)), pa.array([_NOW] * count, schema.field(3).type)]
            writer.write_batch(pa.RecordBatch.from_arrays([*columns, pa.array(np.full(count, 0.001))], schema=schema))


def measure(file: Path, rows: int) -> None:
    run = Run(locate(str(file.parent)))
    memory = PeakMemory()
    started = time.process_time()
    with Answers([EarlierRun(run, locate(str(file)), _NOW.isoformat(), rows, (), has_fingerprints=True)]) as answers:
        merged = time.process_time()
        hits = 0
        spent = 0.0
        for start in range(0, rows, _BLOCK):
            numbers = np.arange(start, min(start + _BLOCK, rows), dtype=np.uint64)
            numbers[numbers % np.uint64(100) == 37] += np.uint64(rows)
            words = words_of(fingerprints(numbers))
            has_request = np.ones(len(numbers), bool)
            before = time.process_time()
            hits += int((answers.find(words, has_request) >= 0).sum())
            spent += time.process_time() - before
    print(json.dumps({"merge": merged - started, "find": spent, "hits": hits, "MB": memory.stop()}))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000, help="rows of the table, and answers (default: %(default)s)")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        measure(given.measure, given.rows)
        return 0
    with tempfile.TemporaryDirectory(prefix="gemini-batch-reuse-") as folder:
        file = Path(folder) / "index.parquet"
        make_index(file, given.rows)
        command = [sys.executable, __file__, "--measure", str(file), "--rows", str(given.rows)]
        found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    print(f"{given.rows:,} rows, an index of {given.rows:,} answers, {found['hits']:,} found")
    for name in ("merge", "find"):
        print(f"  {name:<6} {found[name]:8.2f} s of CPU   {found[name] / given.rows * 1e9:6.0f} ns for each row")
    print(f"  memory {found['MB']:8.0f} MB above the imports")
    if found["MB"] > _MOST_MEMORY:
        print(f"More than {_MOST_MEMORY} MB.")
    return int(found["MB"] > _MOST_MEMORY or found["hits"] != sum(number % 100 != 37 for number in range(given.rows)))


if __name__ == "__main__":
    sys.exit(main())
