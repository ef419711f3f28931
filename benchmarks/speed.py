"""Measure how fast tables become request files and output files become tables, compared with the official samples.

    python benchmarks/speed.py                    # both, 200,000 rows, three rounds
    python benchmarks/speed.py build --rows 1000000

Each measurement has a process of its own, and the implementations alternate, so that other load on the machine affects them
equally. CPU seconds, elapsed seconds and peak memory are printed. Compare only figures of one call.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from airflow_gemini_batch.engine.build.shards import build_shards
from airflow_gemini_batch.engine.collect.land import Ending, land
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.request.encoding import compile_request
from airflow_gemini_batch.engine.request.fingerprints import Fingerprinter
from airflow_gemini_batch.engine.run.layout import Manifest, Run, SourceInfo
from airflow_gemini_batch.engine.run.storage import locate
from airflow_gemini_batch.engine.source.open import open_source
from airflow_gemini_batch.engine.specs import GenerateRequest

WORDS = [
    "Die", "schnelle", "braune", "Füchsin", "springt", "über", "den", "faulen", "Hund", "and", "the", "quick", "brown", "fox",
    '"quoted"', "back\\slash", "line\nbreak", "日本", "emoji", "😀", "data",
]  # fmt: skip
REQUEST = GenerateRequest(prompt="Summarise in ${lang}: ${text}", config={"temperature": 0.2})
MODEL = "gemini-3.6-flash"
BLOCK = 50_000


def make_table(folder: Path, rows: int) -> None:
    """Write a table with about 400 characters of mixed text in each row."""
    dice = random.Random(1)
    texts = [" ".join(dice.choices(WORDS, k=60))[:395] for _ in range(BLOCK)]
    schema = pa.schema([("id", pa.string()), ("text", pa.string()), ("lang", pa.string())])
    with pq.ParquetWriter(folder / "table.parquet", schema) as writer:
        for start in range(0, rows, BLOCK):
            count = min(BLOCK, rows - start)
            ids = [f"id-{row:08d}" for row in range(start, start + count)]
            writer.write_table(pa.table({"id": ids, "text": texts[:count], "lang": ["de", "en"] * (count // 2)}, schema=schema))


def make_output(folder: Path) -> None:
    """Build a run, and write the output lines that the job of its only shard might have produced."""
    run = our_build(folder)
    (shard,) = run.built().shards
    with run.requests_file(shard.id).open() as requests, run.responses_file(shard.id).writing() as output:
        for line in requests:
            request = json.loads(line)
            text = request["request"]["contents"][0]["parts"][0]["text"]
            answer = {
                "candidates": [{"content": {"role": "model", "parts": [{"text": text}]}, "finishReason": "STOP", "index": 0}],
                "usageMetadata": {"promptTokenCount": 90, "candidatesTokenCount": 80, "totalTokenCount": 170},
                "modelVersion": MODEL,
                "responseId": request["key"],
            }
            output.write(json.dumps({"response": answer, "key": request["key"]}, ensure_ascii=False).encode() + b"\n")


def our_build(folder: Path) -> Run:
    run = Run(locate(str(folder / "run")))
    source = open_source(str(folder / "table.parquet"))
    encoder = compile_request(REQUEST, source.schema, MODEL)
    options = BatchOptions(max_shard_requests=10_000_000)
    fingerprinter = Fingerprinter(MODEL, encoder.spec)
    built = build_shards(source, encoder, run=run, key="id", carry=(), options=options, fingerprinter=fingerprinter, dedupe=True)
    asked = Manifest("run", MODEL, SourceInfo("a table", None), encoder.spec, "id", (), built.shards, "2026-01-01T00:00:00+00:00")
    run.manifest_file.write(msgspec.json.encode(asked))
    return run


def samples_build(folder: Path) -> None:
    import pandas as pd

    frame = pd.read_parquet(folder / "table.parquet")
    with open(folder / "requests.jsonl", "w") as file:
        for row in frame.itertuples():
            request = {
                "contents": [{"parts": [{"text": f"Summarise in {row.lang}: {row.text}"}], "role": "user"}],
                "generation_config": {"temperature": 0.2},
            }
            file.write(json.dumps({"key": row.id, "request": request}) + "\n")
        file.flush()
        os.fsync(file.fileno())


def our_land(folder: Path) -> None:
    run = Run(locate(str(folder / "run")))
    (shard,) = run.built().shards
    land(run, shard, Ending(job="batches/one"))


def samples_land(folder: Path) -> None:
    import pandas as pd

    rows = []
    for line in (folder / "run/_run/responses/shard-00000-0.jsonl").read_bytes().decode().split("\n"):
        if line:
            read = json.loads(line)
            candidate, usage = read["response"]["candidates"][0], read["response"]["usageMetadata"]
            row = {"key": read["key"], "text": candidate["content"]["parts"][0]["text"], **usage}
            rows.append({**row, "finish_reason": candidate["finishReason"], "response": json.dumps(read["response"])})
    pd.DataFrame(rows).to_parquet(folder / "samples.parquet", compression="zstd")


#: The measured steps, each as the samples do it and as a run does it.
IMPLEMENTATIONS: dict[str, dict[str, Callable[[Path], object]]] = {
    "build": {"samples": samples_build, "ours": our_build},
    "land": {"samples": samples_land, "ours": our_land},
}


def measured(step: str, name: str, folder: Path) -> dict[str, float]:
    """Measure one implementation of a step in a new process."""
    command = [sys.executable, __file__, step, "--measure", name, "--folder", str(folder)]
    figures: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return figures


def measure(step: str, name: str, folder: Path) -> None:
    started, cpu = time.perf_counter(), time.process_time()
    IMPLEMENTATIONS[step][name](folder)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"cpu": time.process_time() - cpu, "seconds": time.perf_counter() - started, "MB": peak}))


def compare(step: str, rows: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory(prefix="gemini-batch-speed-") as temporary:
        folder = Path(temporary)
        make_table(folder, rows)
        if step == "land":
            make_output(folder)
        runs = [{name: measured(step, name, folder) for name in IMPLEMENTATIONS[step]} for _ in range(rounds)]
    print(f"{step}: {rows:,} rows, medians of {rounds}")
    for name in IMPLEMENTATIONS[step]:
        cpu, seconds, peak = (statistics.median(run[name][figure] for run in runs) for figure in ("cpu", "seconds", "MB"))
        ratio = statistics.median(run["samples"]["cpu"] / run[name]["cpu"] for run in runs)
        print(f"  {name:<8} {cpu:7.2f} s of CPU  {seconds:7.2f} s  {peak:7.0f} MB   {ratio:4.1f} times as fast as the samples")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", nargs="?", choices=list(IMPLEMENTATIONS), help="default: both")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        measure(given.step, given.measure, given.folder)
        return
    for step in [given.step] if given.step else IMPLEMENTATIONS:
        compare(step, given.rows, given.rounds)


if __name__ == "__main__":
    main()
