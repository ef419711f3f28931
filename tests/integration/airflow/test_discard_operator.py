"""Dead letters of a finished run are discarded by a task, and a redrive after it leaves them out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_gemini_batch import GeminiBatchDiscardOperator, GeminiBatchOperator, GeminiBatchRedriveOperator
from airflow_gemini_batch._compat import AirflowFailException
from airflow_gemini_batch.emulator import Emulator, RowFault
from airflow_gemini_batch.links import destination_of
from tests.integration.airflow.conftest import Passes, created, read

Describe = Callable[..., GeminiBatchOperator]

pytestmark = pytest.mark.timeout(240)

OPTIONS = {"poll_interval": 0.1, "max_redrives": 0, "max_dead_letter_ratio": 1.0, "listing_lag": 0.3, "claim_lease": 3.0}


@pytest.fixture
def finished(describe: Describe, emulator: Emulator) -> dict[str, Any]:
    """The summary of a run in which k6 has a retryable error, k7 another one, and k10 was blocked."""
    emulator.faults.add(
        RowFault(do="error", keys=("k6",), code=14),
        RowFault(do="error", keys=("k7",), code=3),
        RowFault(do="recitation", keys=("k10",)),
    )
    summary = dict(Passes(describe(options=OPTIONS)).finish())
    emulator.faults.clear()
    return summary


def discard(destination: Any, **arguments: Any) -> GeminiBatchDiscardOperator:
    return GeminiBatchDiscardOperator(task_id="discard", destination=destination, **arguments)


def facts(run: Path) -> list[dict[str, Any]]:
    return [json.loads(file.read_bytes()) for file in sorted((run / "_run" / "ledger").glob("*.discard-*.json"))]


@pytest.mark.parametrize(
    ("selection", "keys"),
    [
        ({}, ["k10", "k6", "k7"]),
        ({"reasons": ["REQUEST_ERROR"], "codes": [3]}, ["k7"]),
        ({"codes": "{{ [3, 14] }}", "retryable": "{{ True }}", "limit": "{{ 1 + 1 }}"}, ["k6"]),
        ({"message": "{{ 'RECITATION' }}"}, ["k10"]),
        ({"keys": ["{{ 'k6' }}"]}, ["k6"]),
    ],
    ids=str,
)
def test_the_selected_letters_are_discarded_by_the_task(
    selection: dict[str, Any], keys: list[str], finished: dict[str, Any], tmp_path: Path
) -> None:
    done = Passes(discard(finished, note="seen on {{ ds }}", **selection)).finish()

    assert (done["destination"], done["discarded"], done["already"]) == (str(tmp_path / "run"), len(keys), 0)
    assert sorted(key for fact in facts(tmp_path / "run") for key in fact["keys"]) == keys
    [(by, note)] = {(fact["by"], fact["note"]) for fact in facts(tmp_path / "run")}
    assert by == "d/r/describe/-1"  # the task instance of the context
    assert note.startswith("seen on 20")


def test_a_repeated_task_discards_nothing_more_and_a_redrive_leaves_them_out(
    finished: dict[str, Any], tmp_path: Path, emulator: Emulator
) -> None:
    Passes(discard(finished, reasons=["REQUEST_ERROR"], by="{{ 'a person' }}")).finish()
    again = Passes(discard(finished, reasons=["REQUEST_ERROR"])).finish()
    jobs = len(created(emulator))

    summary = Passes(GeminiBatchRedriveOperator(task_id="redrive", destination=finished, options=OPTIONS)).finish()

    assert (again["discarded"], again["already"]) == (0, 2)
    assert {fact["by"] for fact in facts(tmp_path / "run")} == {"a person"}
    assert (summary, len(created(emulator))) == (finished, jobs)
    every = {"reasons": ["REQUEST_ERROR"], "include_discarded": True, "options": OPTIONS}
    assert Passes(GeminiBatchRedriveOperator(task_id="redrive", destination=finished, **every)).finish()["dead_letter"] == 1
    assert [row["key"] for row in read(tmp_path / "run" / "dead_letter")] == ["k10"]


def test_a_discard_needs_no_connection(finished: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_GEMINI_DEFAULT")

    assert Passes(discard(finished, gemini_conn_id="there is none")).finish()["discarded"] == 3
    assert destination_of(discard(finished)) == finished["destination"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"keys": ["k5"]}, "InputError: 1 keys are not dead letters of .*'k5'"),
        ({"limit": "{{ 'many' }}"}, "InputError: limit is 'many'; expected a whole number"),
        ({"destination": "/nowhere/run"}, "DestinationError: /nowhere/run holds no run"),
    ],
    ids=str,
)
def test_what_cannot_be_discarded_is_not_retried(arguments: dict[str, Any], message: str, finished: dict[str, Any]) -> None:
    with pytest.raises(AirflowFailException, match=message):
        Passes(discard(**{"destination": finished, **arguments})).finish()
