"""Which journey is made next: first every boundary of the walked scenarios, one after the other; larger tables along the way;
the rest at random, until there have been enough crashes and enough rows."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from crashing.journeys import Journey, Order
from crashing.scenarios import Scenario

#: A walk begins with journeys that pass some boundaries, so that not every crash follows upon one at the step before.
_THIN = (0.7, 0.5, 0.3)
_CRASHES_OF_A_WALK = 30


@dataclass
class Walk:
    """What has been met of a scenario's boundaries, and what has been died at."""

    met: set[str] = field(default_factory=set)
    hit: set[str] = field(default_factory=set)
    journeys: int = 0
    is_done: bool = False
    is_busy: bool = False


class Plan:
    """Gives out orders and keeps count.

    :param crashes: how many to make at least.
    :param rows: how many to send at least, as far as ``large`` is among the scenarios.
    """

    def __init__(self, scenarios: Sequence[Scenario], *, seed: int, crashes: int, rows: int, large: int) -> None:
        self._dice = random.Random(seed)
        self._scenarios = scenarios
        self._crashes, self._rows, self._large = crashes, rows, large
        self._drawn = [scenario for scenario in scenarios for _ in range(scenario.weight)]
        self._dice.shuffle(self._drawn)
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
            walk.is_busy = False
            walk.met.update(journey.met)
            walk.hit.update(journey.hit)
            walk.is_done = order.thin == 0.0 and not journey.hit

    @property
    def is_done(self) -> bool:
        return not self._ordered and self.made_crashes >= self._crashes and self.made_rows >= self._rows and self._has_walked

    @property
    def _has_walked(self) -> bool:
        return all(walk.is_done for walk in self.walks.values()) or self._crashes < 400

    def _next_walk(self) -> Order | None:
        if self._expected_crashes() >= self._crashes and self._has_walked:
            return None
        waiting = [name for name, walk in self.walks.items() if not walk.is_done and not walk.is_busy]
        # In a short run the walks must leave crashes for the others.
        walked = sum(walk.journeys for walk in self.walks.values())
        if not waiting or (self._crashes < 400 and walked * 2 > self._turn):
            return None
        walk = self.walks[name := min(waiting, key=lambda name: self.walks[name].journeys)]
        thin = _THIN[walk.journeys] if walk.journeys < len(_THIN) else 0.0
        walk.journeys += 1
        walk.is_busy = True
        crashes = _CRASHES_OF_A_WALK if self._crashes >= 400 else 6
        return Order(name, self._seed(), walk=True, thin=thin, spared=sorted(walk.hit), crashes=crashes)

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
        self._turn += 1
        scenario = self._drawn[self._turn % len(self._drawn)]
        return Order(scenario.name, self._seed(), crashes=self._dice.randrange(2, 7))

    def _share(self) -> float:
        return (self.made_crashes + 1) / self._crashes + 0.1

    def _expected_crashes(self) -> int:
        return self.made_crashes + 3 * len(self._ordered)

    def _seed(self) -> int:
        return self._dice.randrange(1 << 30)
