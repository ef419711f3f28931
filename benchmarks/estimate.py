"""How often an estimate from a trial holds, and how wide it is, over simulated tables: see benchmarks/README.md."""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from airflow_gemini_batch.engine.build.trial import Trial
from airflow_gemini_batch.engine.costs.sampling import Draws, Population
from airflow_gemini_batch.engine.costs.tariff import PICO, Tariff
from airflow_gemini_batch.engine.costs.usage import Usage
from airflow_gemini_batch.engine.run.samples import DrawnRow, Sample, UsageOfRow

#: USD per million tokens, as gemini-3.6-flash has them in a batch.
TARIFF = Tariff({"input": 0.375, "output": 1.875})

#: Covered tables of a nominal 95 % interval, in percent, that a trial of this many rows must reach in every family.
LEAST = {50: 92.0}

Dice = np.random.Generator


@dataclass(frozen=True, slots=True)
class Table:
    """Bytes, input tokens and output tokens of each row; ``thoughts`` are a part of the output."""

    sizes: np.ndarray
    inputs: np.ndarray
    outputs: np.ndarray
    thoughts: np.ndarray


def _sizes(dice: Dice, rows: int) -> np.ndarray:
    """The largest row has 50 to 75 times the bytes of the mean."""
    return np.maximum(dice.lognormal(6.5, 1.3, rows), 40).astype(np.int64)


def _table(sizes: np.ndarray, inputs: np.ndarray, outputs: np.ndarray, thoughts: np.ndarray | None = None) -> Table:
    thoughts = np.zeros(len(sizes)) if thoughts is None else thoughts
    inputs, outputs = (np.maximum(part, 1).astype(np.int64) for part in (inputs, outputs + thoughts))
    return Table(sizes, inputs, outputs, thoughts.astype(np.int64))


def independent(dice: Dice, rows: int) -> Table:
    """English prose; the answers are as long for short rows as for long ones."""
    sizes = _sizes(dice, rows)
    return _table(sizes, sizes / 4.4 * dice.lognormal(0, 0.1, rows), dice.lognormal(4.8, 0.7, rows))


def growing(dice: Dice, rows: int) -> Table:
    """The answer grows with the row, as in a translation."""
    sizes = _sizes(dice, rows)
    inputs = sizes / 4.4 * dice.lognormal(0, 0.1, rows)
    return _table(sizes, inputs, inputs * dice.lognormal(-0.3, 0.5, rows))


def mixed_scripts(dice: Dice, rows: int) -> Table:
    """Rows of several scripts: 2 to 7 bytes a token."""
    sizes = _sizes(dice, rows)
    return _table(sizes, sizes / dice.choice([2.0, 3.4, 4.4, 5.4, 6.8], rows), dice.lognormal(4.8, 0.7, rows))


def long_thoughts(dice: Dice, rows: int) -> Table:
    """Most of the bill is thoughts, and a few rows think very long."""
    sizes = _sizes(dice, rows)
    thoughts = dice.lognormal(5.5, 1.3, rows)
    return _table(sizes, sizes / 4.4 * dice.lognormal(0, 0.1, rows), dice.lognormal(4.8, 0.7, rows), thoughts)


FAMILIES: dict[str, Callable[[Dice, int], Table]] = {
    "output independent of input": independent,
    "output grows with input": growing,
    "mixed scripts": mixed_scripts,
    "long-tailed thoughts": long_thoughts,
}


@dataclass(frozen=True, slots=True)
class Figures:
    """
    :param covered: percent of the trials whose interval holds the truth; ``missed_above`` percent had a high end below it.
    :param below, above: median distance of the ends from the estimate, in percent of the truth.
    """

    family: str
    draws: int
    covered: float
    missed_above: float
    below: float
    above: float

    def __str__(self) -> str:
        missed = f"{self.missed_above:4.1f} % above the high end"
        width = f"-{self.below:.0f} % to +{self.above:.0f} %"
        return f"{self.family:30s}{self.draws:5d} rows{self.covered:8.1f} % covered   {missed}   {width}"


def measured(family: str, draws: int, *, trials: int, tables: int, rows: int, seed: int) -> Figures:
    """Draw, "run" and estimate, with the functions of the product.

    :param tables: how many tables the trials are shared out to.
    """
    low_ends, high_ends, hits, above = [], [], 0, 0
    for number in range(tables):
        table = FAMILIES[family](np.random.default_rng([seed, number]), rows)
        costs = TARIFF.costs_of_text(table.inputs, np.zeros(rows, np.int64), table.outputs)
        assert costs is not None
        truth = int(costs.sum()) / PICO
        population = Population(rows, int(table.sizes.sum()))
        for trial in range(trials // tables):
            drawn = _trial(table, population, draws, seed=seed * 1_000_003 + number * 10_007 + trial)
            usd = drawn.totals(TARIFF, population, ()).usd
            assert usd is not None
            hits += usd.low <= truth <= usd.high
            above += truth > usd.high
            low_ends.append((usd.middle - usd.low) / truth * 100)
            high_ends.append((usd.high - usd.middle) / truth * 100)
    count = len(low_ends)
    return Figures(
        family, draws, hits / count * 100, above / count * 100, statistics.median(low_ends), statistics.median(high_ends)
    )


def _trial(table: Table, population: Population, draws: int, *, seed: int) -> Trial:
    times = Draws(population, draws, seed).of(table.sizes)
    answered = []
    for row in np.flatnonzero(times).tolist():
        usage = Usage(int(table.inputs[row]), 0, int(table.outputs[row]))
        drawn = DrawnRow(str(row), str(row), int(table.sizes[row]), int(times[row]))
        answered.append((drawn, UsageOfRow((usage,), int(table.thoughts[row]))))
    sample = Sample(draws, seed, population, population.requests, 0, False, tuple(drawn for drawn, _ in answered))
    return Trial("simulated", sample, tuple(answered), 0)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, nargs="+", default=[20, 50, 200], help="rows of a trial")
    parser.add_argument("--trials", type=int, default=1000, help="of each cell (default: %(default)s)")
    parser.add_argument("--tables", type=int, default=10, help="that they are shared out to (default: %(default)s)")
    parser.add_argument("--rows", type=int, default=20_000, help="of each table (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    sizes = {"trials": given.trials, "tables": given.tables, "rows": given.rows, "seed": given.seed}
    cells: Iterable[tuple[str, int]] = [(family, draws) for family in FAMILIES for draws in given.draws]
    too_low = 0
    for family, draws in cells:
        figures = measured(family, draws, **sizes)
        print(figures, flush=True)
        too_low += figures.covered < LEAST.get(draws, 0.0)
    return int(too_low > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
