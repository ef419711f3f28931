"""A fact in the ledger is written once: what was written first counts, whoever asks and however often."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_gemini_batch.engine.run.layout import Run, Shard, ShardAttempt
from airflow_gemini_batch.engine.run.ledger import Ledger
from airflow_gemini_batch.engine.run.storage import locate

PART = ShardAttempt(0)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(Run(locate(str(tmp_path / "run"))))


def piece(number: int) -> Shard:
    return Shard(number, rows=1, requests=1, bytes=1, sha256="0" * 64, attempt=1)


def test_the_first_reason_for_a_cancellation_counts(ledger: Ledger) -> None:
    ledger.record_cancellation(PART, "stuck")
    first = ledger.cancellation(PART)
    ledger.record_cancellation(PART, "killed")

    assert first is not None
    assert first.why == "stuck"
    assert ledger.cancellation(PART) == first


def test_of_two_decisions_about_what_is_resubmitted_the_first_counts(ledger: Ledger) -> None:
    assert ledger.record_redrive(PART, (piece(0),)).shards == (piece(0),)

    assert ledger.record_redrive(PART, (piece(1),)).shards == (piece(0),)
    assert ledger.record_redrive(PART, ()).shards == (piece(0),)


def test_a_torn_decision_is_overwritten_only_as_a_repair(ledger: Ledger) -> None:
    ledger.record_redrive(PART, (piece(0),))

    assert ledger.record_redrive(PART, (piece(1),), repair=True).shards == (piece(1),)
    assert ledger.record_redrive(PART, ()).shards == (piece(1),)


def test_a_claim_may_be_made_once_for_each_generation(ledger: Ledger) -> None:
    first = ledger.claim(PART, "t", 1)

    assert first is not None
    assert ledger.claim(PART, "t", 1) is None
    assert ledger.claim(PART, "t", 2) is not None
    assert ledger.intent(PART) != first


def test_only_the_withdrawn_claim_is_forgotten(ledger: Ledger) -> None:
    ledger.claim(PART, "t", 1)
    second = ledger.claim(PART, "t", 2)
    assert second is not None

    ledger.withdraw(PART, second)

    left = ledger.intent(PART)
    assert left is not None
    assert left.generation == 1
