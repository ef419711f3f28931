"""How long the page of a run with many shards takes to load, on storage where each call takes a while.

    python benchmarks/page.py [--shards 1000] [--milliseconds 30]

The run is a real one, made on the emulator. A load is what the API server does for the page of a run: it reads the run's folder
and fills the template. Each line is one load in a process that has never seen the run, then one that has.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
from fsspec.implementations.memory import MemoryFileSystem

from airflow_gemini_batch import Endpoint, GenerateRequest, run_batch
from airflow_gemini_batch.emulator import Emulator
from airflow_gemini_batch.engine.report.board import read_board
from airflow_gemini_batch.engine.run.layout import Run
from airflow_gemini_batch.engine.run.storage import locate
from airflow_gemini_batch.plugin.page.access import Place
from airflow_gemini_batch.plugin.page.rendering import render, section
from airflow_gemini_batch.plugin.page.run_view import RunView

#: What the page asks for again while the run goes on.
SECTIONS = ("head", "board", "letters", "timeline")

LOADS = 5


class SlowStore(MemoryFileSystem):  # type: ignore[misc]  # fsspec has no types
    """An object store where each call takes ``seconds``, of which ``calls`` were made."""

    protocol = "slow"
    store: dict[str, Any] = {}  # noqa: RUF012  # as in the class above it, shared by all instances
    pseudo_dirs: list[str] = [""]  # noqa: RUF012
    seconds = 0.0
    calls = 0
    lock = threading.Lock()

    @classmethod
    def wait(cls) -> None:
        with cls.lock:
            cls.calls += 1
        time.sleep(cls.seconds)

    def ls(self, path: str, detail: bool = True, **kwargs: Any) -> Any:
        self.wait()
        return super().ls(path, detail, **kwargs)

    def info(self, path: str, **kwargs: Any) -> Any:
        self.wait()
        return super().info(path, **kwargs)

    def _open(self, path: str, mode: str = "rb", **kwargs: Any) -> Any:
        self.wait()
        return super()._open(path, mode, **kwargs)


def make_run(shards: int) -> Run:
    """A finished run of two rows a shard, some of which are dead letters."""
    rows = range(2 * shards)
    table = pa.table({"id": [f"k{row}" for row in rows], "body": [None if row % 50 == 0 else f"text {row}" for row in rows]})
    with tempfile.TemporaryDirectory() as folder, Emulator(Path(folder), pending_seconds=0, running_seconds=0) as emulator:
        run_batch(
            table,
            GenerateRequest(prompt="Repeat: ${body}"),
            model="gemini-3.6-flash",
            destination="slow://run",
            key="id",
            options={"max_shard_requests": 2, "poll_interval": 0.2, "max_active_jobs": 90},
            endpoint=Endpoint(api_key="AIzaAnyKey", base_url=emulator.url),
            progress=False,
        )
    return Run(locate("slow://run"), locate)


def load(run: Run, cache: Any, *, whole: bool) -> int:
    """One load of the page, or of the sections that it asks for again; returns its size."""
    manifest, board = run.manifest(), read_board(run, cache=cache)
    assert manifest is not None
    assert board is not None
    view = RunView(Place("dag", "run", "task", -1, run.destination.uri), run, board, manifest, [])
    return len(render("run.html", view=view)) if whole else sum(len(section(name, view)["html"]) for name in SECTIONS)


def measure(run: Run, *, known: bool, whole: bool) -> None:
    seconds, calls, size = [], 0, 0
    for _ in range(LOADS):
        cache: dict[Any, Any] = {}
        if known:
            load(run, cache, whole=whole)
        before, begun = SlowStore.calls, time.perf_counter()
        size = load(run, cache, whole=whole)
        seconds.append(time.perf_counter() - begun)
        calls = SlowStore.calls - before
    what = f"{'page' if whole else 'news'}, {'seen before' if known else 'first time'}"
    print(f"{what:<20} {statistics.median(seconds):6.2f} s  {calls:5} calls  {size / 1000:6.0f} kB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shards", type=int, default=1000)
    parser.add_argument("--milliseconds", type=float, default=30.0, help="that each call to the storage takes")
    arguments = parser.parse_args()
    fsspec.register_implementation("slow", SlowStore)
    run = make_run(arguments.shards)
    SlowStore.seconds = arguments.milliseconds / 1000
    print(f"{arguments.shards:,} shards, {arguments.milliseconds:g} ms a call, medians of {LOADS} loads")
    for whole in (True, False):
        for known in (False, True):
            measure(run, known=known, whole=whole)


if __name__ == "__main__":
    main()
