"""A key is replaced while a task is deferred, which may last for days."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from airflow_gemini_batch.triggers.batch import GeminiBatchTrigger
from tests.integration.engine.scripted_server import Answer, serving

JOB = "batches/a"
ENDED = {"name": JOB, "done": True, "metadata": {"name": JOB, "state": "BATCH_STATE_FAILED"}}
BAD_KEY = {
    "error": {
        "code": 400,
        "message": "API key not valid.",
        "status": "INVALID_ARGUMENT",
        "details": [{"reason": "API_KEY_INVALID"}],
    }
}


@pytest.mark.parametrize(("key_by_then", "why", "requests"), [("new-key", "settled", 2), ("old-key", "error", 1)])
def test_a_refused_key_is_read_again_and_is_an_error_only_if_unchanged(
    key_by_then: str, why: str, requests: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect(key: str, url: str) -> None:
        connection = {"conn_type": "gemini", "password": key, "host": url}
        monkeypatch.setenv("AIRFLOW_CONN_GEMINI_DEFAULT", json.dumps(connection))

    def reply(method: str, path: str) -> Answer:
        if script.seen[-1][2]["x-goog-api-key"] == "new-key":
            return Answer(body={"operations": [ENDED]})
        connect(key_by_then, script.url)
        return Answer(400, BAD_KEY)

    async def event(trigger: GeminiBatchTrigger) -> dict[str, Any]:
        return dict((await anext(trigger.run())).payload)

    with serving(reply) as script:
        connect("old-key", script.url)
        trigger = GeminiBatchTrigger(
            gemini_conn_id="gemini_default", jobs=[JOB], poll_interval=0.1, deadline=time.time() + 60, refusals=0
        )

        assert asyncio.run(event(trigger))["why"] == why
        assert len(script.seen) == requests
