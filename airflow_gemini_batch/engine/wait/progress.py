"""What to log while a run goes on: each change of a job, and how far the run is, at the start and from time to time.

Plain values in and out: the caller has the clock and the log. A run is waited for in several processes, one after the other, so
what was said last travels with the wait (``Progress.marks``); lost marks cost one line and the rate until the next one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from airflow_gemini_batch.engine.costs.total import in_dollars
from airflow_gemini_batch.engine.gemini.jobs import Job, JobState

#: Seconds between two lines about a run of which no tenth was done meanwhile. Jobs take hours; a log is read by people.
REPORT_EVERY = 600.0

#: Marks that the rate is taken over: the last hour of a slow run, the last half of a fast one.
_MARKS = 6

#: When a line was written (seconds since the epoch), and how many requests were done then.
Mark = tuple[float, int]


class Standing(msgspec.Struct, frozen=True):
    """How far a run is without what its waiting jobs have done so far.

    :param requests: of the whole run; ``done`` of them need no job any more.
    :param jobs: one for each shard and attempt with requests; ``jobs_done`` of them were collected.
    :param usd: what the collected ones cost; None where nothing is known of it.
    """

    requests: int = 0
    done: int = 0
    jobs: int = 0
    jobs_done: int = 0
    usd: float | None = None

    def with_jobs(self, jobs: Iterable[Job]) -> Reading:
        """How far the run is with its waiting jobs as they were just seen."""
        seen = list(jobs)
        answered = sum(job.stats.succeeded + job.stats.failed for job in seen)
        return Reading(
            requests=self.requests,
            done=min(self.done + answered, self.requests),  # a job that is collected late is counted twice for a moment
            jobs=self.jobs,
            jobs_done=min(self.jobs_done + sum(job.is_terminal for job in seen), self.jobs),
            running=sum(job.state is JobState.RUNNING for job in seen),
            usd=self.usd,
        )


@dataclass(frozen=True, slots=True)
class Reading:
    """How far a run is at one moment."""

    requests: int
    done: int
    jobs: int
    jobs_done: int
    running: int
    usd: float | None = None

    @property
    def tenth(self) -> int:
        return 10 * self.done // self.requests if self.requests else 0


def standing_of(jobs: Iterable[Job]) -> Standing:
    """The standing of a wait that knows no run, only its jobs."""
    seen = list(jobs)
    return Standing(requests=sum(job.stats.total for job in seen), jobs=len(seen))


@dataclass
class Progress:
    """The lines for one run.

    :param earlier: the marks of an earlier wait of the same run. What cannot be used counts as none: it has been in a database.
    """

    earlier: Any = ()
    every: float = REPORT_EVERY
    marks: list[Mark] = field(init=False)
    _states: dict[str, str] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        try:
            self.marks = msgspec.convert(self.earlier, list[tuple[float, int]], strict=False)[-_MARKS:]
        except msgspec.ValidationError:
            self.marks = []

    def lines(self, jobs: Iterable[Job], standing: Standing | None = None, *, now: float) -> list[str]:
        """What to log after a check of the jobs; nothing, most of the time.

        :param standing: of the run that the jobs belong to. Default: None, the jobs are all there is.
        :param now: seconds since the epoch.
        """
        seen = list(jobs)
        changed = [job for job in seen if self._states.get(job.name, job.wire_state) != job.wire_state]
        lines = [f"{job} (was {self._states[job.name]})" for job in changed]
        self._states.update((job.name, job.wire_state) for job in seen)
        if not seen and standing is None:
            return lines
        line = self.line((standing or standing_of(seen)).with_jobs(seen), now=now)
        return lines if line is None else [*lines, line]

    def line(self, reading: Reading, *, now: float, rate: float | None = None) -> str | None:
        """How far the run is, in words; None while nothing is due.

        :param now: seconds since the epoch.
        :param rate: requests a second. Default: as observed between the lines.
        """
        if not self._is_due(reading, now):
            return None
        words = in_words(reading, rate=self.rate(reading, now) if rate is None else rate)
        self._mark(reading, now)
        return words

    def rate(self, reading: Reading, now: float) -> float:
        """Requests a second since the oldest mark; 0 where nothing was done since then."""
        since, done = self.marks[0] if self.marks else (now, reading.done)
        return max(reading.done - done, 0) / (now - since) if now > since else 0.0

    def _is_due(self, reading: Reading, now: float) -> bool:
        if not self.marks:
            return True
        at, done = self.marks[-1]
        tenth = 10 * done // reading.requests if reading.requests else 0
        # A clock that was set back must not silence the log.
        return reading.tenth > tenth or not 0 <= now - at < self.every

    def _mark(self, reading: Reading, now: float) -> None:
        kept = [(at, done) for at, done in self.marks if at < now and done <= reading.done]  # resubmitted rows are to do again
        self.marks = [*kept, (now, reading.done)][-_MARKS:]


def in_words(reading: Reading, *, rate: float) -> str:
    """``41 % (410,000 of 1,000,000) · 3 of 20 jobs done, 12 running · 5,200 rows/min · about 1 h 50 min left · $3.10 so far``.

    :param rate: requests a second; 0: not known.
    """
    left = reading.requests - reading.done
    known = [
        f"{100 * reading.done // reading.requests} % ({reading.done:,} of {reading.requests:,})" if reading.requests else "",
        f"{reading.jobs_done:,} of {reading.jobs:,} jobs done" + (f", {reading.running:,} running" if reading.running else ""),
        f"{_number(60 * rate)} rows/min" if rate else "",
        f"about {duration(left / rate)} left" if rate and left else "",
        f"{in_dollars(reading.usd)} so far" if reading.usd is not None else "",
    ]
    return " · ".join(part for part in known if part)


def duration(seconds: float) -> str:
    """``2 d 3 h``, ``1 h 50 min``, ``12 min``, ``1 min`` for all that is shorter."""
    minutes = max(1, round(seconds / 60))
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    if days:
        return f"{days} d {hours} h" if hours else f"{days} d"
    if hours:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{minutes} min"


def _number(value: float) -> str:
    """Two or more digits that say something: ``5,200``, ``42``, ``0.35``."""
    if value < 10:
        return f"{value:.2g}"
    step = 10 ** max(0, len(str(int(value))) - 2)
    return f"{round(value / step) * step:,}"
