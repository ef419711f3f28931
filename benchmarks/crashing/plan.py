"""Which journey is made next: first every boundary of the walked scenarios, one after the other; larger tables along the way;
the rest at random, until there have been enough crashes and enough rows."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from crashing.journeys import Journey, Order
from crashing.scenarios import Scenario

#: A walk's boundaries are shared among so many journeys, side by side: so not every crash follows upon one at the step before.
_SHARES = 4
#: Then single journeys die at what is left, until one finds nothing.
_ROUNDS = 2
#: What chance alone leads to (which shard is lost, who is faster) is tried for so often.
_MOST_LEADS = 4
_CRASHES_OF_A_WALK = 30
#: Below so many crashes in all the walks stay incomplete.
_ENOUGH_TO_WALK = 600


@dataclass
class Walk:
    """What has been met of a scenario's boundaries, where the try before had died then, and what has been died at."""

    after: dict[str, str] = field(default_factory=dict)
    hit: set[str] = field(default_factory=set)
    journeys: int = 0
    is_done: bool = False
    going: int = 0
    leads: Counter[str] = field(default_factory=Counter)

    @property
    def met(self) -> set[str]:
        return set(self.after)

    def next_leads(self) -> list[str]:
        """Where to die first to meet again what has been met and not died at; empty when nothing is left or to be had."""
        left = sorted({self.after[name] for name in self.met - self.hit} - {""})
        lead = next((lead for lead in left if self.leads[lead] < _MOST_LEADS), None)
        if lead is None:
            return []
        self.leads[lead] += 1
        before = self.after.get(lead, "")
        # A lead may itself be met by a second try only.
        return [before, lead] if before and self.leads[lead] % 2 == 0 else [lead]

    def has_an_order(self) -> bool:
        """Whether a journey can be made now: the last ones need to know what all others have found."""
        return not self.is_done and (self.going == 0 or (self.journeys % _SHARES != 0 and self.journeys < _SHARES * _ROUNDS))


class Plan:
    """Gives out orders and keeps count.

    :param crashes: how many to make at least.
    :param rows: how many to send at least, as far as ``large`` is among the scenarios.
    """

    def __init__(self, scenarios: Sequence[Scenario], *, seed: int, crashes: int, rows: int, large: int) -> None:
        self._dice = random.Random(seed)
        self._scenarios = scenarios
        self._crashes, self._rows, self._large = crashes, rows, large
        more = [scenario for scenario in scenarios for _ in range(scenario.weight - 1)]
        self._dice.shuffle(more)
        # Each once before any twice, those that nobody walks first.
        self._drawn = sorted((one for one in scenarios if one.weight), key=lambda one: one.walked) + more
        self._turn = 0
        self._ordered: list[Order] = []
        self.made_crashes = self.made_rows = 0
        self.walks = {scenario.name: Walk() for scenario in scenarios if scenario.walked}

    def next(self) -> Order | None:
        """An order, or None when there is none to give now."""
        order = self._next_walk() or self._next_large() or self._next_drawn()
        if order is not None:
            self._ordered.append(order)
        return order

    def note(self, order: Order, journey: Journey) -> None:
        self._ordered.remove(order)
        self.made_crashes += journey.crashes
        self.made_rows += journey.findings.get("rows", 0)
        if order.walk:
            walk = self.walks[order.scenario]
            walk.going -= 1
            walk.after = {**journey.after, **walk.after}
            walk.hit.update(journey.hit)
            walk.is_done = order.share == (0, 1) and not order.leads and not journey.hit

    @property
    def is_done(self) -> bool:
        return not self._ordered and self.made_crashes >= self._crashes and self.made_rows >= self._rows and self._has_walked

    @property
    def _has_walked(self) -> bool:
        return all(walk.is_done for walk in self.walks.values()) or self._crashes < _ENOUGH_TO_WALK

    def _next_walk(self) -> Order | None:
        if self._expected_crashes() >= self._crashes and self._has_walked:
            return None
        waiting = [name for name, walk in self.walks.items() if walk.has_an_order()]
        # In a short run the walks must leave crashes for the others.
        walked = sum(walk.journeys for walk in self.walks.values())
        if not waiting or (self._crashes < _ENOUGH_TO_WALK and walked * 2 > self._turn):
            return None
        walk = self.walks[name := min(waiting, key=lambda name: self.walks[name].journeys)]
        share = (walk.journeys % _SHARES, _SHARES) if walk.journeys < _SHARES * _ROUNDS else (0, 1)
        leads = walk.next_leads() if share == (0, 1) else []
        share_seed = walk.journeys // _SHARES
        walk.journeys += 1
        walk.going += 1
        crashes = _CRASHES_OF_A_WALK if self._crashes >= _ENOUGH_TO_WALK else 6
        return Order(name, self._seed(), True, share, share_seed, leads, sorted(walk.hit), crashes)

    def _next_large(self) -> Order | None:
        going = sum(order.scenario == "large" for order in self._ordered)
        if going >= 2 or self.made_rows + going * self._large >= self._rows:
            return None
        # Not all at once: the larger tables should meet crashes until the end.
        if self.made_crashes < self._crashes and self.made_rows + going * self._large > self._rows * self._share():
            return None
        return Order("large", self._seed(), crashes=6)

    def _next_drawn(self) -> Order | None:
        if not self._drawn or self._expected_crashes() >= self._crashes:
            return None
        scenario = self._drawn[self._turn % len(self._drawn)]
        self._turn += 1
        return Order(scenario.name, self._seed(), crashes=self._dice.randrange(2, 7))

    def _share(self) -> float:
        return (self.made_crashes + 1) / self._crashes + 0.1

    def _expected_crashes(self) -> int:
        return self.made_crashes + 3 * len(self._ordered)

    def _seed(self) -> int:
        return self._dice.randrange(1 << 30)
