"""Plots: everything that is drawn lies inside of the picture, and says what it stands for."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_gemini_batch.engine.finish.summary import JobSummary
from airflow_gemini_batch.engine.report.histograms import Histogram
from airflow_gemini_batch.engine.report.plots import MOST_JOBS, Plot, amounts_of, plot_of, timeline_of


def plot(values: list[int], **arguments: bool) -> Plot:
    histogram = Histogram()
    histogram.add(values)
    drawn = plot_of(histogram, unit="row", **arguments)
    assert drawn is not None
    return drawn


def job(shard: int, begin: int, end: int, state: str = "SUCCEEDED", **known: float) -> JobSummary:
    times = (f"2026-11-01T{minute // 60:02}:{minute % 60:02}:00Z" for minute in (begin, end))
    return JobSummary(f"batches/{shard}", shard, 0, state, 10, *times, **known)  # type: ignore[arg-type]


@given(st.lists(st.one_of(st.integers(0, 400), st.integers(0, 1 << 40)), min_size=1, max_size=100), st.booleans())
def test_everything_lies_inside_of_the_picture(values: list[int], is_seconds: bool) -> None:
    drawn = plot(values, is_seconds=is_seconds)

    for rect in drawn.rects:
        assert 0 <= rect.x <= rect.x + rect.width <= 100.01
        assert 0 <= rect.y <= rect.y + rect.height <= drawn.base + 0.01
    assert all(0 <= tick.x <= 100.01 for tick in (*drawn.ticks, *drawn.marks))
    assert [tick.x for tick in drawn.ticks] == sorted(tick.x for tick in drawn.ticks)
    assert len(drawn.ticks) <= 6


def test_a_bar_says_what_it_counts() -> None:
    drawn = plot([1, 1, 2])

    assert [rect.title for rect in drawn.rects] == ["1: 2 rows", "2: 1 row"]
    assert drawn.words == "3 rows: median 1, 95 % up to 2, all from 1 to 2"
    assert [mark.text for mark in drawn.marks] == ["median", "95 %"]


def test_a_single_row_among_a_million_is_seen() -> None:
    drawn = plot([1] * 1_000_000 + [2])

    assert drawn.rects[1].height >= 1


def test_times_are_shown_as_times() -> None:
    drawn = plot([600, 4000, 8000], is_seconds=True)

    assert drawn.words.startswith("3 rows: median 1 h 7 min")
    assert [tick.text for tick in drawn.ticks] == ["0 s", "1 h", "2 h 30 min"]


def test_values_far_above_all_others_have_a_bar_of_their_own() -> None:
    drawn = plot([*range(100, 500)] * 5 + [90_000])

    assert drawn.rects[-1].kind == "above"
    assert drawn.ticks[-1].text == "above 500"


def test_jobs_lie_on_a_line_from_the_first_creation_to_the_last_end() -> None:
    timeline = timeline_of([job(1, 60, 120, cost_usd=0.5), job(0, 0, 60, "FAILED"), job(2, 0, 120)])

    assert timeline is not None
    assert [(row.name, row.x, row.width, row.state) for row in timeline.rows] == [
        ("shard 0", 0, 50, "FAILED"), ("shard 2", 0, 100, "SUCCEEDED"), ("shard 1", 50, 50, "SUCCEEDED"),
    ]  # fmt: skip
    assert timeline.rows[2].text == "1 h · 10 requests · $0.50"
    assert timeline.activity.words == "up to 2 jobs at work at once, over 2 h"
    assert timeline.left_out == 0


def test_of_many_jobs_the_longest_have_a_row_and_all_are_in_the_activity() -> None:
    timeline = timeline_of([job(number, 0, 1 + number % 1000) for number in range(10_000)])

    assert timeline is not None
    assert len(timeline.rows) == MOST_JOBS
    assert timeline.left_out == 10_000 - MOST_JOBS
    assert "9,9" in timeline.activity.words
    rects = timeline.activity.rects
    assert rects[0].x == 0
    assert rects[-1].x + rects[-1].width == pytest.approx(100, abs=0.1)
    assert all(left.x < right.x <= left.x + left.width for left, right in itertools.pairwise(rects))


def test_jobs_without_times_have_no_line() -> None:
    assert timeline_of([JobSummary("batches/x", 0, 0, "SUCCEEDED", 1)]) is None


def test_amounts_are_drawn_against_the_largest_and_unknown_ones_are_left_out() -> None:
    amounts = amounts_of([("this run", 2.0, "done"), ("at most", 4.0, "other"), ("unknown", None, "left")])

    assert [(amount.name, amount.text, amount.width) for amount in amounts] == [
        ("this run", "$2.00", 50),
        ("at most", "$4.00", 100),
    ]
    assert amounts_of([("this run", 0.0, "done")])[0].width == 0
