"""A process that makes one pass and kills itself in the middle of two steps that overlap.

Arguments: the folder of the run, the address of the service, and where to die: ``create``, when the next shard was just uploaded,
or ``land``, when the next output was just downloaded.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from airflow_gemini_batch.engine.advance import advance
from airflow_gemini_batch.engine.gemini.client import Endpoint, GeminiClient
from tests.integration.engine.conftest import KEY, SHORT_WAITS
from tests.integration.engine.held_store import run_in

SOON = 30.0
#: Answers to the uploads of four shards: the one whose job is created second, those before it, and all that run ahead of it.
UPLOADS = 8


def main(folder: str, url: str, at: str) -> None:
    reached = threading.Event()
    counts = {"upload": 0, "create": 0}
    run, store = run_in(Path(folder))

    def die() -> None:
        if reached.wait(SOON):
            os.kill(os.getpid(), signal.SIGKILL)

    def answered(call: str, status: int) -> None:
        counts[call] = counts.get(call, 0) + 1
        if counts["upload"] == UPLOADS:
            reached.set()
        if at == "create" and call == "create" and counts[call] == 2:
            die()

    if at == "land":
        store.before = lambda path: die() if "results/" in path and "part-00000-0" in path else None
        store.after = lambda path: reached.set() if path.endswith("responses/shard-00001-0.jsonl") else None
    with GeminiClient(Endpoint(api_key=KEY, base_url=url, request_timeout=10.0), answered) as client:
        advance(run, client, SHORT_WAITS)


if __name__ == "__main__":
    main(*sys.argv[1:])
