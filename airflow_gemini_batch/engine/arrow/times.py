"""The plain text of dates, times and durations, in ISO 8601. UTC needs no database of time zones."""

from __future__ import annotations

import datetime as dt
import decimal
import re
import zoneinfo
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import pyarrow as pa

from airflow_gemini_batch.engine.arrow.values import NoText, Text

#: Arrow and Python stop counting years somewhere; such a value is an accident.
TOO_FAR = NoText("is a time too far away to have a date")


def dates(column: pa.Array) -> list[Text]:
    return [_in_range(text) for text in column.cast(pa.string()).to_pylist()]


def _in_range(text: str | None) -> Text:
    return TOO_FAR if text is not None and "out of range" in text else text


def times(column: pa.Array) -> list[Text]:
    return _iso_times(column.cast(pa.string()).to_pylist())


def _iso_times(written: Sequence[str | None], suffix: str = "") -> list[Text]:
    return [_in_range(text) if text is None or "out of range" in text else _iso(text) + suffix for text in written]


def timestamps(column: pa.Array) -> list[Text]:
    type = column.type
    if type.tz is None or is_utc(type.tz):
        # As local times, so that no database of time zones is needed.
        local = column.cast(pa.int64()).cast(pa.timestamp(type.unit)) if type.tz else column
        return _iso_times(local.cast(pa.string()).to_pylist(), "Z" if type.tz else "")
    try:
        return _iso_times(column.cast(pa.string()).to_pylist())
    except pa.ArrowInvalid:  # Arrow looks for zones in one folder only, and Python knows this one
        return _with_offsets(column)


def _with_offsets(column: pa.Array) -> list[Text]:
    zone = zoneinfo.ZoneInfo(column.type.tz)
    per_second = 10 ** _DIGITS[column.type.unit]
    return [None if count is None else _zoned(count, per_second, zone) for count in column.cast(pa.int64()).to_pylist()]


def _zoned(count: int, per_second: int, zone: dt.tzinfo) -> Text:
    seconds, fraction = divmod(count, per_second)
    try:
        local = (dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc) + dt.timedelta(seconds=seconds)).astimezone(zone)
    except (ValueError, OverflowError):
        return TOO_FAR
    digits = f"{fraction:0{len(str(per_second)) - 1}d}".rstrip("0") if fraction else ""
    text = local.isoformat()
    return f"{text[:19]}.{digits}{text[19:]}" if digits else text


_UTC = {"UTC", "UCT", "GMT", "Z", "Zulu", "Universal", "Etc/UTC", "Etc/UCT", "Etc/GMT", "Etc/Zulu", "Etc/Universal", "+00:00"}


def is_utc(zone: str) -> bool:
    return zone in _UTC


def is_named_zone(zone: str) -> bool:
    """Whether the zone is one of the database of time zones, and not an offset."""
    return "/" in zone or zone == "UTC" or not (is_utc(zone) or zone.startswith(("+", "-")))


@lru_cache(maxsize=64)
def is_known_zone(zone: str | None) -> bool:
    if zone is None or is_utc(zone) or re.fullmatch(r"[+-]\d\d(:\d\d)?", zone):
        return True
    try:
        zoneinfo.ZoneInfo(zone)
    except (LookupError, ValueError, OSError):
        return False
    return True


def _iso(text: str) -> str:
    """Arrow's ``2026-01-02 03:04:05.000000+0100`` in ISO 8601: ``2026-01-02T03:04:05+01:00``."""
    text = text.replace(" ", "T")
    text = re.sub(r"\.(\d*?)0+(?=\D|$)", lambda match: f".{match[1]}" if match[1] else "", text)
    return re.sub(r"([+-]\d\d)(\d\d)$", r"\1:\2", text) if "T" in text else text


_DIGITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}


def durations(column: pa.Array) -> list[Text]:
    digits = _DIGITS[column.type.unit]
    counts = column.cast(pa.int64()).to_pylist()
    return [None if count is None else _iso_duration(count, digits) for count in counts]


def _iso_duration(count: int, digits: int) -> str:
    return f"{'-' if count < 0 else ''}PT{_seconds(abs(count), digits)}S"


def _seconds(count: int, digits: int) -> str:
    seconds = format(decimal.Decimal(count).scaleb(-digits), "f")
    return seconds.rstrip("0").rstrip(".") if "." in seconds else seconds


def intervals(column: pa.Array) -> list[Text]:
    """Months, days and nanoseconds, as an ISO 8601 duration whose parts have their own signs."""
    return [None if value is None else _iso_interval(value) for value in column.to_pylist()]


def _iso_interval(value: Any) -> str:
    nanoseconds = f"T{'-' if value.nanoseconds < 0 else ''}{_seconds(abs(value.nanoseconds), 9)}S" if value.nanoseconds else ""
    parts = f"{value.months}M" * bool(value.months) + f"{value.days}D" * bool(value.days) + nanoseconds
    return f"P{parts or 'T0S'}"
