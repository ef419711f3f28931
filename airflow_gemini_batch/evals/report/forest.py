"""A forest plot: one line for each difference, with its interval, the zero that it is compared with, and the margin of the gate.

Like the plots of other pages it is in percent of the width across, so that it fits a phone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, TypeGuard

from airflow_gemini_batch.engine.report.plots import Tick
from airflow_gemini_batch.evals.comparison import Interval
from airflow_gemini_batch.evals.report import figures
from airflow_gemini_batch.evals.scorers import Kind
from airflow_gemini_batch.evals.statistics.gates import Better

#: Which way a difference goes, where its interval excludes 0.
Direction = Literal["improved", "regressed", "open"]

#: Free of the width on either side.
_MARGIN = 4.0

#: Bounds of missing keys that are wider than so many times everything else end at the edge of the plot.
_WIDEST = 3.0

#: Labels below the plot, at most: more would touch each other on a phone.
_TICKS = 4


#: Numbers beyond these have no place in a plot.
_LARGEST, _SMALLEST = 1e100, 1e-100


class Estimate(NamedTuple):
    """A difference as it goes into a plot.

    :param bounds: of the difference, whatever the missing answers would have been.
    """

    name: str
    value: float | None
    ci: Interval | None
    text: str
    bounds: Interval | None = None
    direction: Direction = "open"


class Line(NamedTuple):
    """An estimate as it is drawn; all places in percent of the width. ``band`` is that of the bounds: its start and width."""

    name: str
    text: str
    direction: Direction
    x: float | None
    low: float | None
    high: float | None
    band: tuple[float, float] | None


class Forest(NamedTuple):
    """
    :param margin: where the line of the gate is; None without a gate.
    :param hint: which side is better.
    """

    lines: tuple[Line, ...]
    zero: float
    margin: float | None
    ticks: tuple[Tick, ...]
    hint: str


def forest_of(
    estimates: Sequence[Estimate], *, kind: Kind, better: Better = "higher", margin: float | None = None
) -> Forest | None:
    """None where no difference is known.

    :param margin: the loss that is accepted.
    """
    loss = None if margin is None else margin if better == "lower" else -margin
    scale = _scale_of(estimates, loss)
    if scale is None:
        return None
    low, high = scale

    def place(value: float) -> float:
        across = _MARGIN + (100 - 2 * _MARGIN) * (value - low) / (high - low)
        return round(min(100.0, max(0.0, across)), 2)

    lines = []
    for one in estimates:
        ends, bounds = _drawable(one.ci), _drawable(one.bounds)
        lines.append(
            Line(
                one.name,
                one.text,
                one.direction,
                place(one.value) if _is_drawable(one.value) else None,
                None if ends is None else place(ends[0]),
                None if ends is None else place(ends[1]),
                None if bounds is None else (place(bounds[0]), round(place(bounds[1]) - place(bounds[0]), 2)),
            )
        )
    ticks = tuple(Tick(place(value), _label(value, kind)) for value in _ticks(low, high))
    hint = "right of 0 is better" if better == "higher" else "left of 0 is better"
    return Forest(tuple(lines), place(0.0), place(loss) if _is_drawable(loss) else None, ticks, hint)


def _scale_of(estimates: Iterable[Estimate], loss: float | None) -> Interval | None:
    """The lowest and the highest value of the plot."""
    shown: list[float] = []
    bounds: list[float] = []
    for one in estimates:
        shown += [value for value in (one.value, *(one.ci or ())) if _is_drawable(value)]
        bounds += [value for value in one.bounds or () if _is_drawable(value)]
    if not shown:
        return None
    shown += [0.0, loss] if _is_drawable(loss) else [0.0]
    low, high = min(shown), max(shown)
    room = _WIDEST * max(abs(low), abs(high))
    low, high = min(low, max(min(bounds, default=low), -room)), max(high, min(max(bounds, default=high), room))
    return (low, high) if high - low > _SMALLEST else (-1.0, 1.0)


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers, 0 among them."""
    least = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(least))
    step = next(power * digit for digit in (1, 2, 5, 10) if power * digit >= least * 0.999)
    return [number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _label(value: float, kind: Kind) -> str:
    return figures.signed(100 * value if kind == "boolean" else value)


def _drawable(ends: Interval | None) -> Interval | None:
    """The ends where both have a place in a plot, the lower one first."""
    return (min(ends), max(ends)) if ends is not None and all(map(_is_drawable, ends)) else None


def _is_drawable(value: float | None) -> TypeGuard[float]:
    return value is not None and abs(value) < _LARGEST  # never true of NaN
