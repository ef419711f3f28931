"""What to log while jobs run: each change of state, and from time to time how far they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from airflow_gemini_batch.engine.gemini.jobs import Job

#: Seconds between two lines about jobs of which none has changed its state. They take hours; a log is read by people.
REPORT_EVERY = 600.0


@dataclass
class Progress:
    """The lines for one wait. Plain values in and out: the caller has the clock and the log."""

    every: float = REPORT_EVERY
    _states: dict[str, str] = field(default_factory=dict)
    _reported: float | None = None

    def lines(self, jobs: Iterable[Job], *, now: float) -> list[str]:
        """What to log after a check of the jobs; nothing, most of the time.

        :param now: seconds, by any clock that does not jump.
        """
        seen = list(jobs)
        changed = [job for job in seen if self._states.get(job.name, job.wire_state) != job.wire_state]
        lines = [f"{job} (was {self._states[job.name]})" for job in changed]
        self._states.update((job.name, job.wire_state) for job in seen)
        if seen and (self._reported is None or now - self._reported >= self.every):
            self._reported = now
            lines.append(in_short(seen))
        return lines


def in_short(jobs: Iterable[Job]) -> str:
    """``3 jobs: 1 PENDING, 2 RUNNING; 40 of 300 requests done``."""
    seen = list(jobs)
    if len(seen) == 1:
        return str(seen[0])
    states = Counter(job.state.value for job in seen)
    total = sum(job.stats.total for job in seen)
    done = sum(job.stats.succeeded + job.stats.failed for job in seen)
    failed = sum(job.stats.failed for job in seen)
    requests = f"; {done} of {total} requests done{f', {failed} of them failed' if failed else ''}" if total else ""
    return f"{len(seen)} jobs: {', '.join(f'{count} {state}' for state, count in sorted(states.items()))}{requests}"
