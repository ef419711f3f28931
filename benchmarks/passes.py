"""How long passes and the end of a run of many shards take, on storage of which each call takes 30 ms.

    python benchmarks/passes.py [--shards 1000] [--milliseconds 30] [--in-a-pass 60]

The run is a real one, on the emulator, in a store on the disk of this machine. A read takes two calls (its size, its content), as
with s3fs; a write, a deletion and a question take one, a listing one for each thousand files. In the passes that are measured,
the service takes 0.3 s for a create, for a download, and for each of the two requests of an upload, about as over the internet.

    submit    a pass that submits shards
    collect   a pass that collects them, and submits one more
    finish    the end of a run whose shards have been collected in passes, with its page
    steps     the same of a run in mapped steps, which has no ``known.json``
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from benching.latency import Latency
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem
from page import AT_ONCE, KEY, LONG, MODEL, ROWS

from airflow_gemini_batch.emulator import Emulator, HttpFault
from airflow_gemini_batch.engine.advance import advance
from airflow_gemini_batch.engine.build.building import build_run
from airflow_gemini_batch.engine.build.call import RunSpec
from airflow_gemini_batch.engine.finish.summary import Summary, finish_run
from airflow_gemini_batch.engine.gemini.client import Endpoint, GeminiClient
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.report.summary_page import write_summary_page
from airflow_gemini_batch.engine.run.layout import Run
from airflow_gemini_batch.engine.run.storage import Location
from airflow_gemini_batch.engine.specs import GenerateRequest

#: Seconds that the service takes for what is slow there, and rows of a shard in the passes that are measured.
SERVICE_SECONDS = 0.3
ROWS_IN_A_PASS = 200

OPTIONS = BatchOptions(max_shard_requests=ROWS, max_active_jobs=AT_ONCE, max_redrives=0)


class SlowStore(Latency, DirFileSystem):  # type: ignore[misc]
    """An object store on the disk of this machine."""

    cachable = False

    def open(self, path: str, mode: str = "rb", **arguments: Any) -> Any:
        if mode == "rb":
            self.count(2)
        return super().open(path, mode, **arguments)  # what is written there is renamed, which counts

    def get_file(self, rpath: str, lpath: str, **arguments: Any) -> None:
        self.count(2)
        super().get_file(rpath, lpath, **arguments)

    def mv(self, path1: str, path2: str, **arguments: Any) -> None:
        self.count()
        super().mv(path1, path2, **arguments)

    def pipe_file(self, path: str, value: bytes, **arguments: Any) -> None:
        self.count()
        super().pipe_file(path, value, **arguments)

    def put_file(self, lpath: str, rpath: str, **arguments: Any) -> None:
        self.count()
        super().put_file(lpath, rpath, **arguments)

    def rm(self, path: str, *arguments: Any, **named: Any) -> None:
        self.count()
        super().rm(path, *arguments, **named)


def built(store: SlowStore, name: str, shards: int, rows: int) -> Run:
    run = Run(Location(store, name, f"slow://{name}"))
    numbers = range(shards * rows)
    table = pa.table({"id": [f"k{number}" for number in numbers], "body": [f"row {number}" for number in numbers]})
    options = replace(OPTIONS, max_shard_requests=rows)
    build_run(run, RunSpec(table, GenerateRequest(prompt="${body}"), MODEL, key="id", carry=("body",)), options)
    return run


@contextmanager
def service() -> Iterator[tuple[Emulator, GeminiClient]]:
    with (
        tempfile.TemporaryDirectory() as folder,
        Emulator(Path(folder), pending_seconds=0, running_seconds=LONG) as emulator,
        GeminiClient(Endpoint(api_key=KEY, base_url=emulator.url)) as client,
    ):
        yield emulator, client


def end_jobs(emulator: Emulator) -> None:
    emulator.advance(2 * LONG)
    emulator.wait_idle()


def finished_run(store: SlowStore, shards: int) -> Run:
    run = built(store, "finished", shards, ROWS)
    with service() as (emulator, client):
        while not isinstance(advance(run, client, OPTIONS, patient=True), Summary):
            end_jobs(emulator)
    return run


def measured(name: str, work: Callable[[], object], milliseconds: float) -> None:
    SlowStore.seconds, before, begin = milliseconds / 1000, SlowStore.calls, time.perf_counter()
    work()
    seconds = time.perf_counter() - begin
    SlowStore.seconds = 0.0
    print(f"{name:8} {seconds:7.1f} s   {SlowStore.calls - before:6} storage calls", flush=True)


def measure_passes(store: SlowStore, shards: int, milliseconds: float) -> None:
    run = built(store, "passes", shards + 1, ROWS_IN_A_PASS)
    options = replace(OPTIONS, max_active_jobs=shards)
    with service() as (emulator, client):
        for path in (":batchGenerateContent", "^/upload/", ":download"):
            emulator.faults.add(HttpFault(do="delay", when="after", seconds=SERVICE_SECONDS, method=None, path=path))
        measured("submit", lambda: advance(run, client, options), milliseconds)
        end_jobs(emulator)
        measured("collect", lambda: advance(run, client, options), milliseconds)


def measure_finish(store: SlowStore, shards: int, milliseconds: float) -> None:
    run = finished_run(store, shards)
    for name in ("finish", "steps"):
        run.summary_file.delete()
        if name == "steps":
            (run.ledger_folder / "known.json").delete()
        measured(name, lambda: finish_run(run, draw=write_summary_page), milliseconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--shards", type=int, default=1000, help="of the run that is finished (default: %(default)s)")
    parser.add_argument("--in-a-pass", type=int, default=60, help="shards that a pass submits (default: %(default)s)")
    parser.add_argument(
        "--milliseconds", type=float, default=30.0, help="that each call of the storage takes (default: %(default)s)"
    )
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="gemini-batch-passes-") as folder:
        store = SlowStore(folder, LocalFileSystem(auto_mkdir=True))
        measure_passes(store, arguments.in_a_pass, arguments.milliseconds)
        measure_finish(store, arguments.shards, arguments.milliseconds)


if __name__ == "__main__":
    main()
