"""How long the page of a run of 1,000 shards takes, on storage of which each call takes 30 ms.

    python benchmarks/page.py [--shards 1000] [--milliseconds 30]

The runs are real ones, on the emulator, in a store in this process that counts calls and, once they are there, makes each wait.
To read a file takes two calls (its size, its content), as with s3fs; a listing takes one for each thousand files. Airflow's own
API server serves the page over HTTP, and the time is from the request to the last byte. ``first`` is a server that has not seen
the run, ``again`` one that has. The exit code is 1 if any median is a second or more, but for the first load of a run in mapped
steps, which opens the facts of all shards.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import os
import runpy
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pyarrow as pa
from benching.latency import Latency
from fsspec.implementations.memory import MemoryFileSystem

from airflow_gemini_batch.emulator import Emulator, RowFault
from airflow_gemini_batch.engine.advance import advance
from airflow_gemini_batch.engine.build.building import build_run
from airflow_gemini_batch.engine.build.call import RunSpec
from airflow_gemini_batch.engine.gemini.client import Endpoint, GeminiClient
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.run.layout import Run
from airflow_gemini_batch.engine.run.storage import locate
from airflow_gemini_batch.engine.specs import GenerateRequest

KEY = "AIzaKeyOfTheEmulator0000000000000000000"
MODEL = "gemini-3.6-flash"
DAG_ID = "of_the_benchmark"

#: Rows of a shard, and jobs at a time: the service takes no more than 100.
ROWS, AT_ONCE = 2, 100

#: How long a job runs, in seconds on the emulator's clock: longer than the benchmark takes, and shorter than jobs may.
LONG = 3600.0


DAG_FILE = """
from airflow.sdk import DAG, task

with DAG({dag_id!r}, schedule=None) as dag:

    @task
    def point(uri, ti=None):
        ti.xcom_push(key="gemini_batch_run", value=uri)

    for name, uri in {places!r}.items():
        point.override(task_id=name)(uri)
"""


class DistantStore(Latency, MemoryFileSystem):  # type: ignore[misc]
    """An object store in memory."""

    protocol = "distant"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        return super()._strip_protocol(str(path).removeprefix("distant://"))

    def _open(self, path: str, mode: str = "rb", **arguments: Any) -> Any:
        if mode == "rb":
            self.count(2)
        file = super()._open(path, mode, **arguments)
        return io.BytesIO(file.getvalue()) if mode == "rb" else file  # the same object would be shared by all readers


def make_runs(shards: int, owner: str) -> dict[str, str]:
    """A run at its half and at its end: URIs by name. In ``steps`` it is at its half and has what mapped steps leave."""
    run = Run(locate("distant://finished"))
    rows = shards * ROWS
    table = pa.table({"id": [f"k{n}" for n in range(rows)], "body": [f"row {n}" for n in range(rows)]})
    options = BatchOptions(max_shard_requests=ROWS, max_active_jobs=AT_ONCE, max_redrives=0)
    spec = RunSpec(table, GenerateRequest(prompt="${body}"), MODEL, key="id")
    build_run(run, spec, options, owner=owner)
    rounds, half = -(-shards // AT_ONCE), shards // AT_ONCE // 2
    with tempfile.TemporaryDirectory() as folder, Emulator(Path(folder), pending_seconds=0, running_seconds=LONG) as emulator:
        emulator.faults.add(RowFault(do="error", code=3, message="No.", keys=tuple(f"k{n}" for n in range(0, rows, 4 * ROWS))))
        with GeminiClient(Endpoint(api_key=KEY, base_url=emulator.url)) as client:
            for number in range(rounds + 1):
                advance(run, client, options, patient=True)
                if number == half:
                    run.destination.fs.copy("/finished", "/half", recursive=True)
                    run.destination.fs.copy("/finished", "/steps", recursive=True)
                emulator.advance(2 * LONG)
                emulator.wait_idle()
    run.destination.fs.rm_file("/steps/_run/ledger/known.json")  # steps are no passes
    return {name: f"distant://{name}" for name in ("finished", "half", "steps")}


@contextlib.contextmanager
def api_server(places: dict[str, str]) -> Iterator[tuple[str, dict[str, dict[str, str]], str]]:
    """Airflow's API server on a port, with a DAG run whose tasks have recorded these runs: address, queries by name, token."""
    import uvicorn
    from airflow.api_fastapi.app import create_app, get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from airflow.utils.db import initdb

    initdb()
    file = Path(os.environ["AIRFLOW_HOME"]) / "dags" / f"{DAG_ID}.py"
    file.write_text(DAG_FILE.format(dag_id=DAG_ID, places=places))  # Airflow runs no DAG that it does not find in a file
    dag_run = runpy.run_path(str(file))["dag"].test()
    app: Any = create_app(apps="core")
    token = get_auth_manager().generate_jwt(SimpleAuthManagerUser(username="reader", role="viewer"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        queries = {name: {"dag_id": DAG_ID, "run_id": dag_run.run_id, "task_id": name, "map_index": "-1"} for name in places}
        try:
            yield f"http://127.0.0.1:{port}/gemini-batch/page", queries, token
        finally:
            server.should_exit = True
            thread.join()


def measure(milliseconds: float, shards: int, repetitions: int) -> bool:
    """Whether everything took less than a second."""
    import httpx

    from airflow_gemini_batch.plugin.page import run_view

    places = make_runs(shards, f"{DAG_ID}/r/point/-1")
    good = True
    with api_server(places) as (address, queries, token), httpx.Client(headers={"Authorization": f"Bearer {token}"}) as client:
        client.get(f"{address}/run", params=queries["finished"])
        DistantStore.seconds = milliseconds / 1000
        for name, query in queries.items():
            for what, path in (("page", "run"), ("JSON", "run.json")):
                for when in ("first", "again"):
                    took, calls, size = [], 0, 0
                    for _ in range(repetitions):
                        run_view.BOARDS = run_view._Boards() if when == "first" else run_view.BOARDS
                        run_view.BOARDS._boards.clear()
                        before, begin = DistantStore.calls, time.perf_counter()
                        answer = client.get(f"{address}/{path}", params=query, timeout=300)
                        took.append(time.perf_counter() - begin)
                        calls, size = DistantStore.calls - before, len(answer.content)
                        assert answer.status_code == 200, answer.text
                        assert f"{shards:,}" in answer.text
                    median = statistics.median(took)
                    good &= median < 1.0 or (name, when) == ("steps", "first")
                    print(f"{name:15} {what:5} {when:6} {median:6.2f} s   {calls:5} calls   {size / 1000:6.0f} kB", flush=True)
    return good


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--shards", type=int, default=1000, help="of the run (default: %(default)s)")
    parser.add_argument(
        "--milliseconds", type=float, default=30.0, help="that each call of the storage takes (default: %(default)s)"
    )
    parser.add_argument("--repetitions", type=int, default=5, help="of each measurement (default: %(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gemini-batch-page-") as home:
        (Path(home) / "dags").mkdir()
        os.environ.update(
            AIRFLOW_HOME=home, AIRFLOW__CORE__LOAD_EXAMPLES="False", AIRFLOW__API_AUTH__JWT_SECRET="0123456789abcdef" * 4
        )
        logging.disable(logging.WARNING)
        fsspec.register_implementation("distant", DistantStore)
        good = measure(arguments.milliseconds, arguments.shards, arguments.repetitions)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
