"""One run with its crashes, from the first call to the audit."""

from __future__ import annotations

import random
import shutil
import signal
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from crashing.audit import Findings, audit
from crashing.boundaries import Fate
from crashing.children import Child, Line, attend, attend_all, do, fork
from crashing.courses import course
from crashing.scenarios import Scenario
from crashing.services import Service
from crashing.work import Site, Waits, Work, perform

#: Calls after which a run that has not finished is a finding: it does not come to an end.
_MOST_CALLS = 150

#: Larger tables take longer to send and to check, so a request may too.
_SLOW_WAITS = Waits(timeout=6.0, lease=10.0, settle=3.0)


@dataclass
class Order:
    """One journey to make.

    :param walk: die at every boundary that is not ``spared``; else at random.
    :param share, share_seed: a walk dies only at this part of the boundaries (see ``Fate``); others see to the rest.
    :param leads: where a walk dies first although they are spared: what comes after is only met by a second try.
    :param crashes: at most so many.
    """

    scenario: str
    seed: int
    walk: bool = False
    share: tuple[int, int] = (0, 1)
    share_seed: int = 0
    leads: list[str] = field(default_factory=list)
    spared: list[str] = field(default_factory=list)
    crashes: int = 5


@dataclass
class Journey:
    """What came of it.

    :param kills: by kind.
    :param after: where the try before died, for each boundary that was met; empty for those that a first try meets.
    :param errors: calls that ended with an error, by its first words; they are repeated like those that were killed.
    :param stuck: why the run did not finish, if it did not.
    """

    scenario: str
    seed: int
    calls: int = 0
    kills: dict[str, int] = field(default_factory=dict)
    hit: list[str] = field(default_factory=list)
    after: dict[str, str] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    faults: int = 0
    stuck: str = ""
    kept: str = ""
    findings: dict[str, int] = field(default_factory=dict)

    @property
    def crashes(self) -> int:
        return sum(self.kills.values())

    def count(self, kind: str) -> None:
        self.kills[kind] = self.kills.get(kind, 0) + 1


class Traveller:
    """Makes journeys at one service, one after the other."""

    def __init__(self, service: Service, home: Path, waits: Waits, sabotaged: bool) -> None:
        self._service = service
        self._home = home
        self._waits = waits
        self._sabotaged = sabotaged
        self._number = 0

    def make(self, order: Order, scenario: Scenario, source: str) -> Journey:
        self._number += 1
        folder = self._home / f"{scenario.name}-{order.seed}"
        folder.mkdir()
        dice = random.Random(order.seed)
        self._service.begin(scenario, dice)
        waits = _SLOW_WAITS if scenario.rows > 10_000 and self._waits == Waits() else self._waits
        site = Site(
            url=self._service.url,
            key=self._service.key,
            model=self._service.model,
            source=source,
            destination=str(folder / "run"),
            shard_rows=scenario.shard_rows,
            waits=waits,
            transport=scenario.transport,
            sabotaged=self._sabotaged,
        )
        journey = _Journey(self._service, scenario, order, dice, site, folder / "log").travel()
        journey.faults = self._service.faults_fired()
        names = self._service.created(site)
        if not journey.stuck:
            journey.findings = do(_audited(site, names), log=folder / "log")
        if not journey.stuck and Findings(**journey.findings).wrong == 0:
            shutil.rmtree(folder)
        else:
            journey.kept = str(folder)
        return journey


def _audited(site: Site, names: list[str]) -> Any:
    def work(line: Line) -> tuple[str, Any]:
        return "finished", asdict(audit(site.destination, site.source, names))

    return work


@dataclass
class _Journey:
    service: Service
    scenario: Scenario
    order: Order
    dice: random.Random
    site: Site
    log: Path

    def travel(self) -> Journey:
        self.journey = Journey(self.scenario.name, self.order.seed)
        self.hit = set(self.order.spared)
        steps = course(self.scenario.way)
        work = next(steps)
        while True:
            if self.journey.calls >= _MOST_CALLS:
                self.journey.stuck = f"not finished after {_MOST_CALLS} calls: {self.journey.errors}"
                return self.journey
            try:
                work = steps.send(self._call(work))
            except StopIteration:
                return self.journey

    def _call(self, work: Work) -> tuple[str | None, Any]:
        self.service.ensure_up()
        may_die = self.journey.crashes < self.order.crashes
        if self.scenario.company == "alone" or work.kind == "trigger" or not may_die:
            children = [self._alone(work, may_die)]
        elif self.scenario.company == "twins":
            children = self._twins(work)
        else:
            children = self._zombie(work)
        for child in children:
            self._note(child)
        best = min(children, key=lambda child: _ORDER[child.ending])
        return best.ending, best.value

    def _alone(self, work: Work, may_die: bool) -> Child:
        if self.order.walk:
            fate = self._fate_of_a_walk() if may_die else Fate()
            child = self._fork(work, fate)
            attend_all([child])
            return child
        how: Literal["boundary", "random", "service", "none"] = "none"
        if may_die and self.dice.random() < 0.85:
            how = self.dice.choice(("service", "random") if self.scenario.kills_service else ("boundary", "random"))
        child = self._fork(work, Fate(nth=self.dice.randrange(1, 60)) if how == "boundary" else Fate())
        if how in ("random", "service"):
            self._wait_for([child], self._moment())
            if how == "random":
                child.signal(signal.SIGKILL)
            elif not child.is_over:
                self.service.crash()
                self.journey.count("service")
                time.sleep(self.dice.uniform(0.0, 0.5))
                self.service.ensure_up()
        attend_all([child])
        return child

    def _fate_of_a_walk(self) -> Fate:
        for lead in self.order.leads:
            if lead not in self.journey.hit:
                return Fate(only=lead)
        return Fate(spared=frozenset(self.hit), share=self.order.share, seed=self.order.share_seed)

    def _twins(self, work: Work) -> list[Child]:
        """Two tries at once; one of them dies, or both do, or none."""
        dice = self.dice
        fates = [Fate(nth=dice.randrange(1, 60)) if dice.random() < 0.3 else Fate() for _ in range(2)]
        children = [self._fork(work, fates[0])]
        if dice.random() < 0.5:
            self._wait_for(children, dice.uniform(0.0, 0.3))
        children.append(self._fork(work, fates[1]))
        for child in dice.sample(children, dice.choice((0, 1, 1, 2))):
            self._wait_for(children, self._moment() / 2)
            child.signal(signal.SIGKILL)
        attend_all(children)
        return children

    def _zombie(self, work: Work) -> list[Child]:
        """A try is frozen for less than lease and settling time, while another one works; then it goes on."""
        waits = self.site.waits
        zombie = self._fork(work, Fate())
        self._wait_for([zombie], self._moment())
        zombie.signal(signal.SIGSTOP)
        other = self._fork(work, Fate(nth=self.dice.randrange(1, 60)) if self.dice.random() < 0.3 else Fate())
        self._wait_for([other], self.dice.uniform(0.1, 0.8) * (waits.lease + waits.settle))
        zombie.signal(signal.SIGCONT)
        if self.dice.random() < 0.5:
            self._wait_for([zombie, other], self._moment())
            self.dice.choice((zombie, other)).signal(signal.SIGKILL)
        attend_all([zombie, other])
        return [other, zombie]

    def _fork(self, work: Work, fate: Fate) -> Child:
        self.journey.calls += 1
        return fork(perform(self.site, work, fate), log=self.log)

    def _moment(self) -> float:
        """Seconds of a try's life after which something happens to it; early ones are likelier, since most steps are there."""
        return self.scenario.slow * self.dice.random() ** 1.5

    def _wait_for(self, children: list[Child], seconds: float) -> None:
        attend(children, until=time.monotonic() + seconds)

    def _note(self, child: Child) -> None:
        journey = self.journey
        for name in child.met:
            if name not in journey.after:
                journey.after[name] = journey.hit[-1] if journey.hit else ""
        if child.hung:
            journey.stuck = journey.stuck or f"a call hung; it last met: {child.met[-1:]}"
        if child.was_killed:
            kind = "boundary" if child.died_at else "random"
            journey.count(kind if self.scenario.company == "alone" else f"{kind}, {self.scenario.company}")
        if child.died_at is not None:
            self.hit.add(child.died_at)
            journey.hit.append(child.died_at)
        if child.ending == "broken":
            raise RuntimeError(f"{child.value} (see {self.log})")
        if child.ending == "failed":
            words = str(child.value).split(".")[0][:90]
            journey.errors[words] = journey.errors.get(words, 0) + 1


_ORDER = {"finished": 0, "deferred": 1, "failed": 2, "broken": 2, None: 3}
