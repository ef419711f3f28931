"""Measure how long it takes to compare two runs, and how much memory.

    python benchmarks/compare.py                   # a million rows on each side
    python benchmarks/compare.py --rows 250000

The rows of the candidate are in another order. Two scorers (yes or no, and a number), answers of 400 characters with three
structured fields, a carried column for slices and one for clusters, 1 % dead letters on each side. Measured is a whole
``compare``, without clusters and with them: reading, pairing, statistics, examples, and both files. The comparison must know
what was put into the runs.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from dedupe import PeakMemory
from finished_runs import scores_of, write_run

from airflow_gemini_batch.evals.scores import ScorerTotals

#: Rows of a part, and the answer's characters.
_PART_ROWS, _TEXT = 50_000, 400
_CARRIED = ("question", "language", "document")
#: At a million rows.
_MOST_SECONDS, _MOST_MEMORY = 60.0, 500.0
_LANGUAGES = np.array(["de", "en", "fr", "ja", "pt"])
_WORDS = np.frombuffer(b"the quick brown fox jumps over the lazy dog and runs ", "S1")


def make_run(destination: Path, rows: int, *, gain: float, seed: int, shuffled: bool) -> None:
    """A run whose answers are right in 70 % of the rows; ``gain`` of the wrong ones become right, and 1 % are dead letters."""
    dice, own = np.random.default_rng(1), np.random.default_rng(seed)
    right = dice.random(rows) < 0.7
    right |= own.random(rows) < gain
    length = dice.normal(0.5, 0.1, rows) + own.normal(0, 0.02, rows)
    lost = own.random(rows) < 0.01
    order = own.permutation(rows) if shuffled else np.arange(rows)
    results, letters, scores = [], [], []
    for start in range(0, rows, _PART_ROWS):
        at = order[start : start + _PART_ROWS]
        answered, dead = at[~lost[at]], at[lost[at]]
        results.append(_answers(answered, own))
        letters.append(pa.table({**_keys(dead), "reason": ["BLOCKED"] * len(dead), "cost_usd": np.full(len(dead), 1e-4)}))
        for some, status in ((answered, "scored"), (dead, "missing")):
            scores.append(_scores(some, status, right, length))
    totals = [
        ScorerTotals("right", "boolean", rows - int(lost.sum()), int(lost.sum()), 0, 0, None, 0.0, 1.0),
        ScorerTotals("length", "float", rows - int(lost.sum()), int(lost.sum()), 0, 0, None, -5.0, 5.0),
    ]
    write_run(destination, results, letters, scores, totals, run_id=destination.name, carry=_CARRIED)


def _keys(rows: Any) -> dict[str, Any]:
    keys = np.char.add("question-", np.char.zfill(rows.astype(str), 9))
    return {
        "key": pa.array(keys.astype(object), pa.string()),
        "question": pa.array(np.char.add("What is ", rows.astype(str)).astype(object), pa.string()),
        "language": pa.array(_LANGUAGES[rows % 5].astype(object), pa.string()),
        "document": pa.array(np.char.add("d", (rows // 20).astype(str)).astype(object), pa.string()),
    }


def _answers(rows: Any, dice: np.random.Generator) -> pa.Table:
    texts = _WORDS[dice.integers(0, len(_WORDS), (len(rows), _TEXT))].tobytes()
    offsets = np.arange(len(rows) + 1, dtype=np.int32) * _TEXT
    parsed = pa.StructArray.from_arrays(
        [
            pa.array(dice.integers(0, 9, len(rows))),
            pa.array(_LANGUAGES[dice.integers(0, 5, len(rows))].astype(object), pa.string()),
            pa.ListArray.from_arrays(np.arange(len(rows) + 1, dtype=np.int32) * 2, pa.array(dice.integers(0, 3, 2 * len(rows)))),
        ],
        names=["grade", "language", "sources"],
    )
    tokens = dice.lognormal(4, 0.5, len(rows)).astype(np.int64)
    return pa.table(
        {
            **_keys(rows),
            "text": pa.Array.from_buffers(pa.string(), len(rows), [None, pa.py_buffer(offsets), pa.py_buffer(texts)]),
            "parsed": parsed,
            "finish_reason": ["STOP"] * len(rows),
            "prompt_tokens": np.full(len(rows), 120),
            "output_tokens": tokens,
            "thoughts_tokens": np.zeros(len(rows), np.int64),
            "total_tokens": tokens + 120,
            "cost_usd": 1e-6 * (tokens + 120),
        }
    )


def _scores(rows: Any, status: str, right: Any, length: Any) -> pa.Table:
    """As ``score`` writes them: some rows by one scorer, then the same rows by the other."""
    parts = []
    for start in range(0, len(rows), 4096):
        some = rows[start : start + 4096]
        same: dict[str, Any] = {"repeat": np.zeros(len(some), np.int32), "status": [status] * len(some), **_keys(some)}
        for scorer, values in (("right", right[some].astype(float)), ("length", length[some])):
            scores: dict[str, Any] = {"score": values} if status == "scored" else {}
            parts.append(scores_of({**same, **scores, "scorer": [scorer] * len(some)}))
    return pa.concat_tables(parts) if parts else scores_of({"key": []})


def measure(folder: Path, cluster: str | None) -> None:
    import pandas  # noqa: F401 - not ours to count
    import scipy.special  # noqa: F401

    from airflow_gemini_batch.evals.comparing.compare import compare

    memory = PeakMemory()
    started, cpu = time.perf_counter(), time.process_time()
    sides = (str(folder / "a"), str(folder / "b"))
    found = compare(*sides, primary="right", margin=0.01, slices="language", cluster=cluster, name=cluster or "default")
    figures = {
        "wall": time.perf_counter() - started,
        "cpu": time.process_time() - cpu,
        "MB": memory.stop(),
        "paired": found.keys.paired,
        "difference": found["right"].difference,
        "verdict": found.verdict,
        "clusters": found.clusters,
        "shown": [len(found.fields), len(found.slices), len(found.examples)],
    }
    print(json.dumps(figures))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="on each side (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=1, help="measure so often (default: %(default)s)")
    parser.add_argument("--keep", type=Path, help="a folder for the runs, which are used again if they are there")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--cluster", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        measure(given.measure, given.cluster)
        return 0
    with tempfile.TemporaryDirectory(prefix="gemini-batch-compare-") as made:
        folder = given.keep or Path(made)
        if not (folder / "b" / "summary.json").exists():
            make_run(folder / "a", given.rows, gain=0.0, seed=2, shuffled=False)
            make_run(folder / "b", given.rows, gain=0.1, seed=3, shuffled=True)
        rounds = [_round(folder, given.rows, cluster) for _ in range(given.rounds) for cluster in (None, "document")]
    return 0 if all(rounds) else 1


def _round(folder: Path, rows: int, cluster: str | None) -> bool:
    shutil.rmtree(folder / "b" / "comparisons", ignore_errors=True)
    command = [sys.executable, __file__, "--measure", str(folder), *(["--cluster", cluster] if cluster else [])]
    found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    grouped = f" in {found['clusters']:,} clusters" if cluster else ""
    measured = f"{found['wall']:.1f} s, {found['cpu']:.1f} s of CPU, {found['MB']:.0f} MB over imports"
    print(f"{rows:,} rows on each side{grouped}: {measured}")
    right = abs(found["difference"] - 0.03) < 0.005 and abs(found["paired"] / rows - 0.98) < 0.01 and found["verdict"] == "pass"
    if not right or found["shown"] != [3, 10, 100]:
        print(f"The comparison is wrong: {found}")
        return False
    return rows > 1_000_000 or (found["wall"] <= _MOST_SECONDS and found["MB"] <= _MOST_MEMORY)


if __name__ == "__main__":
    sys.exit(main())
