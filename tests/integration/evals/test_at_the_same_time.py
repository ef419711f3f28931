"""Two ``score`` calls on one run at the same time: parts are not mixed, and no judge is asked twice."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from airflow_gemini_batch.emulator import Emulator
from airflow_gemini_batch.engine.finish.summary import Summary
from airflow_gemini_batch.engine.gemini.client import Endpoint
from airflow_gemini_batch.evals import Judge, Scorer, Scores, score
from tests.integration.evals.conftest import JUDGE_MODEL, OPTIONS, Model, paid, scored

pytestmark = pytest.mark.integration

JUDGE = Judge(model=JUDGE_MODEL, rubric="Judge ${text}", scale=(1, 5))


@pytest.fixture(autouse=True)
def judging(model: Model) -> None:
    model.words = lambda prompt: {"explanation": "so", "score": 4} if prompt.startswith("Judge") else None


def at_once(*calls: Callable[[], Scores]) -> list[Scores]:
    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]


@pytest.mark.parametrize("names", [("default", "default"), ("one", "two")], ids=["the same name", "two names"])
def test_a_judge_is_asked_once(
    names: tuple[str, str], answered: Callable[..., Summary], emulator: Emulator, endpoint: Endpoint
) -> None:
    run = answered()

    def call(name: str) -> Callable[[], Scores]:
        return lambda: score(run, JUDGE, name=name, endpoint=endpoint, options=OPTIONS)

    made = at_once(*map(call, names))

    assert paid(emulator) == 12
    assert [scores["judge"].scored for scores in made] == [12, 12]
    assert {len(scored(run.destination, name)) for name in names} == {12}
    assert not list(Path(run.destination).glob("scores/_claims/*/*/*.json"))


def test_parts_of_other_scorers_are_not_mixed(answered: Callable[..., Summary]) -> None:
    run = answered(options={**OPTIONS, "max_shard_requests": 3})
    inside, most, lock = 0, 0, threading.Lock()

    def scorer(name: str) -> Scorer:
        def fn(row: Any) -> float:
            nonlocal inside, most
            with lock:
                inside += 1
                most = max(most, inside)
            threading.Event().wait(0.005)
            with lock:
                inside -= 1
            return 1.0

        return Scorer(name, fn, "float", worst=0.0, best=1.0)

    names = ["a", "b", "c"]
    at_once(*((lambda name=name: score(run, scorer(name), options=OPTIONS)) for name in names))  # type: ignore[misc]

    rows = scored(run.destination)
    assert len(rows) == 12
    assert len({row["scorer"] for row in rows.values()}) == 1
    assert most == 1
