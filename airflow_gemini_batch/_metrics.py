"""Metrics, by Airflow's own client: names with the prefix ``gemini_batch.``, listed in docs/metrics.md.

A metric must never fail a task. Airflow before 3.3 has no client for them; then nothing is sent.
"""

from __future__ import annotations

import logging
import re
from typing import Any

try:
    from airflow.sdk.observability import stats

    _client: Any = stats
except ImportError:
    _client = None

log = logging.getLogger(__name__)

#: Other characters end a tag in some of the formats that Airflow writes.
_UNSAFE = re.compile(r"[^\w./-]", re.ASCII)


def count(name: str, value: int = 1, **tags: str) -> None:
    """Add to a counter. Nothing is sent for zero."""
    if value:
        _send("incr", name, value, tags)


def gauge(name: str, value: float, **tags: str) -> None:
    _send("gauge", name, value, tags)


def timing(name: str, seconds: float, **tags: str) -> None:
    _send("timing", name, seconds * 1000, tags)


def answered(call: str, status: int) -> None:
    """An HTTP answer of the service; see ``GeminiClient``. 429s have a name of their own, because plain StatsD drops tags."""
    count("api_calls", call=call, status=str(status))
    if status == 429:
        count("api_429", call=call)


def _send(kind: str, name: str, value: float, tags: dict[str, str]) -> None:
    if _client is None:
        return
    try:
        getattr(_client, kind)(f"gemini_batch.{name}", value, tags={tag: _UNSAFE.sub("_", text) for tag, text in tags.items()})
    except Exception as error:
        log.debug("The metric %s was not sent: %r", name, error)
