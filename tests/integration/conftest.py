"""The calls that may be repeated are repeated at once: what is tested is that and how often, not how long the SDK waits."""

from __future__ import annotations

import pytest

from airflow_gemini_batch.engine.gemini import client
from airflow_gemini_batch.engine.gemini.retries import Retries


@pytest.fixture(autouse=True)
def short_retry_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "RETRIES", Retries(first_delay=0.01, longest_delay=0.05))
