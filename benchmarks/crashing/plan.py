"""Chooses the next run.

First, sweeps kill at every boundary of the swept scenarios, one after the other. Larger tables are spread over the whole time.
The rest is drawn at random, until there are enough crashes and enough rows.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from crashing.runner import Order, Outcome
from crashing.scenarios import Scenario

#: A sweep's boundaries are divided among so many parallel runs, so that a crash does not always follow one at the step before.
_SHARES = 4
#: The division is repeated so often, with other parts. After that, single runs kill at what is left, until one finds nothing.
_ROUNDS = 2
#: Attempts at a boundary that only chance leads to, such as which shard is lost or which try is faster.
_MOST_LEAD_INS = 4
_CRASHES_OF_A_SWEEP = 30
#: If fewer crashes than this are asked for in all, the sweeps stay incomplete.
_ENOUGH_TO_SWEEP = 600


@dataclass
class Sweep:
    """The boundaries of one scenario.

    :param reached_after: for each boundary that was reached: the boundary that the latest crash before it was at, or empty.
    :param killed_at: boundaries that were killed at.
    :param runs: runs ordered so far, of which ``running`` have not ended.
    :param lead_ins: how often each lead-in was tried.
    """

    reached_after: dict[str, str] = field(default_factory=dict)
    killed_at: set[str] = field(default_factory=set)
    runs: int = 0
    is_done: bool = False
    running: int = 0
    lead_ins: Counter[str] = field(default_factory=Counter)

    @property
    def reached(self) -> set[str]:
        return set(self.reached_after)

    def next_lead_ins(self) -> list[str]:
        """Where to kill first, to reach again a boundary that was reached but not killed at. Empty when none is left to try."""
        left = sorted({self.reached_after[name] for name in self.reached - self.killed_at} - {""})
        lead_in = next((lead_in for lead_in in left if self.lead_ins[lead_in] < _MOST_LEAD_INS), None)
        if lead_in is None:
            return []
        self.lead_ins[lead_in] += 1
        before = self.reached_after.get(lead_in, "")
        # The lead-in itself may be reached only by a second try.
        return [before, lead_in] if before and self.lead_ins[lead_in] % 2 == 0 else [lead_in]

    def can_run(self) -> bool:
        """Whether a run can be made now. The single runs at the end need to know what all earlier runs have found."""
        return not self.is_done and (self.running == 0 or (self.runs % _SHARES != 0 and self.runs < _SHARES * _ROUNDS))


class Plan:
    """Gives out orders and counts what came of them.

    :param crashes: crashes to make at least.
    :param rows: rows to send at least, if ``large`` is among the scenarios.
    :param large: rows of a larger table.
    """

    def __init__(self, scenarios: Sequence[Scenario], *, seed: int, crashes: int, rows: int, large: int) -> None:
        self._dice = random.Random(seed)
        self._scenarios = scenarios
        self._crashes, self._rows, self._large = crashes, rows, large
        more = [scenario for scenario in scenarios for _ in range(scenario.weight - 1)]
        self._dice.shuffle(more)
        # Each scenario once before any comes twice, however few crashes are asked for; first those that are not swept.
        once = sorted((one for one in scenarios if one.weight), key=lambda one: one.swept)
        self._drawn, self._first_round = once + more, len(once)
        self._turn = 0
        self._ordered: list[Order] = []
        self.crashes_made = self.rows_made = 0
        self.sweeps = {scenario.name: Sweep() for scenario in scenarios if scenario.swept}

    def next(self) -> Order | None:
        """The next order; None if there is nothing to order now."""
        order = self._next_sweep() or self._next_large() or self._next_drawn()
        if order is not None:
            self._ordered.append(order)
        return order

    def record(self, order: Order, outcome: Outcome) -> None:
        self._ordered.remove(order)
        self.crashes_made += outcome.crashes
        self.rows_made += outcome.findings.get("rows", 0)
        if order.sweep:
            sweep = self.sweeps[order.scenario]
            sweep.running -= 1
            sweep.reached_after = {**outcome.reached_after, **sweep.reached_after}
            sweep.killed_at.update(outcome.killed_at)
            sweep.is_done = order.share == (0, 1) and not order.lead_ins and not outcome.killed_at

    @property
    def is_done(self) -> bool:
        is_enough = self.crashes_made >= self._crashes and self.rows_made >= self._rows and self._turn >= self._first_round
        return not self._ordered and is_enough and self._has_swept

    @property
    def _has_swept(self) -> bool:
        return all(sweep.is_done for sweep in self.sweeps.values()) or self._crashes < _ENOUGH_TO_SWEEP

    def _next_sweep(self) -> Order | None:
        if self._expected_crashes() >= self._crashes and self._has_swept:
            return None
        ready = [name for name, sweep in self.sweeps.items() if sweep.can_run()]
        # If few crashes are asked for, the sweeps must leave some to the other scenarios.
        runs = sum(sweep.runs for sweep in self.sweeps.values())
        if not ready or (self._crashes < _ENOUGH_TO_SWEEP and runs * 2 > self._turn):
            return None
        sweep = self.sweeps[name := min(ready, key=lambda name: self.sweeps[name].runs)]
        share = (sweep.runs % _SHARES, _SHARES) if sweep.runs < _SHARES * _ROUNDS else (0, 1)
        lead_ins = sweep.next_lead_ins() if share == (0, 1) else []
        share_seed = sweep.runs // _SHARES
        sweep.runs += 1
        sweep.running += 1
        crashes = _CRASHES_OF_A_SWEEP if self._crashes >= _ENOUGH_TO_SWEEP else 6
        return Order(name, self._seed(), True, share, share_seed, lead_ins, sorted(sweep.killed_at), crashes)

    def _next_large(self) -> Order | None:
        running = sum(order.scenario == "large" for order in self._ordered)
        if running >= 2 or self.rows_made + running * self._large >= self._rows:
            return None
        # Spread over the whole time, so that the larger tables are crashed until the end.
        if self.crashes_made < self._crashes and self.rows_made + running * self._large > self._rows * self._progress():
            return None
        return Order("large", self._seed(), crashes=6)

    def _next_drawn(self) -> Order | None:
        if self._turn >= self._first_round and (not self._drawn or self._expected_crashes() >= self._crashes):
            return None
        scenario = self._drawn[self._turn % len(self._drawn)]
        self._turn += 1
        return Order(scenario.name, self._seed(), crashes=self._dice.randrange(2, 7))

    def _progress(self) -> float:
        return (self.crashes_made + 1) / self._crashes + 0.1

    def _expected_crashes(self) -> int:
        return self.crashes_made + 3 * len(self._ordered)

    def _seed(self) -> int:
        return self._dice.randrange(1 << 30)
