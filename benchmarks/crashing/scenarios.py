"""What is run, and what goes wrong at the service meanwhile. A scenario is plain values; the seed of a run decides the rest."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from airflow_gemini_batch.emulator import Fault, HttpFault, JobFault, ListingFault, RowFault

#: Whose calls are killed: a trip of the engine, the one-task operator, or the operators of the single steps.
Way = Literal["engine", "operator", "steps"]

#: How: tries in sequence, two at once, or one that is frozen and woken while another works.
Company = Literal["alone", "twins", "zombie"]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One kind of run.

    :param about: for the report.
    :param faults: the service's own trouble, made from the run's dice; none of it when the service cannot be told.
    :param walked: whether every boundary of this scenario is died at, one by one.
    :param kills_service: whether the service is killed and restarted too.
    :param weight: how often it is drawn.
    :param transport: of the engine's trips: requests go as a file, or inside the create itself.
    :param slow: seconds that one try of it lives, about; a random kill strikes within them.
    """

    name: str
    about: str
    way: Way = "engine"
    company: Company = "alone"
    rows: int = 40
    shard_rows: int = 25
    faults: Callable[[random.Random], tuple[Fault, ...]] = lambda dice: _DISORDER
    walked: bool = False
    kills_service: bool = False
    weight: int = 1
    slow: float = 0.7
    transport: Literal["file", "inline"] = "file"


#: Output lines come in no order: whatever is joined by position is caught.
_DISORDER: tuple[Fault, ...] = (RowFault(do="shuffle"),)

_CREATE = ":batchGenerateContent$"
#: A job's listing lags behind its create for so long; far below the children's ``Caution.settle``.
LAG_SECONDS = 0.5


def _dying_rows(dice: random.Random) -> tuple[Fault, ...]:
    seed = dice.randrange(1 << 30)
    return (
        *_DISORDER,
        RowFault(do="error", code=14, fraction=0.2, seed=seed, display_name="attempt 0$"),
        RowFault(do="missing", fraction=0.1, seed=seed + 1, display_name="attempt 0$"),
        RowFault(do="double", fraction=0.1, seed=seed + 2),
        RowFault(do="foreign_key", fraction=0.05, seed=seed + 3, display_name="attempt 0$"),
        RowFault(do="safety", fraction=0.05, seed=seed + 4),
        JobFault(do=dice.choice(("expire", "fail")), error_code=14, display_name="shard 1 attempt 0$"),
    )


def _bad_network(dice: random.Random) -> tuple[Fault, ...]:
    def some(**fields: object) -> HttpFault:
        return HttpFault(seed=dice.randrange(1 << 30), **fields)  # type: ignore[arg-type]

    return (
        *_DISORDER,
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


def _late_listing(dice: random.Random) -> tuple[Fault, ...]:
    return (
        *_DISORDER,
        HttpFault(do="drop", when="after", path=_CREATE, probability=0.6, seed=dice.randrange(1 << 30), count=3),
        ListingFault(lag_seconds=LAG_SECONDS, page_size=1, empty_pages=(1, 3), bury="^gb-"),
    )


SCENARIOS: tuple[Scenario, ...] = (
    Scenario("engine", "a trip of the engine in one call", walked=True, weight=3),
    Scenario("inline", "the same, with the requests inside the create", transport="inline", faults=_bad_network, weight=2),
    Scenario("operator", "the one-task operator: worker, triggerer, worker", way="operator", walked=True, weight=3),
    Scenario("steps", "the operators of the single steps", way="steps", walked=True, weight=2),
    Scenario("redrive", "rows, jobs and lines that die and are sent again", faults=_dying_rows, slow=2.0, walked=True, weight=2),
    Scenario("network", "dropped connections, 5xx, late answers, torn transfers", faults=_bad_network, weight=3),
    Scenario("network-operator", "the same below the operator", way="operator", faults=_bad_network, weight=2),
    Scenario("listing", "lost creates; the orphan is late, and on a late page", faults=_late_listing, weight=3),
    Scenario("twins", "two tries at once", company="twins", weight=3),
    Scenario("twins-operator", "two tries of one task at once", way="operator", company="twins", weight=2),
    Scenario(
        "twins-redrive",
        "the same, with rows that are sent again",
        company="twins",
        faults=_dying_rows,
        slow=2.0,
        weight=2,
    ),
    Scenario("zombie", "a try is frozen, another one works, the first wakes up", company="zombie", weight=3),
    Scenario("zombie-redrive", "the same, with redrives", company="zombie", faults=_dying_rows, slow=2.5, weight=2),
    Scenario("service", "the service itself is killed and restarted", kills_service=True, weight=2),
    Scenario("large", "larger tables", rows=60_000, shard_rows=15_000, slow=6.0, weight=0),
)

BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
