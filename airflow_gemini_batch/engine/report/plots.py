"""Plots as rectangles and labels: where each is drawn. What draws them is a template.

Across, everything is in percent of the width, so that a plot fits a phone while its letters keep their size; down, in pixels.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import NamedTuple

from airflow_gemini_batch.engine.finish.summary import JobSummary
from airflow_gemini_batch.engine.gemini.jobs import time_of
from airflow_gemini_batch.engine.report.histograms import ROUND_NUMBERS, ROUND_TIMES, Bars, Histogram, round_up
from airflow_gemini_batch.engine.report.words import amount, counted, dollars, duration

#: Pixels of the bars of a plot, and of the room above them for words.
BARS_HEIGHT = 110
_TOP = 18

#: Of the width, what a bar for values far above all others takes, with the gap before it.
_ABOVE = 6.0

#: Labels below a plot: more would touch each other on a phone. How far apart they are at least, in percent of the width.
_TICKS = 5
_APART, _TIMES_APART = 20, 36

#: Columns in which jobs at work are counted.
_COLUMNS = 120

#: Neighbours overlap by so many percent of the width: a screen would leave a gap between some of them.
_OVERLAP = 0.1

#: Jobs that have a row of their own.
MOST_JOBS = 30


class Rect(NamedTuple):
    """``x`` and ``width`` in percent, ``y`` and ``height`` in pixels from the top."""

    x: float
    y: float
    width: float
    height: float
    title: str = ""
    kind: str = ""


class Tick(NamedTuple):
    """A label below a plot. ``anchor``: start, middle or end."""

    x: float
    text: str
    anchor: str = "middle"


class Plot(NamedTuple):
    """
    :param marks: vertical lines, with a word above each.
    :param words: what a screen reader says, and the line below the heading.
    """

    rects: tuple[Rect, ...]
    ticks: tuple[Tick, ...]
    marks: tuple[Tick, ...] = ()
    words: str = ""

    @property
    def height(self) -> int:
        return _TOP + BARS_HEIGHT + 22

    @property
    def base(self) -> int:
        """Where bars stand."""
        return _TOP + BARS_HEIGHT


class JobRow(NamedTuple):
    """A job on the time line; ``x`` and ``width`` in percent of the whole run."""

    name: str
    text: str
    state: str
    x: float
    width: float


class Timeline(NamedTuple):
    """
    :param rows: all jobs, or the longest ones; ``left_out`` says how many have none.
    :param activity: how many jobs were at work at each moment.
    """

    rows: tuple[JobRow, ...]
    left_out: int
    activity: Plot


class Amount(NamedTuple):
    """A bar of money. ``width`` in percent of the largest."""

    name: str
    text: str
    width: float
    kind: str


def plot_of(histogram: Histogram, *, unit: str, is_seconds: bool = False) -> Plot | None:
    """A distribution; None where nothing was counted.

    :param unit: what one value belongs to, in the singular: row, job.
    :param is_seconds: whether values are seconds.
    """
    bars = histogram.bars(ROUND_TIMES if is_seconds else ROUND_NUMBERS)
    if not bars.counts:
        return None
    said: Callable[[float], str] = duration if is_seconds else amount
    width = (100.0 - (_ABOVE if bars.above else 0.0)) / len(bars.counts)
    most = max(*bars.counts, bars.above)
    rects = []
    for index, count in enumerate(bars.counts):
        low, high = bars.edges[index], bars.edges[index + 1]
        between = said(low) if high - low <= 1 and not is_seconds else f"{said(low)} to {said(high)}"
        rects.append(_bar(index * width, width, count, most, f"{between}: {counted(count, unit)}"))
    if bars.above:
        above = f"above {said(bars.edges[-1])}: {counted(bars.above, unit)}"
        rects.append(_bar(100.0 - _ABOVE / 2, _ABOVE / 2, bars.above, most, above, "above"))
    middle, high = histogram.quantile(0.5), histogram.quantile(0.95)
    least, most_of_all = said(histogram.low or 0), said(histogram.high or 0)
    words = f"{counted(histogram.count, unit)}: median {said(middle)}, 95 % up to {said(high)}, all from {least} to {most_of_all}"
    marks = Tick(_place(bars, middle, width), "median"), Tick(_place(bars, high, width), "95 %")
    return Plot(
        tuple(rects),
        _ticks(bars, width, said, _TIMES_APART if is_seconds else _APART),
        _apart(marks) if len(rects) > 1 else (),
        words,
    )


def timeline_of(jobs: Sequence[JobSummary]) -> Timeline | None:
    """The jobs from the first creation to the last end; None where the service has said no times."""
    times = [(job, time_of(job.create_time), time_of(job.end_time)) for job in jobs]
    known = [(job, begin.timestamp(), end.timestamp()) for job, begin, end in times if begin is not None and end is not None]
    if not known:
        return None
    first, last = min(begin for _, begin, _ in known), max(end for _, _, end in known)
    whole = max(1.0, last - first)
    longest = sorted(known, key=lambda one: one[1] - one[2])[:MOST_JOBS]
    rows = []
    for job, begin, end in sorted(longest, key=lambda one: (one[1], one[0].shard, one[0].attempt)):
        attempt = f", attempt {job.attempt}" if job.attempt else ""
        cost = "" if job.cost_usd is None else f" · {dollars(job.cost_usd)}"
        text = f"{duration(end - begin)} · {counted(job.requests, 'request')}{cost}"
        width = max(0.6, 100 * (end - begin) / whole)
        rows.append(
            JobRow(
                f"shard {job.shard}{attempt}",
                text,
                job.state,
                _round(min(100 * (begin - first) / whole, 100 - width)),
                _round(width),
            )
        )
    return Timeline(tuple(rows), len(jobs) - len(rows), _activity([(begin, end) for _, begin, end in known], first, whole))


def amounts_of(named: Sequence[tuple[str, float | None, str]]) -> tuple[Amount, ...]:
    """
    :param named: name, USD and kind; without an amount, it is left out.
    """
    known = [(name, usd, kind) for name, usd, kind in named if usd is not None]
    most = max((usd for _, usd, _ in known), default=0.0) or 1.0
    return tuple(Amount(name, dollars(usd), _round(100 * usd / most), kind) for name, usd, kind in known)


def _bar(x: float, width: float, count: int, most: int, title: str, kind: str = "") -> Rect:
    # One row among millions is seen too.
    height = max(1.5, BARS_HEIGHT * count / most) if count else 0.0
    return Rect(_round(x), _round(_TOP + BARS_HEIGHT - height), _round(width * 0.88), _round(height), title, kind)


def _ticks(bars: Bars, width: float, said: Callable[[float], str], apart: int) -> tuple[Tick, ...]:
    """Labels at some edges, the last one among them."""
    last = len(bars.counts)
    step = max(1, -(-last // (_TICKS - 1)), math.ceil(apart / width))
    places = [place for place in range(0, last, step) if (last - place) * width >= apart]
    texts = {said(bars.edges[place]): place for place in reversed([*places, last])}  # of equal texts the first one
    ticks = [Tick(_round(place * width), text, _anchor(place * width)) for text, place in reversed(texts.items())]
    if bars.above:
        ticks[-1] = Tick(100.0, f"above {ticks[-1].text}", "end")
    return tuple(ticks)


def _anchor(x: float) -> str:
    return "start" if x < 4 else "end" if x > 96 else "middle"


def _place(bars: Bars, value: float, width: float) -> float:
    """Where a value is, across."""
    index = min(max(bisect_right(bars.edges, value) - 1, 0), len(bars.counts) - 1)
    low, high = bars.edges[index], bars.edges[index + 1]
    return _round(width * (index + min(1.0, (value - low) / (high - low))))


def _apart(marks: tuple[Tick, Tick]) -> tuple[Tick, ...]:
    """Words that would touch each other are written to the left and to the right; where there is no room, one has none."""
    first, second = marks
    if second.x - first.x >= _APART:
        return tuple(mark._replace(anchor=_anchor(mark.x)) for mark in marks)
    if first.x > _APART:
        return first._replace(anchor="end"), second._replace(anchor="start" if second.x < 100 - _APART else "end")
    return first._replace(anchor="start"), second._replace(text="")


def _activity(times: Sequence[tuple[float, float]], first: float, whole: float) -> Plot:
    """Jobs at work in each column, by the middle of the column."""
    begins, ends = sorted(begin for begin, _ in times), sorted(end for _, end in times)
    moments = [first + whole * (column + 0.5) / _COLUMNS for column in range(_COLUMNS)]
    counts = [bisect_right(begins, moment) - bisect_right(ends, moment) for moment in moments]
    most = max(*counts, 1)
    rects, column = [], 0
    for count, same in itertools.groupby(counts):
        columns = len(list(same))
        height = _round(BARS_HEIGHT * count / most)
        x = _round(100 * column / _COLUMNS)
        width = _round(min(100 * columns / _COLUMNS + _OVERLAP, 100 - x))
        rects.append(
            Rect(
                x,
                _TOP + BARS_HEIGHT - height,
                width,
                height,
                f"{counted(count, 'job')} at work",
                "flight",
            )
        )
        column += columns
    step = round_up(whole / (_TICKS - 1), ROUND_TIMES)
    places = [100 * step * number / whole for number in range(int(whole / step) + 1)]
    ticks = [Tick(_round(x), duration(number * step) if number else "0", _anchor(x)) for number, x in enumerate(places)]
    return Plot(tuple(rects), tuple(ticks), (), f"up to {counted(most, 'job')} at work at once, over {duration(whole)}")


def _round(value: float) -> float:
    """Enough for a screen; each digit is a byte in a page."""
    return round(value, 2)
