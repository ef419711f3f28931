"""What a finished run tells others: asset events, and metrics that arrive by UDP."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import Asset

from airflow_gemini_batch import GeminiBatchOperator, _metrics
from airflow_gemini_batch._compat import AirflowFailException
from airflow_gemini_batch.emulator import Emulator, HttpFault, RowFault
from tests.integration.airflow.conftest import MODEL, Passes, context

pytestmark = pytest.mark.timeout(240)

Describe = Callable[..., GeminiBatchOperator]


def asset_events(dag_id: str) -> list[dict[str, Any]]:
    from airflow.models.asset import AssetEvent
    from airflow.utils.session import create_session

    with create_session() as session:
        return [event.extra for event in session.query(AssetEvent).filter(AssetEvent.source_dag_id == dag_id)]


def test_an_asset_event_says_where_the_tables_are_and_what_they_cost(
    run_dag: Callable[..., Any], source: str, tmp_path: Path, emulator: Emulator
) -> None:
    emulator.faults.add(RowFault(do="safety", keys=("k3",)))
    ran = run_dag(
        """
        from airflow.sdk import Asset, AssetAlias
        GeminiBatchOperator(
            task_id="describe",
            source=SOURCE,
            request=GenerateRequest(prompt="Repeat: ${body}"),
            model=MODEL,
            destination=DESTINATION,
            key="id",
            labels={"team": "search"},
            options={"poll_interval": 0.2, "prices": {MODEL: {"input": 1.0, "output": 2.0}}},
            outlets=[Asset("summaries", uri="s3://lake/summaries"), AssetAlias("another")],
        )
        """,
        SOURCE=source,
        DESTINATION=str(tmp_path / "run"),
    )

    assert ran.state == "success"
    [extra] = asset_events("test_an_asset_event_says_where_the_tables_are_and_what_they_cost")
    assert extra["destination"] == str(tmp_path / "run")
    assert (extra["rows"], extra["results"], extra["dead_letter"], extra["requests"]) == (12, 11, 1, 12)
    assert (extra["reasons"], extra["labels"], extra["model"]) == ({"BLOCKED": 1}, {"team": "search"}, MODEL)
    assert extra["cost_usd"] == ran["describe"]["cost"]["usd"] > 0


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, float, dict[str, str]]]:
    """What goes to Airflow's client: kind, name, value, tags."""
    calls: list[tuple[str, str, float, dict[str, str]]] = []

    class Client:
        def __getattr__(self, kind: str) -> Callable[..., None]:
            return lambda name, value, tags: calls.append((kind, name, value, tags))

    monkeypatch.setattr(_metrics, "_client", Client())
    return calls


def test_a_finished_run_is_counted(describe: Describe, emulator: Emulator, sent: list[Any]) -> None:
    emulator.faults.add(RowFault(do="safety", keys=("k3",)))

    Passes(describe(options={"prices": {MODEL: {"input": 1.0, "output": 2.0}}})).finish()

    counted = {name.removeprefix("gemini_batch."): value for kind, name, value, _ in sent if kind == "incr"}
    assert (counted["runs"], counted["rows"], counted["results"], counted["dead_letters"]) == (1, 12, 11, 1)
    assert counted["tokens"] > 0
    assert counted["polls"] >= 1
    assert {"dag_id": "d", "task_id": "describe", "model": MODEL, "reason": "BLOCKED"} in [tags for *_, tags in sent]
    assert next(value for _, name, value, _ in sent if name == "gemini_batch.cost_usd") > 0
    assert {"outcome": "accepted", "dag_id": "d", "task_id": "describe", "model": MODEL} in [tags for *_, tags in sent]
    timed = [name for kind, name, value, _ in sent if kind == "timing" and value > 0]
    assert {"gemini_batch.job_age", "gemini_batch.run_age", "gemini_batch.wait"} <= set(timed)


def test_a_run_that_fails_by_its_dead_letters_is_counted_too(describe: Describe, emulator: Emulator, sent: list[Any]) -> None:
    emulator.faults.add(RowFault(do="safety", keys=("k3",)))

    with pytest.raises(AirflowFailException, match="1 of 12 rows"):
        Passes(describe(options={"max_dead_letter_ratio": 0.0})).finish()

    [(_, _, _, tags)] = [one for one in sent if one[1] == "gemini_batch.runs"]
    assert tags["outcome"] == "too_many_dead_letters"
    assert ("gemini_batch.dead_letters", 1) in [(name, value) for _, name, value, tags in sent if tags.get("reason") == "BLOCKED"]


def test_calls_are_counted_in_worker_and_triggerer_also_those_that_are_repeated(
    describe: Describe, emulator: Emulator, sent: list[Any]
) -> None:
    emulator.faults.add(HttpFault(do="status", status=429, path="/upload/", count=1))
    emulator.faults.add(HttpFault(do="status", status=429, path="/batches", count=1))

    Passes(describe()).finish()

    refused = [(tags["call"], value) for _, name, value, tags in sent if name == "gemini_batch.api_429"]
    assert sorted(refused) == [("jobs", 1), ("upload", 1)]
    calls = [(tags["call"], tags["status"]) for _, name, _, tags in sent if name == "gemini_batch.api_calls"]
    assert calls.count(("create", "200")) == 3
    assert {("jobs", "200"), ("jobs", "429"), ("upload", "429"), ("upload", "200")} <= set(calls)


def test_the_triggerer_tells_how_old_the_oldest_job_is(describe: Describe, emulator: Emulator, sent: list[Any]) -> None:
    Passes(describe()).finish()

    ages = [(value, tags) for kind, name, value, tags in sent if name == "gemini_batch.oldest_job_seconds" and kind == "gauge"]
    assert ages[-1] == (0.0, {"dag_id": "d", "task_id": "describe"}), "the run is finished"
    assert 0 < max(value for value, _ in ages) < 3600


def test_a_run_of_a_partition_names_it(describe: Describe) -> None:
    asset = Asset("summaries")
    events = SimpleNamespace(extra={})
    about = {**context(), "outlet_events": {asset: events}, "partition_key": "2026-11-25"}

    Passes(describe(outlets=[asset]), about).finish()

    assert events.extra["partition_key"] == "2026-11-25"
    assert events.extra["rows"] == 12


def test_a_client_that_fails_fails_no_task(describe: Describe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_metrics, "_client", object())

    assert Passes(describe(), context()).finish()["balanced"]


@pytest.mark.skipif(_metrics._client is None, reason="this Airflow has no client for metrics")
def test_metrics_arrive_where_airflow_sends_its_own() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(60)
        settings = {"STATSD_ON": "True", "STATSD_HOST": "127.0.0.1", "STATSD_PORT": str(receiver.getsockname()[1])}
        # As the task runner begins.
        begin = "from airflow.sdk.observability import stats; from airflow.sdk.observability.metrics import stats_utils"
        begin += "; stats.initialize(factory=stats_utils.get_stats_factory(), export_legacy_names=False)"
        send = f"{begin}; from airflow_gemini_batch import _metrics; _metrics.count('rows', 7, model='a,b=c')"
        environment = {**os.environ, **{f"AIRFLOW__METRICS__{name}": value for name, value in settings.items()}}
        subprocess.run([sys.executable, "-c", send], env=environment, check=True, capture_output=True, timeout=120)

        received = iter(lambda: receiver.recv(1000).decode(), None)
        assert next(line for line in received if "gemini_batch" in line) == "airflow.gemini_batch.rows:7|c"
