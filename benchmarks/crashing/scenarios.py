"""What is run, and which faults the service has meanwhile. A scenario is plain values; the seed of a run decides the rest."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from airflow_gemini_batch.emulator import Fault, HttpFault, JobFault, ListingFault, RowFault
from crashing.source_table import payers

#: Whose calls are killed: ``run_batch``, the one-task operator, or the operators of the steps.
Form = Literal["engine", "operator", "steps"]

#: The tries of a call: one after the other, two at the same time, or one that is paused while another one works.
Tries = Literal["single", "concurrent", "paused"]


_ROWS = 40


@dataclass(frozen=True, slots=True)
class Scenario:
    """One kind of run.

    :param about: a description for readers.
    :param shard_rows: the most rows of a shard.
    :param faults: the service's faults, drawn for each run. An external service has none of them.
    :param swept: whether to kill at every boundary of this scenario, one after the other.
    :param kills_service: whether the service is killed and restarted too.
    :param weight: how often it is drawn, relative to the others.
    :param duration: about how many seconds one try takes; random kills happen within them.
    :param raw_requests: the source has the requests; the service refuses some of them.
    :param source_changes: whether the source changes, or is deleted, once the run is built.
    :param transport: how requests reach the service: in a file, or inside the create request.
    :param repeats: about 40 % of the rows repeat the request of an earlier row, mostly of another shard.
    :param reuses: the rows of a second day, of which 1 % have changed; the run of the first day is given as ``reuse``. Once the
        run is built, that of the first day may be moved away.
    :param answers: how often each row is sent, the argument ``repeats``.
    :param slots: jobs that all tries may have at a time, as the limit of a connection; None: no limit.
    :param aim: part of the names of boundaries at which random kills happen more often.
    """

    name: str
    about: str
    form: Form = "engine"
    tries: Tries = "single"
    rows: int = _ROWS
    shard_rows: int = 25
    faults: Callable[[random.Random], tuple[Fault, ...]] = lambda dice: _SHUFFLED
    swept: bool = False
    kills_service: bool = False
    weight: int = 1
    duration: float = 0.7
    transport: Literal["file", "inline"] = "file"
    raw_requests: bool = False
    source_changes: bool = False
    repeats: bool = False
    reuses: bool = False
    answers: int = 1
    slots: int | None = None
    aim: str = ""


#: Output lines are shuffled, so a join by position would be found.
_SHUFFLED: tuple[Fault, ...] = (RowFault(do="shuffle"),)

_CREATE = ":batchGenerateContent$"
#: The listing shows a new job after so many seconds, far below the ``listing_lag`` of the child processes.
LAG_SECONDS = 0.5


def _failing_rows(dice: random.Random) -> tuple[Fault, ...]:
    seed = dice.randrange(1 << 30)
    return (
        *_SHUFFLED,
        RowFault(do="error", code=14, fraction=0.2, seed=seed, display_name=r"attempt 0\b"),
        RowFault(do="missing", fraction=0.1, seed=seed + 1, display_name=r"attempt 0\b"),
        RowFault(do="double", fraction=0.1, seed=seed + 2),
        RowFault(do="foreign_key", fraction=0.05, seed=seed + 3, display_name=r"attempt 0\b"),
        RowFault(do="safety", fraction=0.05, seed=seed + 4),
        JobFault(do=dice.choice(("expire", "fail")), error_code=14, display_name=r"shard 1 attempt 0\b"),
    )


def _failing_payers(dice: random.Random) -> tuple[Fault, ...]:
    """Of the rows that pay for others, two are resubmitted, one is in vain, and one is refused an answer at once."""
    error, missing, hopeless, unsafe = dice.sample(payers(_ROWS), 4)
    return (
        *_SHUFFLED,
        RowFault(do="error", code=14, keys=(error,), display_name=r"attempt 0\b"),
        RowFault(do="missing", keys=(missing,), display_name=r"attempt 0\b"),
        RowFault(do="error", code=14, keys=(hopeless,)),
        RowFault(do="safety", keys=(unsafe,)),
        RowFault(do="double", fraction=0.1, seed=dice.randrange(1 << 30)),
        *dice.choice(((), (JobFault(do="expire", display_name=r"shard 1 attempt 0\b"),))),
    )


def _same_failing_payers(dice: random.Random) -> tuple[Fault, ...]:
    """The same rows and jobs in every run, so that all runs of a sweep reach the same boundaries."""
    return _failing_payers(random.Random(2))


def _some_without_result(dice: random.Random) -> tuple[Fault, ...]:
    """Two rows have no result on any day, so there is none to be reused."""
    return (*_SHUFFLED, RowFault(do="safety", keys=("k5", "k9")))


def _bad_network(dice: random.Random) -> tuple[Fault, ...]:
    def some(**fields: object) -> HttpFault:
        return HttpFault(seed=dice.randrange(1 << 30), **fields)  # type: ignore[arg-type]

    return (
        *_SHUFFLED,
        *dice.sample(
            [
                some(do="drop", when="after", path=_CREATE, probability=0.5, count=2),
                some(do="drop", when="before", path=_CREATE, probability=0.5, count=2),
                some(do="status", status=503, when="after", path=_CREATE, probability=0.5, count=2),
                some(do="status", status=500, when="before", path=_CREATE, probability=0.5, count=2, body="<html>"),
                some(do="delay", when="after", seconds=2.5, path=_CREATE, count=1),
            ],
            3,
        ),
        some(do="drop", when="after", path="/upload/", probability=0.2, count=2),
        some(do="cut_upload", bytes=900, path="/upload/.*upload_id", probability=0.3, count=2),
        some(do="truncate", bytes=400, path=":download", probability=0.3, count=2),
        some(do="status", status=502, path="/batches", method="GET", probability=0.1, count=6),
        some(do="drop", path="/files/", probability=0.1, count=4),
        ListingFault(lag_seconds=LAG_SECONDS, page_size=2),
    )


def _proxy(dice: random.Random) -> tuple[Fault, ...]:
    """Somebody between us and the service answers in its place, before or after the service has done the work."""

    def some(**fields: object) -> HttpFault:
        return HttpFault(seed=dice.randrange(1 << 30), **fields)  # type: ignore[arg-type]

    page = "<html>Sign in to continue</html>"
    other_job = {"name": "batches/other", "metadata": {"displayName": "another shard's", "state": "BATCH_STATE_PENDING"}}
    return (
        *_SHUFFLED,
        *dice.sample(
            [
                some(do="status", status=403, body=page, when="after", path=_CREATE, probability=0.5, count=2),
                some(do="status", status=429, body="", when="after", path=_CREATE, probability=0.5, count=2),
                some(do="status", status=200, body=other_job, when="after", path=_CREATE, probability=0.5, count=2),
                some(do="status", status=413, body=page, when="before", path=_CREATE, probability=0.5, count=2),
            ],
            3,
        ),
        some(do="status", status=503, when="after", path="/upload/.*upload_id", probability=0.3, count=2),
        some(do="status", status=400, body=page, path="/upload/", probability=0.1, count=2),
        some(do="status", status=200, body=page, path=":download", probability=0.4, count=2),
        some(do="status", status=200, body="", path=":download", probability=0.4, count=2),
        some(do="status", status=400, path="/files/batch-[^:]*$", method="GET", probability=0.5),
        some(do="status", status=404, body=page, path="/batches/", method="GET", probability=0.1, count=3),
    )


def _late_listing(dice: random.Random) -> tuple[Fault, ...]:
    return (
        *_SHUFFLED,
        HttpFault(do="drop", when="after", path=_CREATE, probability=0.6, seed=dice.randrange(1 << 30), count=3),
        ListingFault(lag_seconds=LAG_SECONDS, page_size=1, empty_pages=(1, 3), bury="^gb-"),
    )


SCENARIOS: tuple[Scenario, ...] = (
    Scenario("engine", "run_batch", swept=True, weight=3),
    Scenario(
        "inline", "run_batch, with the requests inside the create request", transport="inline", faults=_bad_network, weight=2
    ),
    Scenario("operator", "the one-task operator: worker, triggerer, worker", form="operator", swept=True, weight=3),
    Scenario("steps", "the operators of the steps", form="steps", swept=True, weight=2),
    Scenario(
        "redrive", "rows, lines and jobs fail, and rows are resubmitted", faults=_failing_rows, duration=2.0, swept=True, weight=2
    ),
    Scenario("network", "dropped connections, 5xx, late answers, interrupted transfers", faults=_bad_network, weight=3),
    Scenario("network-operator", "the same with the one-task operator", form="operator", faults=_bad_network, weight=2),
    Scenario("listing", "unanswered creates; the listing shows their jobs late, on a late page", faults=_late_listing, weight=3),
    Scenario("concurrent", "two tries at the same time", tries="concurrent", weight=3),
    Scenario("concurrent-operator", "two tries of one task at the same time", form="operator", tries="concurrent", weight=2),
    Scenario(
        "concurrent-redrive",
        "two tries at the same time, and rows are resubmitted",
        tries="concurrent",
        faults=_failing_rows,
        duration=2.0,
        weight=2,
    ),
    Scenario("paused", "a try is paused, another one works, the first one continues", tries="paused", weight=3),
    Scenario(
        "paused-redrive", "the same, and rows are resubmitted", tries="paused", faults=_failing_rows, duration=2.5, weight=2
    ),
    Scenario("service", "the service is killed and restarted", kills_service=True, weight=2),
    Scenario("proxy", "login pages, empty bodies and refusals that are not the service's own", faults=_proxy, weight=2),
    Scenario("proxy-operator", "the same with the one-task operator", form="operator", faults=_proxy, weight=2),
    Scenario("refused-rows", "the service refuses some requests of every shard", raw_requests=True, weight=2),
    Scenario("refused-rows-inline", "the same, inside the create request", raw_requests=True, transport="inline", weight=1),
    Scenario("source-changes", "the source changes or is deleted once the run is built", source_changes=True, weight=2),
    Scenario("source-changes-operator", "the same with the one-task operator", form="operator", source_changes=True, weight=1),
    Scenario(
        "duplicates",
        "rows repeat requests of other shards; rows that pay for others are resubmitted, or have no result",
        shard_rows=12,
        faults=_same_failing_payers,
        repeats=True,
        aim="part-copies",
        duration=2.5,
        swept=True,
        weight=3,
    ),
    Scenario(
        "duplicates-steps",
        "the same with the operators of the steps",
        form="steps",
        shard_rows=12,
        faults=_failing_payers,
        repeats=True,
        aim="part-copies",
        duration=1.0,
        weight=2,
    ),
    Scenario(
        "duplicates-concurrent",
        "rows repeat requests of other shards, and two tries finish the run at the same time",
        tries="concurrent",
        shard_rows=12,
        faults=_failing_payers,
        repeats=True,
        duration=2.5,
        weight=2,
    ),
    Scenario(
        "reuse",
        "the rows of a second day, of which 1 % have changed; the others take the answers of the first day",
        rows=200,
        shard_rows=2,
        faults=_some_without_result,
        reuses=True,
        aim="reused",
        swept=True,
        weight=3,
    ),
    Scenario(
        "reuse-operator",
        "the same with the one-task operator",
        form="operator",
        rows=200,
        shard_rows=2,
        faults=_some_without_result,
        reuses=True,
        aim="reused",
        weight=1,
    ),
    Scenario(
        "reuse-concurrent",
        "two tries at the same time; rows repeat requests of that day and of the day before",
        tries="concurrent",
        rows=200,
        shard_rows=2,
        faults=_some_without_result,
        repeats=True,
        reuses=True,
        weight=2,
    ),
    Scenario(
        "several-answers",
        "each row is sent three times; rows, lines and jobs fail",
        faults=_failing_rows,
        answers=3,
        duration=2.5,
        swept=True,
        weight=3,
    ),
    Scenario("several-answers-steps", "the same with the operators of the steps", form="steps", answers=3, weight=1),
    Scenario(
        "several-answers-concurrent",
        "each row is sent three times, in two tries at the same time; the first answers are those of the day before",
        tries="concurrent",
        rows=100,
        shard_rows=10,
        faults=_some_without_result,
        reuses=True,
        answers=3,
        weight=2,
    ),
    Scenario(
        "limits",
        "four shards share two slots of the connection, which killed tries leave behind",
        shard_rows=10,
        slots=2,
        duration=2.0,
        aim="../limits",
        swept=True,
        weight=3,
    ),
    Scenario("limits-steps", "the same with the operators of the steps", form="steps", shard_rows=10, slots=2, weight=1),
    Scenario(
        "limits-concurrent",
        "the same, with two tries at the same time and rows that are resubmitted",
        tries="concurrent",
        shard_rows=10,
        faults=_failing_rows,
        slots=2,
        duration=2.5,
        weight=2,
    ),
    Scenario("large", "larger tables", rows=60_000, shard_rows=15_000, duration=6.0, weight=0),
)

BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
