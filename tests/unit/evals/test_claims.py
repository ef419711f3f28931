"""``Claim``: one call at a time, whoever is killed or paused."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import pytest

from airflow_gemini_batch.engine.errors import UnsettledError, WaitTimeoutError
from airflow_gemini_batch.engine.run.storage import Location, locate
from airflow_gemini_batch.evals.claims import Claim


class Time:
    """A clock that moves when somebody sleeps, and what happens then."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.then: Callable[[], None] = lambda: None

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.then()


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def folder(tmp_path: Path) -> Location:
    return locate(tmp_path / "claims" / "default")


@pytest.fixture
def claim(folder: Location, time: Time) -> Callable[[], Claim]:
    return lambda: Claim(folder, "the scores", lease=20.0, timeout=100.0, sleep=time.sleep, clock=time.clock)


def test_a_claim_is_gone_when_the_call_ends_and_when_it_raises(claim: Callable[[], Claim], folder: Location) -> None:
    with claim() as held:
        held.require()
        assert [file.name for file in folder.children()] == ["00001.json"]
    with pytest.raises(ZeroDivisionError), claim():
        raise ZeroDivisionError

    assert folder.children() == []


def test_the_second_call_waits_for_the_first(claim: Callable[[], Claim], folder: Location, time: Time) -> None:
    first = claim().__enter__()
    slept: list[float] = []

    def ends_later() -> None:
        slept.append(time.now)
        if len(slept) == 3:
            first.__exit__(None, None, None)

    time.then = ends_later
    with claim() as second:
        second.require()

    assert len(slept) == 3


def test_a_call_that_is_killed_is_followed_after_its_lease(folder: Location, claim: Callable[[], Claim], time: Time) -> None:
    (folder / "00007.json").create(b'{"token": "killed", "at": 990.0}')

    (folder / "00007-1000000.json").write(b"{}")  # its last renewal, at 1000 s

    with claim() as second:
        second.require()
        assert [file.name for file in folder.children()] == ["00008.json"]

    assert 1020.0 < time.now < 1023.0


def test_a_torn_claim_holds_nobody_up(folder: Location, claim: Callable[[], Claim], time: Time) -> None:
    (folder / "00001.json").create(b'{"tok')

    with claim() as second:
        second.require()

    assert time.now == 1_000.0


def test_a_call_that_was_paused_finds_that_another_one_took_over(claim: Callable[[], Claim], time: Time) -> None:
    first = claim().__enter__()
    time.now += 21.0

    with claim() as second:
        second.require()
        with pytest.raises(UnsettledError, match="taken over the scores: this one was paused for more than 20 s"):
            first.require()
    with pytest.raises(UnsettledError):
        first.require()
    first.__exit__(None, None, None)


def test_a_call_waits_no_longer_than_its_timeout(folder: Location, claim: Callable[[], Claim], time: Time) -> None:
    def renewed() -> None:
        (folder / "00001.json").write(b'{"token": "other", "at": 1000.0}')
        (folder / f"00001-{int(time.now * 1000)}.json").write(b"{}")

    renewed()
    time.then = renewed
    with pytest.raises(WaitTimeoutError, match="at the scores for the timeout of 100 s"):
        claim().__enter__()

    assert "00001.json" in [file.name for file in folder.children()]


def test_a_call_that_takes_long_renews_its_claim(folder: Location) -> None:
    with Claim(folder, "the scores", lease=5.0, timeout=5.0) as claim:
        ends = monotonic() + 60.0
        while not (renewed := any(file.name.startswith("00001-") for file in folder.children())) and monotonic() < ends:
            threading.Event().wait(0.02)
        assert renewed
        claim.require()

    assert folder.children() == []


def test_of_many_calls_at_once_one_at_a_time_has_the_right(folder: Location) -> None:
    inside, most, done, lock = 0, 0, 0, threading.Lock()

    def call() -> None:
        nonlocal inside, most, done
        with Claim(folder, "the scores", lease=5.0, timeout=60.0, sleep=lambda seconds: threading.Event().wait(0.002) and None):
            with lock:
                inside += 1
                most = max(most, inside)
            threading.Event().wait(0.002)
            with lock:
                inside -= 1
                done += 1

    threads = [threading.Thread(target=call) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (most, done) == (1, 12)
    assert folder.children() == []
