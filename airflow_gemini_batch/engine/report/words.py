"""Numbers, durations and times as people read them."""

from __future__ import annotations

import datetime as dt
import re
from typing import NamedTuple

from airflow_gemini_batch.engine.costs.total import in_dollars
from airflow_gemini_batch.engine.report.board import ShardState
from airflow_gemini_batch.engine.wait import progress

_PLACEHOLDER = re.compile(r"(\$\{[^}]*\})")


def duration(seconds: float | None) -> str:
    """``45 s``, and from there as the log has it: ``12 min``, ``1 h 50 min``, ``3 d 4 h``; empty text for None."""
    if seconds is None:
        return ""
    return f"{max(0.0, seconds):.0f} s" if seconds < 90 else progress.duration(seconds)


def rate(rows_per_second: float | None) -> str:
    """``5,200 rows/min``, and per hour where it is slow; empty text for None."""
    if rows_per_second is None:
        return ""
    if rows_per_second * 60 >= 10:
        return f"{rows_per_second * 60:,.0f} rows/min"
    return f"{rows_per_second * 3600:,.0f} rows/h"


def percent(share: float) -> str:
    """``41 %``; never 100 % of what is not complete, and never 0 % of what has begun."""
    if share in (0.0, 1.0):
        return f"{share:.0%}".replace("%", " %")
    return f"{min(max(share * 100, 0.01), 99.9):.3g} %"


def dollars(usd: float | None) -> str:
    return "unknown" if usd is None else in_dollars(usd)


def moment(at: float | str | None) -> str:
    """A time in UTC, to the second; empty text for None."""
    when = _when(at)
    return "" if when is None else f"{when:%Y-%m-%d %H:%M:%S} UTC"


def iso(at: float | str | None) -> str:
    """The same for machines."""
    when = _when(at)
    return "" if when is None else when.isoformat(timespec="seconds")


def seconds_between(begin: str, end: str) -> float | None:
    """Between two times as the run's files have them; None where one of them is no time."""
    first, last = _parsed(begin), _parsed(end)
    return None if first is None or last is None else (last - first).total_seconds()


def number(value: int) -> str:
    return f"{value:,}"


def amount(value: float) -> str:
    """``850``, ``12,000``, ``1.5 M``: where there is little room."""
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:,.0f}"


def counted(value: int, noun: str) -> str:
    """``1 job``, ``2,000 jobs``"""
    return f"{value:,} {noun_of(value, noun)}"


def noun_of(value: int, noun: str) -> str:
    """``job`` or ``jobs``, where the number stands apart."""
    return noun if value == 1 else f"{noun}s"


class PromptPart(NamedTuple):
    """A part of a prompt."""

    text: str
    is_column: bool


def placeholders(text: str) -> list[PromptPart]:
    """A prompt, cut where values of a row go in."""
    return [PromptPart(part, bool(number % 2)) for number, part in enumerate(_PLACEHOLDER.split(text)) if part]


def level(shard: ShardState) -> str:
    """The class of a shard's cell that says how full it is; empty for none."""
    share = 1.0 if shard.state == "landed" or not shard.requests else shard.done / shard.requests
    return f" l{int(share * 10)}" if share >= 0.1 else ""


def cell(shard: ShardState) -> str:
    """A shard in a few words."""
    attempt = f", attempt {shard.attempt}" if shard.attempt else ""
    if shard.results is not None:
        said = counted(shard.results, "result") + (f", {counted(shard.dead_letter, 'dead letter')}" if shard.dead_letter else "")
    else:
        said = f"{shard.done:,} of {shard.requests:,} done" + (f", {shard.failed:,} failed" if shard.failed else "")
    return f"Shard {shard.shard}{attempt}: {shard.state}, {said}"


def _when(at: float | str | None) -> dt.datetime | None:
    if at is None or at == "":
        return None
    return dt.datetime.fromtimestamp(at, dt.timezone.utc) if isinstance(at, (int, float)) else _parsed(at)


def _parsed(text: str) -> dt.datetime | None:
    try:
        return dt.datetime.fromisoformat(text).astimezone(dt.timezone.utc)
    except ValueError:
        return None


#: What templates say with these functions.
FILTERS = {
    each.__name__: each
    for each in (duration, rate, percent, dollars, moment, iso, number, amount, counted, noun_of, placeholders, level, cell)
}
