"""A finished run that is called again, and 1,000 jobs that wait in one triggerer; there is nothing to compare them with."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

Work = Callable[[], object]

SHARDS = 500
JOBS = 1000
#: Seconds. With the default of 30 the CPU time of an interval is the same, and its share smaller.
POLL_INTERVAL = 5.0
INTERVALS = 4
#: What ``BatchOptions.poll_interval`` is by default, of which the share of a core is said.
DEFAULT_INTERVAL = 30.0
_KEY = "AIza-of-a-benchmark"


def finish_run(folder: Path) -> None:
    """A finished run of 500 shards, as 500 jobs of the emulator have answered it."""
    from airflow_gemini_batch.emulator import Emulator

    with Emulator(folder / "service", pending_seconds=0, running_seconds=0) as emulator:
        _call(folder, emulator.url)


def _call(folder: Path, url: str) -> Any:
    import pyarrow as pa

    from airflow_gemini_batch import BatchOptions, Endpoint, GenerateRequest, run_batch

    rows = range(SHARDS * 2)
    table = pa.table({"id": [str(row) for row in rows], "text": [f"text {row}" for row in rows]})
    options = BatchOptions(max_shard_requests=2, max_active_jobs=SHARDS, claim_lease=3.0, poll_interval=0.5)
    return run_batch(
        table,
        GenerateRequest(prompt="${text}"),
        model="gemini-3.6-flash",
        destination=str(folder / "finished"),
        key="id",
        options=options,
        endpoint=Endpoint(api_key=_KEY, base_url=url),
        progress=False,
    )


def finished(folder: Path) -> Work:
    """Says how many storage calls it takes, by kind."""
    import google.genai  # noqa: F401

    from airflow_gemini_batch import run_batch  # noqa: F401
    from airflow_gemini_batch.engine.run.storage import Location

    calls: Counter[str] = Counter()

    def counted(name: str) -> None:
        call = getattr(Location, name)

        def counting(*arguments: Any, **named: Any) -> Any:
            calls[name] += 1
            return call(*arguments, **named)

        setattr(Location, name, counting)

    for name in ("exists", "size", "open", "writing", "receiving", "local_copy", "create", "delete", "children"):
        counted(name)

    def work() -> dict[str, int]:
        summary = _call(folder, "http://127.0.0.1:9")  # nobody is asked
        assert (summary.balanced, summary.rows) == (True, SHARDS * 2)
        return dict(calls)

    return work


def triggerer(folder: Path) -> Work:
    """Says the requests and the CPU seconds of an interval, without the first one."""
    from airflow_gemini_batch.emulator import EmulatorProcess, JobFault
    from airflow_gemini_batch.engine.gemini.client import Endpoint, GeminiClient
    from airflow_gemini_batch.triggers.batch import GeminiBatchTrigger

    os.environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "WARNING"
    os.environ["AIRFLOW_HOME"] = str(folder / "airflow")
    emulator = EmulatorProcess(folder / "waiting", max_active_jobs=JOBS)
    emulator.start()
    emulator.faults.add(JobFault(do="hang", hang_in="RUNNING"))
    os.environ["AIRFLOW_CONN_GEMINI_DEFAULT"] = f'{{"conn_type": "gemini", "password": "{_KEY}", "host": "{emulator.url}"}}'
    (folder / "one.jsonl").write_bytes(b'{"key": "a", "request": {"contents": [{"parts": [{"text": "hello"}]}]}}\n')
    with GeminiClient(Endpoint(api_key=_KEY, base_url=emulator.url)) as client, open(folder / "one.jsonl", "rb") as file:
        uploaded = client.upload(file, name=None, display_name="one").name
        names = [
            client.create_job(model="gemini-3.6-flash", input_file=uploaded, display_name=f"job {n}").name for n in range(JOBS)
        ]

    async def wait_for_all() -> dict[str, float]:
        deadline = time.time() + 3600
        triggers = [
            GeminiBatchTrigger(gemini_conn_id="gemini_default", jobs=[name], poll_interval=POLL_INTERVAL, deadline=deadline)
            for name in names
        ]
        waiting = [asyncio.ensure_future(anext(trigger.run())) for trigger in triggers]
        await asyncio.sleep(1.5 * POLL_INTERVAL)
        cpu, requests = time.process_time(), _requests(emulator)
        await asyncio.sleep(INTERVALS * POLL_INTERVAL)
        cpu, requests = time.process_time() - cpu, _requests(emulator) - requests
        for one in waiting:
            one.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        return {"requests": requests / INTERVALS, "cpu_seconds": cpu / INTERVALS}

    def work() -> dict[str, float]:
        try:
            return asyncio.run(wait_for_all())
        finally:
            emulator.stop()

    return work


def _requests(emulator: Any) -> int:
    return sum(call["count"] for call in emulator.calls() if call["method"] == "GET" and "batches" in call["route"])
