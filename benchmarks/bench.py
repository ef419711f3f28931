"""Every figure of speed and size, side by side in one run: `make bench`.

    python benchmarks/bench.py                    # everything, under 15 minutes; the table goes to build/bench.md too
    python benchmarks/bench.py --only land        # works whose name holds "land"
    python benchmarks/bench.py --rows 50000 --rounds 1

In each round every work is done in every way, so other load on the machine affects all alike; each measurement has processes
of its own. The table has medians. Compare only figures of one call.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benching.measuring import Figures, measure, measured

_REPORT = Path("build/bench.md")
#: Rows of the second measurement of memory, as a multiple of the first.
_MORE = 4


@dataclass(frozen=True, slots=True)
class Way:
    """
    :param name: in the table.
    :param function: of the work's module, which takes the folder and ``arguments``.
    :param times: what its time is multiplied with, where it does only a part of the work.
    :param with_more: whether its memory is measured with more rows too.
    """

    name: str
    function: str
    arguments: tuple[Any, ...] = ()
    processes: int = 1
    times: int = 1
    with_more: bool = True


@dataclass(frozen=True, slots=True)
class Work:
    """
    :param module: in ``benching``.
    :param prepared: what lies in its folder (``benching.preparing``); works share it.
    :param ways: the first one is what the others are compared with.
    :param rows: as a part of ``--rows``; 0: the work has a size of its own.
    """

    name: str
    module: str
    prepared: str
    ways: Sequence[Way]
    rows: float = 0.0
    rounds: int | None = None
    figures: dict[str, list[Figures]] = field(default_factory=dict)
    more: dict[str, Figures] = field(default_factory=dict)


def _samples(*arguments: Any) -> Way:
    """At more rows they need many times the memory of the machines that this runs on."""
    return Way("samples", "samples", arguments, with_more=False)


WORKS = [
    Work(
        "build",
        "building",
        "text",
        [
            _samples(),
            Way("DuckDB, 1 thread", "duckdb"),
            Way("DuckDB, 2 threads", "duckdb", (2,)),
            Way("polars", "polars"),
            Way("ours", "ours"),
            Way("ours, two builders", "builder", processes=2),
        ],
        rows=1.0,
    ),
    Work(
        "land",
        "landing",
        "text",
        [
            _samples("text"),
            Way("DuckDB", "duckdb", ("text",)),
            Way("polars", "polars", ("text",)),
            Way("ours", "ours"),
            Way("ours, two downloads", "ours", processes=2),
        ],
        rows=1.0,
    ),
    Work(
        "structured answers, 1 % malformed",
        "landing",
        "structured",
        [_samples("structured"), Way("DuckDB", "duckdb", ("structured",)), Way("ours", "ours")],
        rows=0.4,
    ),
    Work(
        "embeddings, 768 floats",
        "landing",
        "embeddings",
        [
            _samples("embeddings"),
            Way("DuckDB", "duckdb", ("embeddings",)),
            Way("polars", "polars", ("embeddings",)),
            Way("ours", "ours"),
        ],
        rows=0.08,
    ),
    Work(
        "build from 10,000 files, 30 ms a call",
        "many_files",
        "many",
        [Way("samples, 1 % of the files", "samples", times=100), Way("ours", "ours")],
        rounds=1,
    ),
    Work(
        "upload 1 GiB", "transferring", "transfer", [Way("google-genai", "google", ("upload",)), Way("ours", "ours", ("upload",))]
    ),
    Work(
        "download 1 GiB",
        "transferring",
        "transfer",
        [Way("google-genai", "google", ("download",)), Way("ours", "ours", ("download",))],
    ),
    Work("finished run of 500 shards, called again", "waiting", "finished", [Way("ours", "finished")]),
    Work("1,000 jobs in one triggerer", "waiting", "waiting", [Way("ours", "triggerer")], rounds=1),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=250_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", default=[""], help="works whose name holds one of these")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        measure(given.measure)
        return
    works = [work for work in WORKS if any(part in work.name for part in given.only)]
    began = time.monotonic()
    load = os.getloadavg()[0]

    def report() -> None:
        """As far as it goes, since another round may take minutes."""
        _REPORT.parent.mkdir(exist_ok=True)
        _REPORT.write_text(_report(works, given.rows, load, time.monotonic() - began))

    with tempfile.TemporaryDirectory(prefix="gemini-batch-bench-") as temporary:
        folder = Path(temporary)
        sizes = {work.prepared: int(given.rows * work.rows) for work in works}
        for prepared, rows in sizes.items():
            _prepare(folder / prepared, prepared, rows)
        for number in range(given.rounds):
            for work in works:
                if number < (work.rounds or given.rounds):
                    _round(work, folder / work.prepared, work.figures)
            _say(f"round {number + 1} of {given.rounds} after {time.monotonic() - began:.0f} s")
            report()
        for prepared, rows in sizes.items():
            shutil.rmtree(folder / prepared)
            if rows:
                _more(folder / prepared, prepared, rows * _MORE, [work for work in works if work.prepared == prepared])
            report()
    print(_REPORT.read_text())


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def _prepare(folder: Path, prepared: str, rows: int) -> None:
    folder.mkdir()
    command = [sys.executable, "-m", "benching.preparing", prepared, str(folder), str(rows)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{prepared} could not be prepared:\n{done.stderr}")


def _round(work: Work, folder: Path, figures: dict[str, list[Figures]]) -> None:
    for way in work.ways:
        found = measured(work.module, way.function, folder, way.arguments, processes=way.processes)
        figures.setdefault(way.name, []).append(found)
        shutil.rmtree(folder / "built", ignore_errors=True)


def _more(folder: Path, prepared: str, rows: int, works: Sequence[Work]) -> None:
    """The memory with more rows: one measurement of each way."""
    _prepare(folder, prepared, rows)
    for work in works:
        for way in work.ways:
            if way.with_more:
                work.more[way.name] = measured(work.module, way.function, folder, way.arguments, processes=way.processes)
                shutil.rmtree(folder / "built", ignore_errors=True)
    shutil.rmtree(folder)
    _say(f"{prepared} with {rows:,} rows")


# --- the table ---------------------------------------------------------------------------------------------------------


def _report(works: Sequence[Work], rows: int, load: float, seconds: float) -> str:
    rounds = max(len(found) for work in works for found in work.figures.values())
    lines = [
        f"Medians of {rounds}, in processes of their own, in turns; {os.cpu_count()} cores, load {load:.1f} before it began, "
        f"{seconds / 60:.0f} minutes. Ratios are of the same round. MB are over imports.",
        "",
        f"| work | way | wall s | lowest to highest | CPU s | ratio, wall | ratio, CPU | MB | MB at {_MORE} times the rows |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for work in works:
        size = f", {int(rows * work.rows):,} rows" if work.rows else ""
        for way in work.ways:
            lines.append(f"| {work.name + size if way is work.ways[0] else ''} | {way.name} | {_row(work, way)} |")
    said = [f"* {work.name}: {_in_words(found.said)}" for work in works for found in work.figures["ours"][-1:] if found.said]
    return "\n".join([*lines, "", *said, ""])


def _row(work: Work, way: Way) -> str:
    own, compared = work.figures[way.name], work.figures[work.ways[0].name]
    pairs = list(zip(compared, own, strict=True))
    times = work.ways[0].times / way.times
    seconds = [one.seconds * way.times for one in own]
    wall = statistics.median(one.seconds / other.seconds for one, other in pairs) * times
    cpu = statistics.median(one.cpu / max(other.cpu, 0.01) for one, other in pairs) * times
    more = work.more.get(way.name)
    cells = [
        f"{statistics.median(seconds):.2f}",
        f"{min(seconds):.2f} to {max(seconds):.2f}",
        f"{statistics.median(one.cpu * way.times for one in own):.2f}",
        *(["", ""] if len(work.ways) == 1 else [f"{wall:.1f}", f"{cpu:.1f}"]),
        f"{statistics.median(one.megabytes for one in own):.0f}",
        "" if more is None else f"{more.megabytes:.0f}",
    ]
    return " | ".join(cells)


def _in_words(said: dict[str, float]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in said.items())


if __name__ == "__main__":
    main()
