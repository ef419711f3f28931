"""Simulate comparisons whose truth is known, and hold what `airflow_gemini_batch.evals` says of them to the expected tables.

    python benchmarks/evals.py                          # all tables, 1,000 simulated comparisons for each figure
    python benchmarks/evals.py --table clusters --runs 10000

Each figure is a share of simulated comparisons in per cent (an interval that holds the truth, a false alarm, a difference that is
shown) unless its table says otherwise. The expected figures were simulated before and apart from this package's code. The exit
code is 1 if one is further from its expected figure than the tolerance.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from airflow_gemini_batch.evals import agreement, pass_at_k, pass_k, rows_needed, win_rate
from airflow_gemini_batch.evals.statistics.differences import Difference, paired_difference
from airflow_gemini_batch.evals.statistics.gates import Verdict, gate
from airflow_gemini_batch.evals.statistics.holm import holm
from airflow_gemini_batch.evals.statistics.mcnemar import mcnemar_exact
from airflow_gemini_batch.evals.statistics.missing import missing_bounds
from airflow_gemini_batch.evals.statistics.planning import minimum_detectable_effect
from airflow_gemini_batch.evals.statistics.resampling import bootstrap_interval, sign_flip_p

#: Three standard errors of a share of 5 % in 1,000 comparisons; and of shares far from 0 and 100 %, where they are larger.
NEAR, FAR = 2.1, 4.0
#: Of sign flips, and of the bootstrap of numbers: the default of 9,999 gives the same shares, ten times as slowly.
_RESAMPLES = 999
_POPULATION = 1_000_000


@dataclass(frozen=True, slots=True)
class Figure:
    """One cell: what was found, what was expected, and how far apart they may be.

    :param between: instead of the tolerance, the bounds that matter: of methods that must be seen to fail.
    """

    name: str
    found: float
    expected: float
    tolerance: float
    between: tuple[float, float] | None = None

    @property
    def holds(self) -> bool:
        low, high = self.between or (self.expected - self.tolerance, self.expected + self.tolerance)
        return low <= self.found <= high

    def __str__(self) -> str:
        digits = 4 if 0 < self.tolerance < 0.1 else 1
        allowed = "({:g} to {:g})".format(*self.between) if self.between else f"± {self.tolerance:g}"
        expected = f"{self.expected:7.{digits}f} {allowed:12}{'' if self.holds else 'OUTSIDE'}"
        return f"{self.name:68}{self.found:9.{digits}f}   expected {expected}".rstrip()


@dataclass(frozen=True, slots=True)
class Simulation:
    """:param runs: comparisons for each figure."""

    dice: np.random.Generator
    runs: int

    def booleans(self, n: int, better: float, worse: float) -> Iterator[Any]:
        """Differences of n keys, of which these shares become right and become wrong, again and again."""
        for counts in self.dice.multinomial(n, [better, worse, 1 - better - worse], size=self.runs):
            yield np.repeat([1, -1, 0], counts)

    def samples(self, population: Any, n: int) -> Iterator[Any]:
        for _ in range(self.runs):
            yield population[self.dice.integers(0, len(population), n)]


def _percent(events: Iterable[bool]) -> float:
    return 100 * float(np.mean(list(events)))


def _holds(difference: Difference, truth: float) -> bool:
    """An interval that does not exist does not hold the truth."""
    return difference.low is not None and difference.high is not None and difference.low <= truth <= difference.high


def _t(differences: Any) -> Difference:
    return paired_difference(differences, kind="float")


def _rejects(p: float | None) -> bool:
    return p is not None and p < 0.05


def _near(name: str, found: float, expected: float) -> Figure:
    """Of a share that is nearly all or nearly nothing by intent."""
    return Figure(name, found, expected, NEAR if expected >= 91 or expected <= 9 else FAR)


def coverage(simulation: Simulation) -> Iterator[Figure]:
    """Intervals of the difference, at 95 %"""
    for better, worse, cells in (
        (0.10, 0.05, {30: (94.6, 91.9, 96.8), 100: (94.7, 95.8, 95.5), 1000: (95.6, 95.8, 95.6)}),
        (0.03, 0.01, {30: (69.0, 57.7, 99.9), 100: (93.6, 93.9, 94.5), 1000: (94.0, 94.7, 94.4)}),
        (0.05, 0.00, {100: (87.7, None, 95.9)}),
    ):
        for n, (of_t, percentile, agresti_min) in cells.items():
            name = f"yes or no, {better:.0%} better, {worse:.0%} worse, n {n:,}"
            drawn, truth = list(simulation.booleans(n, better, worse)), better - worse
            yield _near(f"{name}: t", _percent(_holds(_t(one), truth) for one in drawn), of_t)
            yield _near(f"{name}: Agresti-Min", _percent(_boolean_holds(one, truth) for one in drawn), agresti_min)
            if percentile is not None:
                yield _near(f"{name}: percentile", _bootstrapped(drawn, truth, 9999), percentile)
    hard = simulation.dice.beta(2, 1, _POPULATION)
    scores = [np.clip(hard + simulation.dice.normal(gain, 0.2, _POPULATION), 0, 1) for gain in (0.0, 0.02)]
    skewed = simulation.dice.lognormal(0, 1.25, _POPULATION)
    yield from _of_floats(simulation, "numbers from 0 to 1", scores[1] - scores[0], (94.0, 95.6, 95.0), (92.3, 95.2, 94.9))
    yield from _of_floats(simulation, "heavy skew", skewed, (83.0, 89.0, 94.6), (83.0, 90.0, 94.1))


def _boolean_holds(differences: Any, truth: float) -> bool:
    return _holds(paired_difference(differences, kind="boolean"), truth)


def _bootstrapped(drawn: Iterable[Any], truth: float, resamples: int = _RESAMPLES) -> float:
    ends = (bootstrap_interval(one, resamples=resamples, seed=seed) for seed, one in enumerate(drawn))
    return _percent(low <= truth <= high for low, high in ends)


def _of_floats(
    simulation: Simulation, kind: str, population: Any, of_t: tuple[float, ...], percentile: tuple[float, ...]
) -> Iterator[Figure]:
    truth = float(population.mean())
    for place, n in enumerate((30, 100, 1000)):
        drawn = list(simulation.samples(population, n))
        yield _near(f"{kind}, n {n:,}: t", _percent(_holds(_t(one), truth) for one in drawn), of_t[place])
        yield _near(f"{kind}, n {n:,}: percentile", _bootstrapped(drawn, truth), percentile[place])


def rejections(simulation: Simulation) -> Iterator[Figure]:
    """Differences called significant at 5 %, where there is none, and where there is one"""
    for better, worse, n, expected in (
        (0.10, 0.10, 30, (1.4, 3.2, 4.7)),
        (0.10, 0.10, 100, (3.1, 4.6, 5.1)),
        (0.10, 0.10, 1000, (3.9, 4.5, 4.5)),
        (0.02, 0.02, 100, (0.4, 1.5, 4.2)),
        (0.02, 0.02, 1000, (3.8, 5.0, 5.1)),
        (0.12, 0.04, 100, (46.0, 54.0, 55.0)),
    ):
        drawn = list(simulation.booleans(n, better, worse))
        boolean = [paired_difference(one, kind="boolean") for one in drawn]
        name = f"{better:.0%} better, {worse:.0%} worse, n {n:,}"
        exact = _percent(mcnemar_exact(one.improved, one.regressed) < 0.05 for one in boolean)
        yield _near(f"{name}: exact McNemar", exact, expected[0])
        yield _near(f"{name}: mid-p", _percent(_rejects(one.p) for one in boolean), expected[1])
        yield _near(f"{name}: t", _percent(_rejects(_t(one).p) for one in drawn), expected[2])
    lognormal = simulation.dice.lognormal(0, 1, _POPULATION)
    normal = simulation.dice.normal(0, 1, _POPULATION)
    for kind, population, cells in (
        ("skewed", lognormal - lognormal.mean(), {10: (15.8, 16.3), 30: (13.5, 13.3), 100: (8.6, 8.7)}),
        ("normal", normal - normal.mean(), {10: (5.0, 5.0), 30: (4.3, 5.0), 100: (4.9, 5.0)}),
    ):
        for n, (flips, of_t) in cells.items():
            drawn = list(simulation.samples(population, n))
            flipped = (sign_flip_p(one, resamples=_RESAMPLES, seed=seed) for seed, one in enumerate(drawn))
            yield _near(f"{kind} with mean 0, n {n}: sign flips", _percent(p < 0.05 for p in flipped), flips)
            yield _near(f"{kind} with mean 0, n {n}: t", _percent(_rejects(_t(one).p) for one in drawn), of_t)


def clusters(simulation: Simulation) -> Iterator[Figure]:
    """Intervals at 95 %, of keys in clusters with a correlation of 0.3"""
    dice = simulation.dice
    for groups, size, equal, naive, robust in (
        (10, 10, True, 69.0, 94.9),
        (20, 10, True, 73.0, 95.5),
        (20, 10, False, 57.0, 93.0),
        (50, 10, False, 56.0, 94.1),
        (200, 5, False, 72.0, 94.9),
    ):
        alone, grouped = [], []
        for _ in range(simulation.runs):
            sizes = np.full(groups, size) if equal else dice.geometric(1 / size, groups)
            ids = np.repeat(np.arange(groups), sizes)
            drawn = dice.normal(0, np.sqrt(0.3), groups)[ids] + dice.normal(0, np.sqrt(0.7), len(ids))
            alone.append(_holds(_t(drawn), 0))
            grouped.append(_holds(paired_difference(drawn, kind="float", clusters=ids), 0))
        name = f"{groups} clusters of {size}, {'equal' if equal else 'unequal'}"
        yield Figure(f"{name}: without clusters", _percent(alone), naive, FAR, between=(0, 80))
        yield _near(f"{name}: CR1", _percent(grouped), robust)


def several(simulation: Simulation) -> Iterator[Figure]:
    """Any false alarm among several scorers with a correlation of 0.5"""
    dice = simulation.dice
    for scorers, raw, corrected in ((3, 12.7, 4.2), (5, 18.0, 3.5), (10, 29.0, 3.5)):
        ps = []
        for _ in range(simulation.runs):
            shared = dice.normal(0, np.sqrt(0.5), (1, 50))
            ps.append([_t(one).p for one in shared + dice.normal(0, np.sqrt(0.5), (scorers, 50))])
        false_alarms = _percent(any(map(_rejects, of_run)) for of_run in ps)
        yield Figure(f"{scorers} scorers: uncorrected", false_alarms, raw, FAR, between=(max(10, raw - FAR), raw + FAR))
        yield _near(f"{scorers} scorers: Holm", _percent(any(map(_rejects, holm(of_run))) for of_run in ps), corrected)


def planning(simulation: Simulation) -> Iterator[Figure]:
    """Differences shown, with the rows that were said to show 80 % of them"""
    for disc, delta, exact, rows, expected in (
        (0.10, 0.03, False, 865, 80.7),
        (0.10, 0.03, True, 931, 79.8),
        (0.20, 0.05, False, 621, 79.9),
        (0.20, 0.05, True, 661, 79.7),
    ):
        n = rows_needed(delta, disc, exact=exact)
        yield Figure(f"disc {disc}, delta {delta}{', exact' if exact else ''}: rows", n, rows, 0)
        drawn = simulation.booleans(n, (disc + delta) / 2, (disc - delta) / 2)
        found = [paired_difference(one, kind="boolean") for one in drawn]
        shown = _percent(mcnemar_exact(one.improved, one.regressed) < 0.05 if exact else one.shown for one in found)
        yield Figure(f"disc {disc}, delta {delta}{', exact' if exact else ''}: shown", shown, expected, FAR)
        if not exact and disc == 0.10:
            exactly = _percent(mcnemar_exact(one.improved, one.regressed) < 0.05 for one in found)
            yield Figure(f"disc {disc}, delta {delta}: shown by exact McNemar with rows for mid-p", exactly, 76.9, FAR)
    n = rows_needed(0.05, sd=0.3)
    yield Figure("sd 0.3, delta 0.05: rows", n, 285, 0)
    normal = simulation.dice.normal(0, 0.3, _POPULATION)
    floats = list(simulation.samples(normal - normal.mean(), n))
    yield Figure("sd 0.3, delta 0.05: shown", _percent(_t(one + 0.05).shown for one in floats), 80.6, FAR)
    effect = minimum_detectable_effect(0.3 / np.sqrt(n))
    yield Figure("the minimum detectable effect: shown", _percent(_t(one + effect).shown for one in floats), 80.0, FAR)


def repeats(simulation: Simulation) -> Iterator[Figure]:
    """Several answers to a key"""
    dice = simulation.dice
    easy = dice.beta(0.8, 0.4, _POPULATION)
    moved = np.clip(easy + dice.normal(0, 0.15, _POPULATION), 0, 1)
    truth = float(moved.mean() - easy.mean())
    for k, width in ((1, 0.071), (2, 0.052), (3, 0.044), (5, 0.036), (10, 0.028)):
        found = [
            paired_difference(one.mean(axis=1), kind="boolean", averaged=True)
            for one in _answers(simulation, easy, moved, keys=200, k=k)
        ]
        half = float(np.mean([(one.high - one.low) / 2 for one in found if one.high is not None and one.low is not None]))
        yield Figure(f"200 keys, {k} answers: half of the interval's width", half, width, 0.0015)
    drawn = list(_answers(simulation, easy, moved, keys=100, k=5))
    yield _near("5 answers as 5 rows: 95 % intervals", _percent(_holds(_t(one), truth) for one in drawn), 91.9)
    averaged = (paired_difference(one.mean(axis=1), kind="boolean", averaged=True) for one in drawn)
    yield _near("5 answers averaged: 95 % intervals", _percent(_holds(one, truth) for one in averaged), 94.7)
    keys = dice.beta(0.602, 0.401, (simulation.runs, 100, 1))
    right = dice.random((simulation.runs, 100, 10)) < keys
    shares = right.mean(axis=2)
    for name, estimate, plugged, truth, biased in (
        ("pass@8", pass_at_k, 1 - (1 - shares) ** 8, 0.8731, 0.8432),
        ("pass^8", pass_k, shares**8, 0.2881, 0.3314),
    ):
        mean = float(np.mean([estimate(of_run, 8) for of_run in right.tolist()]))
        yield Figure(f"{name} of 10 answers: mean estimate", mean, truth, 0.004)
        yield Figure(f"{name} of 10 answers: from the share of right answers, biased", float(plugged.mean()), biased, 0.004)


def _answers(simulation: Simulation, easy: Any, moved: Any, *, keys: int, k: int) -> Iterator[Any]:
    """Differences of the answers of both sides, keys x k, when each key has chances of its own."""
    for _ in range(simulation.runs):
        at = simulation.dice.integers(0, len(easy), keys)
        sides = [simulation.dice.random((keys, k)) < chances[at, None] for chances in (easy, moved)]
        yield sides[1].astype(float) - sides[0]


def judges(simulation: Simulation) -> Iterator[Figure]:
    """A judge that adds 15 points to the first place, and two equal candidates of 200 keys; agreement of a judge with people"""
    who = np.array(["baseline", "candidate"])
    one_order, both = [], []
    for _ in range(simulation.runs):
        first, second = (simulation.dice.random(200) < chance for chance in (0.65, 0.35))  # of the candidate, shown there
        one_order.append(_t(second - 0.5))
        both.append(win_rate(zip(who[first.astype(int)].tolist(), who[second.astype(int)].tolist(), strict=True)))
    yield Figure("shown second only: wins", 50 + 100 * float(np.mean([one.mean for one in one_order])), 35.0, 0.5)
    yield Figure("shown second only: significant", _percent(_rejects(one.p) for one in one_order), 99.0, NEAR)
    yield Figure("both orders: wins", 100 * float(np.mean([one.mean for one in both])), 50.0, 0.5)
    yield Figure("both orders: significant", _percent(one.shown for one in both), 4.9, NEAR)
    yield Figure("both orders: 95 % intervals", _percent(not one.shown for one in both), 95.1, NEAR)
    # 0.6 of the labels are copied, and the others drawn like those of people: kappa is 0.6.
    for n, expected in ((50, 93.8), (200, 94.2)):
        held = []
        for seed in range(min(simulation.runs, 1000)):
            human, other = simulation.dice.random((2, n)) < 0.3
            found = agreement(np.where(simulation.dice.random(n) < 0.6, human, other), human, seed=seed)
            held.append(found.low is not None and found.high is not None and found.low <= 0.6 <= found.high)
        yield Figure(f"kappa of {n} labels: 95 % intervals", _percent(held), expected, NEAR)


def missing(simulation: Simulation) -> Iterator[Figure]:
    """A candidate that loses 7 % of 1,000 keys, mostly hard ones, and is as good as the baseline; in points"""
    dice, n = simulation.dice, 1000
    left, paired, worst, low, high, past, outside = [], [], [], [], [], [], []
    for _ in range(simulation.runs):
        easy = dice.beta(1.85, 0.975, n)
        baseline, candidate = (np.where(dice.random(n) < easy, 1.0, 0.0) for _ in range(2))
        candidate[dice.random(n) < 0.191 * (1 - easy)] = np.nan
        known = ~np.isnan(candidate)
        found = missing_bounds(baseline, candidate, kind="boolean")
        ends = [found.low_ci, found.low, found.high, found.high_ci]
        lowest, least, most, highest = [float("nan") if end is None else end for end in ends]
        left.append(candidate[known].mean() - baseline.mean())
        paired.append((candidate - baseline)[known].mean())
        worst.append(found.as_worst.mean)
        low.append(least)
        high.append(most)
        past.append(not least <= 0 <= most)
        outside.append(not lowest <= 0 <= highest)
    for name, found_points, points in (
        ("means of what is left", left, 1.2),
        ("keys of both runs", paired, 0.0),
        ("missing as worst", worst, -3.2),
        ("lower bound", low, -3.2),
        ("upper bound", high, 3.4),
    ):
        yield Figure(name, 100 * float(np.mean(np.array(found_points, float))), points, 0.3)
    yield _near("truth outside the bounds, % of runs", _percent(past), 7.0)
    yield Figure("truth outside the intervals of the bounds, % of runs", _percent(outside), 0.0, 0.5)


def gates(simulation: Simulation) -> Iterator[Figure]:
    """A margin of 2 points, where 15 % of the keys differ: alarms by the mean, verdicts by bounds"""
    margin, disc = 0.02, 0.15
    for place, n in enumerate((100, 300, 1000, 3000)):
        for truth, by_mean, verdicts in (
            (0.0, (25, 17, 4, 0), {"not pass": (86, 76, 50, 12)}),
            (-margin, (44, 46, 49, 49), {"pass": (5, 5, 5, 5), "fail": (5, 5, 5, 5)}),
            (-0.05, None, {"fail": (18, 38, 79, 100)}),
        ):
            drawn = simulation.booleans(n, (disc + truth) / 2, (disc - truth) / 2)
            found = [paired_difference(one, kind="boolean") for one in drawn]
            name = f"truth {100 * truth:.0f} points, n {n:,}"
            if by_mean:
                alarms = _percent(one.improved - one.regressed < -round(n * margin) for one in found)
                yield _near(f"{name}: mean below the margin", alarms, by_mean[place])
            said: list[Verdict] = [gate(one, margin).verdict for one in found]
            for verdict, expected in verdicts.items():
                share = _percent(one != "pass" if verdict == "not pass" else one == verdict for one in said)
                yield _near(f"{name}: {verdict}", share, expected[place])
    needed = gate(paired_difference(np.repeat([1, -1, 0], [45, 45, 510]), kind="boolean"), margin).rows_needed
    yield Figure("rows that an undecided gate asks for", needed or 0, 2319, 0)


Table = Callable[[Simulation], Iterator[Figure]]
TABLES: dict[str, Table] = {
    one.__name__: one for one in (coverage, rejections, clusters, several, planning, repeats, judges, missing, gates)
}


def simulate(name: str, *, runs: int, seed: int) -> list[Figure]:
    """One table. It does not depend on the tables that were simulated before."""
    return list(TABLES[name](Simulation(np.random.default_rng([seed, list(TABLES).index(name)]), runs)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000, help="simulated comparisons for each figure (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=3, help="(default: %(default)s)")
    parser.add_argument("--table", choices=TABLES, action="append", help="may be repeated (default: all)")
    given = parser.parse_args()
    outside = 0
    for name in given.table or TABLES:
        started = time.perf_counter()
        figures = simulate(name, runs=given.runs, seed=given.seed)
        print(f"\n{name}: {TABLES[name].__doc__} ({time.perf_counter() - started:.0f} s)")
        for one in figures:
            print(f"  {one}")
        outside += sum(not one.holds for one in figures)
    print(f"\n{outside} figures are outside." if outside else "\nAll figures are within their tolerances.")
    return 1 if outside else 0


if __name__ == "__main__":
    sys.exit(main())
