"""Scores, differences, intervals and ratios as people read them.

Scores of yes or no are shares: ``81.2 %``, and differences of them points: ``+4.2 points``. Other scores are numbers.
"""

from __future__ import annotations

import math

from airflow_gemini_batch.engine.report.words import percent
from airflow_gemini_batch.evals.comparison import Interval
from airflow_gemini_batch.evals.scorers import Kind

UNKNOWN = "unknown"

_MINUS = "\N{MINUS SIGN}"


def score(value: float | None, kind: Kind) -> str:
    """``81.2 %`` of a yes or no, ``3.42`` of a number."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    return percent(value) if kind == "boolean" and 0 <= value <= 1 else number(value)


def difference(value: float | None, kind: Kind, *, exact: bool = False) -> str:
    """``+4.2 points`` or ``+0.042``

    :param exact: points with three digits that say something, where they are compared with a margin.
    """
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if kind != "boolean":
        return signed(value)
    text = signed(100 * value) if exact else points(value)
    return f"{text} point{'' if text[1:] == '1' else 's'}"


def size(value: float | None, kind: Kind) -> str:
    """A margin or a standard error: without a sign, and not rounded to a tenth."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if kind != "boolean":
        return number(abs(value))
    text = number(100 * abs(value))
    return f"{text} point{'' if text == '1' else 's'}"


def interval(ends: Interval | None, kind: Kind) -> str:
    """``+1.1 to +7.3``, in points for yes or no; empty text for None."""
    if ends is None:
        return ""
    return " to ".join(points(end) if kind == "boolean" else signed(end) for end in ends)


def score_interval(ends: Interval | None, kind: Kind) -> str:
    """``78.1 % to 84 %``; empty text for None."""
    return "" if ends is None else " to ".join(score(end, kind) for end in ends)


def ratio(value: float | None) -> str:
    """``12 % more``, ``31 % less``, ``2.4 times``"""
    if value is None or not math.isfinite(value) or value < 0:
        return UNKNOWN
    if value >= 2:
        return f"{number(value)} times"
    change = 100 * (value - 1)
    text = number(abs(change))
    return "the same" if text == "0" else f"{text} % {'more' if change > 0 else 'less'}"


def change(value: float | None) -> str:
    """The same where there is little room: ``+12 %``, ``2.4 x``"""
    if value is None or not math.isfinite(value) or value < 0:
        return UNKNOWN
    return f"{number(value)} x" if value >= 2 else f"{signed(100 * (value - 1))} %"


def ratio_interval(ends: Interval | None) -> str:
    """``1.08 to 1.17 times``; empty text for None."""
    if ends is None:
        return ""
    low, high = map(number, ends)
    return f"{low} times" if low == high else f"{low} to {high} times"


def p_value(p: float | None) -> str:
    """``p = 0.012``, ``p < 0.001``; empty text for None."""
    if p is None or not math.isfinite(p):
        return ""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def points(share: float) -> str:
    """Of a difference of shares, to a tenth: ``+6.4``; smaller ones as they are."""
    value = 100 * share
    return signed(round(value, 1)) if 0.1 <= abs(value) < 1e6 else signed(value)


def signed(value: float) -> str:
    """With its sign, except 0."""
    text = number(abs(value))
    return text if text in ("0", UNKNOWN) else f"{'+' if value > 0 else _MINUS}{text}"


def number(value: float) -> str:
    """Three digits that say something: ``12,346``, ``4.21``, ``0.0312``, ``3e-07``."""
    if not math.isfinite(value):
        return UNKNOWN
    sign, value = (_MINUS if value < 0 else ""), abs(value)
    if value >= 1e15 or 0 < value < 1e-5:
        return f"{sign}{value:.0e}"
    if value >= 999.5:
        return f"{sign}{value:,.0f}"
    decimals = 2 if not value else min(8, max(0, 2 - math.floor(math.log10(value))))
    text = f"{value:.{decimals}f}"
    return sign + (text.rstrip("0").rstrip(".") if "." in text else text)
