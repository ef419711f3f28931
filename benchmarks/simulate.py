"""A run of a billion rows on paper: how long it would take, what it would need, and which limit holds it up.

    python benchmarks/simulate.py                        # a billion rows, tiers 1 to 3, one project and ten
    python benchmarks/simulate.py --rows 10000000 --seed 2

A discrete-event simulation of one run: workers upload shards and land answers, jobs end, fail or get stuck, files stay until
they expire. The service's limits are documented; speeds are measured (`speed.py`, `transfer.py`). How long jobs take and how
often they fail is assumed: nothing is published but "within 24 hours, mostly much faster". A seed gives the same run each time.
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
import sys
from collections import Counter, deque
from dataclasses import dataclass, field, replace

HOUR, DAY = 3600.0, 86_400.0

#: Tokens that may be enqueued for one model and project, of Gemini 3 Flash (page "Rate limits", January 2026).
TOKENS_OF_TIER = {1: 3_000_000, 2: 400_000_000, 3: 1_000_000_000}
#: Bytes of a chunk that is uploaded with one request.
_CHUNK = 8 << 20
_POLL_SECONDS, _LISTED_JOBS = 30.0, 100


@dataclass(frozen=True, slots=True)
class Plan:
    """
    :param request_bytes, answer_bytes, tokens: of one row; tokens are those of the prompt, which are what is enqueued.
    :param enqueued_tokens, jobs, storage: limits of one project; ``projects`` of them share the run.
    :param kept: seconds that an output stays at the service. It cannot be deleted, and its bytes count.
    """

    rows: int = 1_000_000_000
    request_bytes: int = 568
    answer_bytes: int = 724
    tokens: int = 120
    shard_bytes: int = 1_900_000_000
    shard_rows: int = 50_000
    enqueued_tokens: int = TOKENS_OF_TIER[3]
    jobs: int = 100
    storage: int = 20 << 30
    projects: int = 1
    workers: int = 8
    max_redrives: int = 1
    kept: float = 48 * HOUR

    @property
    def rows_of_shard(self) -> int:
        """No job may hold more tokens than its project may enqueue."""
        return min(self.shard_rows, self.shard_bytes // self.request_bytes, self.enqueued_tokens // self.tokens, self.rows)


@dataclass(frozen=True, slots=True)
class Rates:
    """
    :param job_hours, job_spread: median, and sigma of the lognormal distribution. Assumed.
    :param failed, stuck: shares of the jobs that end without an answer, and that never end. Assumed.
    :param failed_rows: share of the rows whose answer is an error that may be tried again. Assumed.
    :param stuck_after: seconds after which a stuck job is cancelled (``resubmit_stuck_after``).
    :param expires_after: seconds after which the service ends a job without an answer.
    :param build, land: rows a second of one worker; ``transfer`` bytes a second; ``task`` seconds until a task begins to work.
    """

    job_hours: float = 2.0
    job_spread: float = 1.0
    failed: float = 0.01
    stuck: float = 0.01
    failed_rows: float = 0.005
    stuck_after: float = 24 * HOUR
    expires_after: float = 48 * HOUR
    build: float = 119_000.0
    land: float = 47_000.0
    transfer: float = 100e6
    task: float = 3.0


@dataclass(frozen=True, slots=True)
class Shard:
    rows: int
    attempt: int = 0


@dataclass(slots=True)
class Outcome:
    """
    :param seconds: from the start of the build until the last answer has landed.
    :param held_up: seconds in which shards waited, by what they waited for: tokens, storage, jobs or workers.
    :param peak: the most of each limited thing that was in use.
    """

    seconds: float = 0.0
    worker_seconds: float = 0.0
    landed: int = 0
    dead: int = 0
    created: int = 0
    requests: float = 0.0
    held_up: dict[str, float] = field(default_factory=dict)
    peak: Counter[str] = field(default_factory=Counter)

    @property
    def limit(self) -> str:
        """What held the run up most; "answers" where shards waited for nothing but their jobs."""
        most = max(self.held_up, key=lambda name: self.held_up[name], default="answers")
        return most if self.held_up.get(most, 0.0) > self.seconds / 4 else "answers"


class Simulation:
    """Events in the order of time; of two at the same time the one that was planned first."""

    def __init__(self, plan: Plan, rates: Rates, seed: int) -> None:
        self._plan, self._rates, self._dice = plan, rates, random.Random(seed)
        self._used: Counter[str] = Counter()
        self._limits = {
            "jobs": plan.jobs * plan.projects,
            "tokens": plan.enqueued_tokens * plan.projects,
            "storage": plan.storage * plan.projects,
            "workers": plan.workers,
        }
        self._waiting: deque[Shard] = deque()
        self._answered: deque[Shard] = deque()
        self._events: list[tuple[float, int, str, Shard]] = []
        self._planned = 0
        self._now = 0.0
        self.outcome = Outcome()

    def run(self) -> Outcome:
        plan, size = self._plan, self._plan.rows_of_shard
        self._waiting.extend(Shard(min(size, plan.rows - start)) for start in range(0, plan.rows, size))
        self._now = plan.rows / self._rates.build
        self.outcome.worker_seconds = self._now
        happened = {
            "created": self._created,
            "answered": self._answer,
            "unanswered": self._unanswered,
            "landed": self._landed,
            "expired": self._expired,
        }
        held = self._start_work()
        while self._events and self.outcome.landed + self.outcome.dead < plan.rows:
            then, _, event, shard = heapq.heappop(self._events)
            self._pass(then, held)
            happened[event](shard)
            held = self._start_work()
        self.outcome.seconds = self._now
        return self.outcome

    def _pass(self, then: float, held: str | None) -> None:
        elapsed = then - self._now
        if held:
            self.outcome.held_up[held] = self.outcome.held_up.get(held, 0.0) + elapsed
        self.outcome.requests += elapsed / _POLL_SECONDS * math.ceil(self._used["jobs"] / _LISTED_JOBS)
        self._now = then

    def _plan_event(self, after: float, event: str, shard: Shard) -> None:
        self._planned += 1
        heapq.heappush(self._events, (self._now + after, self._planned, event, shard))

    def _use(self, **amounts: int) -> None:
        for name, amount in amounts.items():
            self._used[name] += amount
            self.outcome.peak[name] = max(self.outcome.peak[name], self._used[name])

    def _work(self, seconds: float, event: str, shard: Shard) -> None:
        self._use(workers=1)
        self.outcome.worker_seconds += seconds
        self._plan_event(seconds, event, shard)

    def _start_work(self) -> str | None:
        """Give the free workers their work, answers first: they expire. Returns what the first waiting shard is waiting for."""
        while self._answered and self._used["workers"] < self._limits["workers"]:
            shard = self._answered.popleft()
            transfer = shard.rows * self._plan.answer_bytes / self._rates.transfer
            self._work(self._rates.task + transfer + shard.rows / self._rates.land, "landed", shard)
        while self._waiting:
            shard = self._waiting[0]
            needed = {"jobs": 1, "tokens": shard.rows * self._plan.tokens, "storage": shard.rows * self._plan.request_bytes}
            short = [name for name, amount in needed.items() if self._used[name] + amount > self._limits[name]]
            if short:
                return short[0]
            if self._used["workers"] >= self._limits["workers"]:
                return "workers"
            self._use(**needed)
            size = needed["storage"]
            self.outcome.requests += math.ceil(size / _CHUNK) + 1
            self._work(self._rates.task + size / self._rates.transfer, "created", self._waiting.popleft())
        return None

    def _created(self, shard: Shard) -> None:
        self._used["workers"] -= 1
        self.outcome.created += 1
        self.outcome.requests += 1
        fate = self._dice.random()
        seconds = self._rates.job_hours * HOUR * self._dice.lognormvariate(0, self._rates.job_spread)
        if fate < self._rates.stuck:
            self._plan_event(self._rates.stuck_after, "unanswered", shard)
        elif fate < self._rates.stuck + self._rates.failed or seconds > self._rates.expires_after:
            self._plan_event(min(seconds, self._rates.expires_after), "unanswered", shard)
        else:
            self._plan_event(seconds, "answered", shard)

    def _end(self, shard: Shard) -> None:
        """The job has ended, and its input is deleted."""
        self._used["jobs"] -= 1
        self._used["tokens"] -= shard.rows * self._plan.tokens
        self._used["storage"] -= shard.rows * self._plan.request_bytes
        self.outcome.requests += 1

    def _unanswered(self, shard: Shard) -> None:
        self._end(shard)
        self._again(shard, shard.rows)

    def _answer(self, shard: Shard) -> None:
        self._end(shard)
        self._use(storage=shard.rows * self._plan.answer_bytes)
        self._plan_event(self._plan.kept, "expired", shard)
        self._answered.append(shard)

    def _landed(self, shard: Shard) -> None:
        self._used["workers"] -= 1
        self.outcome.requests += 2
        failed = round(shard.rows * self._rates.failed_rows)
        self.outcome.landed += shard.rows - failed
        self._again(shard, failed)

    def _expired(self, shard: Shard) -> None:
        self._used["storage"] -= shard.rows * self._plan.answer_bytes

    def _again(self, shard: Shard, rows: int) -> None:
        if shard.attempt >= self._plan.max_redrives:
            self.outcome.dead += rows
        elif rows:
            self._waiting.append(Shard(rows, shard.attempt + 1))


def simulate(plan: Plan, rates: Rates | None = None, *, seed: int = 1) -> Outcome:
    """:raises ValueError: a row is larger than a limit, so that no job could hold it."""
    if plan.rows_of_shard < 1 or plan.rows_of_shard * plan.request_bytes > plan.storage:
        raise ValueError(
            f"A shard has {plan.rows_of_shard:,} rows; a limit of the plan is below one row, or storage below one shard."
        )
    return Simulation(plan, rates or Rates(), seed).run()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000_000, help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="(default: %(default)s)")
    parser.add_argument("--workers", type=int, default=8, help="tasks at a time (default: %(default)s)")
    given = parser.parse_args()
    print("tier projects shards of   days  worker hours  jobs   requests  most stored  most jobs  limit")
    for tier, tokens in TOKENS_OF_TIER.items():
        for projects in (1, 10):
            base = Plan(rows=given.rows, enqueued_tokens=tokens, projects=projects, workers=given.workers)
            for plan in (base, replace(base, shard_rows=given.rows)):
                print(_line(tier, plan, simulate(plan, seed=given.seed)), flush=True)
    return 0


def _line(tier: int, plan: Plan, found: Outcome) -> str:
    times = f"{found.seconds / DAY:>6,.0f} {found.worker_seconds / HOUR:>13,.0f}"
    used = f"{found.created:>6,} {found.requests:>10,.0f} {found.peak['storage'] / 2**30:>8,.0f} GB {found.peak['jobs']:>10,}"
    return f"{tier:>4} {plan.projects:>8} {plan.rows_of_shard:>9,} {times} {used}  {found.limit}"


if __name__ == "__main__":
    sys.exit(main())
