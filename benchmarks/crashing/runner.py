"""Runs one scenario with its crashes, from the first call to the audit."""

from __future__ import annotations

import random
import shutil
import signal
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from crashing.audit import CreatedJob, EarlierRun, Findings, audit
from crashing.boundaries import KillRule
from crashing.call_sequences import call_sequence
from crashing.calls import Call, RunTarget, Waits, in_child
from crashing.child_process import ChildProcess, ReportPipe, run_in_child, start_child, wait_for_all, wait_for_one
from crashing.scenarios import Scenario
from crashing.services import Service
from crashing.source_table import write_source

#: A run that has not finished after so many calls is an error: it may never end.
_MOST_CALLS = 150

#: After the name of an earlier run that was moved away.
_MOVED = "-moved"

#: Larger tables take longer to upload and to check, so their requests get more time.
_WAITS_OF_LARGE_TABLES = Waits(timeout=6.0, lease=10.0, listing_lag=3.0)


@dataclass
class Order:
    """One run to make.

    :param sweep: kill at each boundary that is not in ``skip``; otherwise kill at random.
    :param share, share_seed: a sweep kills only at this part of the boundaries (see ``KillRule``). Other runs cover the rest.
    :param lead_ins: boundaries to kill at first, although they are in ``skip``: some boundaries are reached only by a try that
        follows such a crash.
    :param crashes: the most crashes to make.
    """

    scenario: str
    seed: int
    sweep: bool = False
    share: tuple[int, int] = (0, 1)
    share_seed: int = 0
    lead_ins: list[str] = field(default_factory=list)
    skip: list[str] = field(default_factory=list)
    crashes: int = 5


@dataclass
class Outcome:
    """What happened in one run.

    :param kills: crashes by kind.
    :param killed_at: the boundaries that were killed at, in order.
    :param reached_after: for each boundary that was reached: the boundary that the latest crash before it was at, or empty.
    :param errors: calls that ended with an error, by the first words of its message. They are repeated, as killed ones are.
    :param faults: faults that the service had meanwhile.
    :param not_finished: why the run did not finish; empty if it did.
    :param kept: the folder of a run with errors, for inspection.
    :param findings: of the audit, as a dict.
    """

    scenario: str
    seed: int
    calls: int = 0
    kills: dict[str, int] = field(default_factory=dict)
    killed_at: list[str] = field(default_factory=list)
    reached_after: dict[str, str] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    faults: int = 0
    not_finished: str = ""
    kept: str = ""
    findings: dict[str, int] = field(default_factory=dict)

    @property
    def crashes(self) -> int:
        return sum(self.kills.values())

    def count(self, kind: str) -> None:
        self.kills[kind] = self.kills.get(kind, 0) + 1


class Runner:
    """Makes runs at one service, one after the other."""

    def __init__(self, service: Service, home: Path, waits: Waits, sabotage: str) -> None:
        self._service = service
        self._home = home
        self._waits = waits
        self._sabotage = sabotage

    def run(self, order: Order, scenario: Scenario, source: str, first_source: str = "") -> Outcome:
        """
        :param first_source: of the first day, where the scenario reuses its answers.
        """
        folder = self._home / f"{scenario.name}-{order.seed}"
        folder.mkdir()
        dice = random.Random(order.seed)
        self._service.prepare(scenario, dice)
        waits = _WAITS_OF_LARGE_TABLES if scenario.rows > 10_000 and self._waits == Waits() else self._waits
        if scenario.source_changes:
            own = folder / "source.parquet"
            shutil.copy(source, own)
        target = RunTarget(
            url=self._service.url,
            key=self._service.key,
            model=self._service.model,
            source=str(own) if scenario.source_changes else source,
            destination=str(folder / "run"),
            shard_rows=scenario.shard_rows,
            waits=waits,
            transport=scenario.transport,
            raw_requests=scenario.raw_requests,
            answers=scenario.answers,
            slots=scenario.slots,
            sabotage=self._sabotage,
        )
        before: list[CreatedJob] = []
        if scenario.reuses:
            first = replace(target, source=first_source, destination=str(folder / "day-1"), shard_rows=scenario.rows, answers=1)
            run_in_child(in_child(first, Call("run_batch"), KillRule()), log=folder / "log")
            before = self._service.created(first)
            target = replace(target, reuse=first.destination)
        outcome = _Run(self._service, scenario, order, dice, target, folder / "log").until_finished()
        outcome.faults = self._service.faults_fired()
        jobs = [job for job in self._service.created(target) if job not in before]
        if not outcome.not_finished:
            outcome.findings = run_in_child(_audited(target, source, jobs, before), log=folder / "log")
        if not outcome.not_finished and Findings(**outcome.findings).errors == 0:
            shutil.rmtree(folder)
        else:
            outcome.kept = str(folder)
        return outcome


def _audited(target: RunTarget, source: str, jobs: list[CreatedJob], before: list[CreatedJob]) -> Any:
    def function(pipe: ReportPipe) -> tuple[str, Any]:
        earlier = EarlierRun(target.reuse, _place_of(target.reuse), before) if target.reuse else None
        findings = audit(
            target.destination, source, jobs, raw_requests=target.raw_requests, earlier=earlier, answers=target.answers
        )
        return "finished", asdict(findings)

    return function


def _place_of(earlier: str) -> str:
    """Where an earlier run is now."""
    moved = earlier + _MOVED
    return moved if Path(moved).exists() else earlier


@dataclass
class _Run:
    service: Service
    scenario: Scenario
    order: Order
    dice: random.Random
    target: RunTarget
    log: Path

    def until_finished(self) -> Outcome:
        self.outcome = Outcome(self.scenario.name, self.order.seed)
        self.skip = set(self.order.skip)
        sequence = call_sequence(self.scenario.form)
        call = next(sequence)
        while True:
            if self.outcome.calls >= _MOST_CALLS:
                self.outcome.not_finished = f"not finished after {_MOST_CALLS} calls: {self.outcome.errors}"
                return self.outcome
            try:
                call = sequence.send(self._make(call))
            except StopIteration:
                return self.outcome

    def _make(self, call: Call) -> tuple[str | None, Any]:
        """Make a call, with one or two tries; returns the better ending."""
        self.service.ensure_running()
        self._change_source()
        may_crash = self.outcome.crashes < self.order.crashes
        if self.scenario.tries == "single" or call.kind == "trigger" or not may_crash:
            children = [self._single(call, may_crash)]
        elif self.scenario.tries == "concurrent":
            children = self._concurrent(call)
        else:
            children = self._paused(call)
        for child in children:
            self._record(child)
        best = min(children, key=lambda child: _RANKS[child.ending])
        return best.ending, best.value

    def _change_source(self) -> None:
        """Once the run is built, its source gets one row less, or is deleted; and the run that it reuses may be moved away."""
        if not (Path(self.target.destination) / "_run" / "manifest.json").exists():
            return
        earlier = Path(self.target.reuse)
        if self.scenario.reuses and earlier.exists() and self.dice.random() < 0.5:
            earlier.rename(f"{earlier}{_MOVED}")
        if not self.scenario.source_changes:
            return
        source = Path(self.target.source)
        if source.exists():
            if self.dice.random() < 0.5:
                source.unlink()
            else:
                write_source(str(source), self.scenario.rows - 1)

    def _single(self, call: Call, may_crash: bool) -> ChildProcess:
        if self.order.sweep:
            child = self._start(call, self._sweep_rule() if may_crash else KillRule())
            wait_for_all([child])
            return child
        kind: Literal["boundary", "random", "service", "none"] = "none"
        if may_crash and self.dice.random() < 0.85:
            kind = self.dice.choice(("service", "random") if self.scenario.kills_service else ("boundary", "random"))
        child = self._start(call, self._random_rule() if kind == "boundary" else KillRule())
        if kind in ("random", "service"):
            self._wait([child], self._random_delay())
            if kind == "random":
                child.signal(signal.SIGKILL)
            elif not child.has_ended:
                self.service.crash()
                self.outcome.count("service")
                time.sleep(self.dice.uniform(0.0, 0.5))
                self.service.ensure_running()
        wait_for_all([child])
        return child

    def _random_rule(self) -> KillRule:
        if self.scenario.aim and self.dice.random() < 0.8:
            return KillRule(nth=self.dice.randrange(1, 13), about=self.scenario.aim)
        return KillRule(nth=self.dice.randrange(1, 60))

    def _sweep_rule(self) -> KillRule:
        for lead_in in self.order.lead_ins:
            if lead_in not in self.outcome.killed_at:
                return KillRule(only=lead_in)
        return KillRule(skip=frozenset(self.skip), share=self.order.share, seed=self.order.share_seed)

    def _concurrent(self, call: Call) -> list[ChildProcess]:
        """Two tries at the same time. None, one or both are killed."""
        dice = self.dice
        rules = [KillRule(nth=dice.randrange(1, 60)) if dice.random() < 0.3 else KillRule() for _ in range(2)]
        children = [self._start(call, rules[0])]
        if dice.random() < 0.5:
            self._wait(children, dice.uniform(0.0, 0.3))
        children.append(self._start(call, rules[1]))
        for child in dice.sample(children, dice.choice((0, 1, 1, 2))):
            self._wait(children, self._random_delay() / 2)
            child.signal(signal.SIGKILL)
        wait_for_all(children)
        return children

    def _paused(self, call: Call) -> list[ChildProcess]:
        """One try is paused (SIGSTOP) while another one works, and then continues. The pause is shorter than lease and listing
        lag together."""
        waits = self.target.waits
        paused = self._start(call, KillRule())
        self._wait([paused], self._random_delay())
        paused.signal(signal.SIGSTOP)
        other = self._start(call, KillRule(nth=self.dice.randrange(1, 60)) if self.dice.random() < 0.3 else KillRule())
        self._wait([other], self.dice.uniform(0.1, 0.8) * (waits.lease + waits.listing_lag))
        paused.signal(signal.SIGCONT)
        if self.dice.random() < 0.5:
            self._wait([paused, other], self._random_delay())
            self.dice.choice((paused, other)).signal(signal.SIGKILL)
        wait_for_all([paused, other])
        return [other, paused]

    def _start(self, call: Call, rule: KillRule) -> ChildProcess:
        self.outcome.calls += 1
        return start_child(in_child(self.target, call, rule), log=self.log)

    def _random_delay(self) -> float:
        """Seconds from the start of a try to a random kill or pause. Short ones are likelier, since most steps come early."""
        return float(self.scenario.duration * self.dice.random() ** 1.5)

    def _wait(self, children: list[ChildProcess], seconds: float) -> None:
        wait_for_one(children, until=time.monotonic() + seconds)

    def _record(self, child: ChildProcess) -> None:
        outcome = self.outcome
        for name in child.reached:
            if name not in outcome.reached_after:
                outcome.reached_after[name] = outcome.killed_at[-1] if outcome.killed_at else ""
        if child.hung:
            outcome.not_finished = outcome.not_finished or f"a call hung; the last boundary it reached: {child.reached[-1:]}"
        if child.was_killed:
            kind = "boundary" if child.killed_at else "random"
            outcome.count(kind if self.scenario.tries == "single" else f"{kind} ({self.scenario.tries})")
        if child.killed_at is not None:
            self.skip.add(child.killed_at)
            outcome.killed_at.append(child.killed_at)
        if child.ending == "broken":
            raise RuntimeError(f"{child.value} (see {self.log})")
        if child.ending == "failed":
            words = str(child.value).split(".")[0][:90]
            outcome.errors[words] = outcome.errors.get(words, 0) + 1


#: Of two tries, the one with the lower rank decides what comes next.
_RANKS = {"finished": 0, "deferred": 1, "failed": 2, "broken": 2, None: 3}
