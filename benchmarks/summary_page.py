"""How large the summary page of a run is, how long it takes to draw, and in how much memory.

    python benchmarks/summary_page.py [--large 1000000]

The tables are written as a run has them, with seven reasons among the dead letters. Each page is drawn in a process of its own;
memory is its peak above what it had after its imports.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from airflow_gemini_batch.engine.costs.total import Basis, Cost
from airflow_gemini_batch.engine.finish.summary import JobSummary, Summary
from airflow_gemini_batch.engine.report.summary_page import redraw_summary_page
from airflow_gemini_batch.engine.run.layout import Manifest, Run, Shard, SourceInfo
from airflow_gemini_batch.engine.run.storage import locate

REASONS = ("REQUEST_ERROR", "BLOCKED", "TRUNCATED", "EMPTY", "INVALID_OUTPUT", "INVALID_INPUT", "MISSING")
BEGUN = dt.datetime(2026, 11, 27, 6, tzinfo=dt.timezone.utc)

#: One row in so many is a dead letter.
DEAD_EVERY = 20


def write_run(folder: Path, rows: int, shards: int) -> None:
    """A finished run of so many rows."""
    dice, random_numbers = random.Random(1), np.random.default_rng(1)
    for table in ("results", "dead_letter"):
        (folder / table).mkdir(parents=True)
    each = rows // shards
    dead = each // DEAD_EVERY
    counts = dict.fromkeys(REASONS, 0)
    jobs = []
    for shard in range(shards):
        reasons = [REASONS[(shard + row) % len(REASONS)] for row in range(dead)]
        for reason in reasons:
            counts[reason] += 1
        write_results(folder / f"results/part-{shard:05d}-0.parquet", each - dead, random_numbers)
        write_letters(folder / f"dead_letter/part-{shard:05d}-0.parquet", shard, reasons)
        begun = BEGUN + dt.timedelta(seconds=dice.uniform(0, 3600))
        ended = begun + dt.timedelta(seconds=dice.lognormvariate(8, 0.7))
        jobs.append(JobSummary(f"batches/{shard}", shard, 0, "SUCCEEDED", each, begun.isoformat(), ended.isoformat(), 0.01))
    run = Run(locate(str(folder)))
    all_shards = tuple(Shard(number, each, each, 1, "") for number in range(shards))
    asked = {"prompt": "Describe ${body} in one line. " * 100}
    manifest = Manifest("r", "gemini-3.6-flash", SourceInfo("a table", None), asked, "id", (), all_shards, BEGUN.isoformat())
    letters = sum(counts.values())
    summary = Summary(
        *("r", "gemini-3.6-flash", "a table", str(folder), rows, rows - letters, letters, counts, {}, {}, tuple(jobs), True),
        *(BEGUN.isoformat(), (BEGUN + dt.timedelta(hours=4)).isoformat()),
        cost=Cost(3.0, Basis("given", "gemini-3.6-flash"), interactive_usd=6.0),
    )
    run.manifest_file.write(msgspec.json.encode(manifest))
    run.summary_file.write(msgspec.json.encode(summary))


def write_results(file: Path, rows: int, random_numbers: np.random.Generator) -> None:
    columns = {
        "key": [f"k{row}" for row in range(rows)],
        "text": ["An answer of some length. " * 12] * rows,
        "prompt_tokens": random_numbers.lognormal(5, 0.8, rows).astype(np.int64),
        "output_tokens": random_numbers.lognormal(6, 0.6, rows).astype(np.int64),
        "response": [f'{{"responseId": "{row}"}}' * 20 for row in range(rows)],
    }
    pq.write_table(pa.table(columns), file, row_group_size=1 << 16)


def write_letters(file: Path, shard: int, reasons: list[str]) -> None:
    request = json.dumps({"contents": [{"parts": [{"text": "word " * 400}]}]})
    columns = {
        "key": [f"d{shard}-{row}" for row in range(len(reasons))],
        "reason": reasons,
        "code": pa.array([13] * len(reasons), pa.int32()),
        "message": ["Internal error encountered."] * len(reasons),
        "request": [request] * len(reasons),
        "response": ['{"error": {"code": 13}}'] * len(reasons),
    }
    pq.write_table(pa.table(columns), file)


def draw(folder: str) -> None:
    """In a process of its own: draw the page, and print what that took."""
    import jinja2  # noqa: F401

    before = peak_megabytes()
    wall, cpu = time.perf_counter(), time.process_time()
    size = redraw_summary_page(Run(locate(folder)))
    more = peak_megabytes() - before
    took = f"{time.process_time() - cpu:.1f} CPU s | {time.perf_counter() - wall:.1f} s"
    print(f"{size / 1000:.0f} kB | {took} | {more:.0f} MB")


def peak_megabytes() -> float:
    """Of this process alone. ``getrusage`` would count what its parent had when it started it."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--large", type=int, default=1_000_000, help="rows of the largest run (default: %(default)s)")
    parser.add_argument("--draw", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.draw:
        draw(arguments.draw)
        return
    for rows, shards in ((100_000, 1_000), (arguments.large // 4, 20), (arguments.large, 20)):
        with tempfile.TemporaryDirectory() as folder:
            write_run(Path(folder) / "run", rows, shards)
            command = [sys.executable, __file__, "--draw", f"{folder}/run"]
            drawn = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
            print(f"{rows:,} rows in {shards:,} shards | {drawn}", flush=True)


if __name__ == "__main__":
    main()
