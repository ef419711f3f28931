"""Which earlier runs a build takes answers from: written down once, so that two builds at one destination make the same files.

    _run/reuse.json    what was asked for, when, and the runs that were found, each with the time at which it was finished

Without this a second try, which finds one run more than the first did, would write other rows over the first one's files.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import msgspec

from airflow_gemini_batch.engine.build.earlier_runs import EarlierRun
from airflow_gemini_batch.engine.errors import CorruptRunError
from airflow_gemini_batch.engine.run.layout import Run, read_json

#: After that a build that was begun is not going on any more, and the next one looks anew.
_BUILDS_END_IN = dt.timedelta(days=1)


class _Choice(msgspec.Struct, frozen=True):
    """
    :param asked: the URIs of ``reuse``.
    :param max_age: seconds.
    :param runs: URI -> when the run was finished (RFC 3339).
    """

    asked: tuple[str, ...]
    max_age: float | None
    made_at: dt.datetime
    runs: dict[str, str]


def choose_runs(
    run: Run, found: Sequence[EarlierRun], *, asked: Sequence[str], max_age: dt.timedelta | None
) -> tuple[list[EarlierRun], dt.datetime | None]:
    """The runs to take answers from, and the earliest time of an answer (None: any).

    :param found: what can serve now. Another build that is going on, and asked the same, may have found less.
    """
    seconds = None if max_age is None else max_age.total_seconds()
    now = dt.datetime.now(dt.timezone.utc)
    choice = _Choice(tuple(asked), seconds, now, {earlier.uri: earlier.finished_at for earlier in found})
    content = msgspec.json.encode(choice)
    if not run.reuse_file.create(content):
        there = _read(run)
        if there is not None and _still_holds(there, choice):
            choice = there
        else:
            run.reuse_file.write(content)
    runs = [earlier for earlier in found if earlier.uri in choice.runs]
    return runs, None if max_age is None else choice.made_at - max_age


def _read(run: Run) -> _Choice | None:
    try:
        return read_json(run.reuse_file, _Choice)
    except CorruptRunError:
        return None


def _still_holds(there: _Choice, now: _Choice) -> bool:
    return (
        (there.asked, there.max_age) == (now.asked, now.max_age)
        and there.runs.items() <= now.runs.items()
        and now.made_at - there.made_at < _BUILDS_END_IN
    )
