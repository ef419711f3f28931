"""Which slots the jobs of a project hold, and which waiting group is next: pure functions on plain values.

A slot is a job that was created or is about to be. A group that finds no free slot is recorded as waiting, once for each model. A
slot that becomes free is reserved for the group with the fewest, and among equals for the one that has waited longest.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from airflow_gemini_batch.engine.gemini.waits import quota_wait
from airflow_gemini_batch.engine.project_limits import ProjectLimits

#: Seconds over which spend is added up.
_SPEND_WINDOW = 600.0

#: Seconds after which a waiting group that has not asked again is dropped: above the longest time between two tries.
_FORGET_WAITER = 900.0

#: Seconds after which a waiting group, or a slot without a job, is recorded again as still in use.
_CONFIRM = 60.0

#: Seconds for which a refusal counts: quotas are raised, and jobs of others end.
_FORGET_REFUSAL = 3_600.0

#: Seconds between two tries above what was refused, while none of them has been answered.
_PROBE_EVERY = 60.0


class Demand(msgspec.Struct, frozen=True):
    """What a job takes of the limits.

    :param group: between whom slots are shared fairly: a DAG, or a run outside Airflow.
    :param tokens: that go in, about.
    :param usd: what it may be expected to cost.
    """

    group: str
    model: str
    tokens: int
    usd: float = 0.0


class Slot(msgspec.Struct, frozen=True):
    """A job that was created or is about to be. ``since``: seconds since the epoch, when that was last said."""

    demand: Demand
    since: float


class Waiter(msgspec.Struct, frozen=True):
    """A group that waits for a slot for a model. ``since``, ``seen``: seconds since the epoch, when it asked first and last."""

    demand: Demand
    since: float
    seen: float


class Refusal(msgspec.Struct, frozen=True):
    """The service took no more of a model (429).

    :param jobs, tokens: in flight then, without what was refused.
    :param times: in a row.
    :param at, not_before: seconds since the epoch: when, and until when nothing above that is tried.
    """

    jobs: int
    tokens: int
    times: int
    at: float
    not_before: float


class State(msgspec.Struct, frozen=True):
    """
    :param slots: by the token of the job.
    :param waiters: by group and model.
    :param sent: token of a job of the last ten minutes -> when it was created (seconds since the epoch), and its expected USD.
    :param refusals: by model.
    :param looked_at: seconds since the epoch, when the slots were last compared with the service's jobs.
    """

    slots: dict[str, Slot] = {}
    waiters: dict[str, Waiter] = {}
    sent: dict[str, tuple[float, float]] = {}
    refusals: dict[str, Refusal] = {}
    looked_at: float = 0.0

    def now(self, now: float) -> State:
        """The state without entries that have expired."""
        return msgspec.structs.replace(
            self,
            waiters={key: one for key, one in self.waiters.items() if one.seen > now - _FORGET_WAITER},
            sent={token: (at, usd) for token, (at, usd) in self.sent.items() if at > now - _SPEND_WINDOW},
            refusals={model: one for model, one in self.refusals.items() if one.at > now - _FORGET_REFUSAL},
        )


class Obstacle(NamedTuple):
    """Why no slot is free.

    :param everyone: whether it stands in the way of every model.
    :param clears_at: seconds since the epoch, where that is known.
    """

    why: str
    everyone: bool
    clears_at: float | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of asking for a slot.

    :param probes: whether the service has refused the model lately, so that its answer for this job has to be recorded.
    """

    obstacle: Obstacle | None = None
    probes: bool = False


def take(state: State, limits: ProjectLimits, token: str, demand: Demand, now: float) -> tuple[State, Answer]:
    """Request a slot, for the first time or again. Without a free one, the group is recorded as waiting."""
    held = state.slots.get(token)
    if held is not None:
        probes = demand.model in state.refusals
        confirmed = {**state.slots, token: Slot(demand, now)}
        return (state if held.since > now - _CONFIRM else msgspec.structs.replace(state, slots=confirmed)), Answer(probes=probes)
    state = state.now(now)
    key = f"{demand.group} {demand.model}"
    waiter = state.waiters.get(key)
    mine = Waiter(demand, now if waiter is None else waiter.since, now)
    obstacle = _obstacle({**state.waiters, key: mine}, key, _Room(state, limits, now))
    if obstacle is not None:
        if waiter is None or waiter.seen <= now - _CONFIRM:
            state = msgspec.structs.replace(state, waiters={**state.waiters, key: mine})
        return state, Answer(obstacle)
    refusals, probes = state.refusals, demand.model in state.refusals
    if probes and _Room(state, limits, now).is_above_refused(demand):
        refusals = {**refusals, demand.model: msgspec.structs.replace(refusals[demand.model], not_before=now + _PROBE_EVERY)}
    return (
        msgspec.structs.replace(
            state,
            slots={**state.slots, token: Slot(demand, now)},
            waiters={other: one for other, one in state.waiters.items() if other != key},
            sent={**state.sent, token: (now, demand.usd)} if demand.usd else state.sent,
            refusals=refusals,
        ),
        Answer(probes=probes),
    )


def refused(state: State, token: str, demand: Demand, retry_after: float | None, now: float) -> State:
    """The service has refused the job (429): its slot is free. What the other jobs take is all that is accepted now."""
    state = not_created(state, token)
    others = [slot.demand for slot in state.slots.values() if slot.demand.model == demand.model]
    before = state.now(now).refusals.get(demand.model)
    times = 1 if before is None else before.times + 1
    wait = quota_wait(times, retry_after, jitter=0.5)
    refusal = Refusal(len(others), sum(other.tokens for other in others), times, now, now + wait)
    return msgspec.structs.replace(state, refusals={**state.refusals, demand.model: refusal})


def accepted(state: State, demand: Demand, now: float) -> State:
    """The service has accepted a job after a refusal: if more is in flight now than when it refused, raise what is possible."""
    refusal = state.refusals.get(demand.model)
    if refusal is None:
        return state
    all = [slot.demand for slot in state.slots.values() if slot.demand.model == demand.model]
    jobs, tokens = len(all), sum(other.tokens for other in all)
    if jobs <= refusal.jobs and tokens <= refusal.tokens:
        return state
    higher = Refusal(max(jobs, refusal.jobs), max(tokens, refusal.tokens), 0, refusal.at, now)
    return msgspec.structs.replace(state, refusals={**state.refusals, demand.model: higher})


def not_created(state: State, token: str) -> State:
    """The job was not created: it takes no slot and costs nothing."""
    sent = {other: one for other, one in state.sent.items() if other != token}
    return msgspec.structs.replace(released(state, token), sent=sent)


def released(state: State, *tokens: str) -> State:
    """These jobs have no slot any more."""
    return msgspec.structs.replace(state, slots={token: one for token, one in state.slots.items() if token not in tokens})


def _obstacle(waiters: dict[str, Waiter], mine: str, room: _Room) -> Obstacle | None:
    """What blocks me when all waiting groups are served in order; None when I am served."""
    blocked: dict[str, Obstacle] = {}
    left = dict(waiters)
    while True:
        key = min(left, key=lambda key: (room.groups[left[key].demand.group], left[key].since, key))
        demand = left.pop(key).demand
        obstacle = blocked.get(demand.model) or room.obstacle(demand)
        if key == mine:
            return obstacle
        if obstacle is None:
            room.add(demand)
        elif obstacle.everyone:
            return obstacle
        else:  # a smaller request must not overtake one that has waited longer
            blocked[demand.model] = obstacle


class _Room:
    """What is taken, and what still fits."""

    def __init__(self, state: State, limits: ProjectLimits, now: float) -> None:
        self._limits = limits
        self._now = now
        self._refusals = state.refusals
        self._sent = state.sent
        self._spent = sum(usd for _, usd in state.sent.values())
        self.groups: Counter[str] = Counter()
        self._jobs: Counter[str] = Counter()
        self._tokens: Counter[str] = Counter()
        for slot in state.slots.values():
            self._count(slot.demand)

    def add(self, demand: Demand) -> None:
        """Reserve a slot for a group that is served before."""
        self._count(demand)
        self._spent += demand.usd

    def obstacle(self, demand: Demand) -> Obstacle | None:
        jobs, limit = self._jobs.total(), self._limits.max_active_jobs
        if limit is not None and jobs >= limit:
            return Obstacle(f"{jobs} jobs are active or next ({self._shares()}), max_active_jobs is {limit}", everyone=True)
        usd = self._limits.max_usd_per_10_minutes
        if usd is not None and self._spent > 0 and self._spent + demand.usd > usd:
            sent = f"about {self._spent:.2f} USD were sent in ten minutes, max_usd_per_10_minutes is {usd:.2f}"
            first = min((at for at, _ in self._sent.values()), default=None)
            return Obstacle(sent, everyone=True, clears_at=None if first is None else first + _SPEND_WINDOW)
        enqueued, most = self._tokens[demand.model], self._limits.enqueued_tokens_of(demand.model)
        if most is not None and enqueued and enqueued + demand.tokens > most:
            sum_of = f"about {enqueued:,} tokens of {demand.model} are enqueued, {demand.tokens:,} would be added"
            return Obstacle(f"{sum_of}, max_enqueued_tokens is {most:,}", everyone=False)
        refusal = self._refusals.get(demand.model)
        if refusal is not None and self.is_above_refused(demand) and self._now < refusal.not_before:
            ago = f"{self._now - refusal.at:.0f} s ago, with {refusal.jobs} jobs and about {refusal.tokens:,} tokens in flight"
            return Obstacle(f"the service took no more of {demand.model} {ago}", everyone=False, clears_at=refusal.not_before)
        return None

    def is_above_refused(self, demand: Demand) -> bool:
        """Whether there would be more in flight than what the service took when it refused."""
        refusal = self._refusals[demand.model]
        return self._jobs[demand.model] >= refusal.jobs or self._tokens[demand.model] + demand.tokens > refusal.tokens

    def _count(self, demand: Demand) -> None:
        self.groups[demand.group] += 1
        self._jobs[demand.model] += 1
        self._tokens[demand.model] += demand.tokens

    def _shares(self) -> str:
        return ", ".join(f"{group} {jobs}" for group, jobs in self.groups.most_common(5))
