"""When to check the jobs again, when to go on, when to give up: decided on plain values, the same for every way of waiting.

The trigger, the sensor in its worker slot and ``run_batch`` all ask this module; they differ in how they sleep.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from airflow_gemini_batch.engine.errors import NotFoundError, OutcomeUnknownError, QuotaError, ServiceError, UnreachableError
from airflow_gemini_batch.engine.gemini.jobs import Job

if TYPE_CHECKING:
    from airflow_gemini_batch.engine.gemini.job_fetching import Fetched

#: Outages are waited out at growing intervals, up to this many seconds between two checks.
_LONGEST_BACKOFF = 300.0

#: What may succeed later by itself.
PASSING = (OutcomeUnknownError, UnreachableError, QuotaError)


@dataclass(frozen=True, slots=True)
class Sleep:
    """Check again after this many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Wake:
    """Go on.

    :param why: ``settled``: a job needs attention; ``time``: the agreed time has come; ``timeout``: the time to wait is used up;
        ``error``: the service refuses to be asked.
    :param error: the refusal, where ``why`` is ``error``.
    """

    why: Literal["settled", "time", "timeout", "error"]
    error: ServiceError | None = None

    @property
    def message(self) -> str:
        return "" if self.error is None else str(self.error)


@dataclass
class Watch:
    """The wait for jobs: until one of them is settled, or the time has come for something else.

    :param jobs: their names.
    :param poll_interval: seconds between two checks while the service answers.
    :param deadline: seconds since the epoch; by the wall clock, because the wait may go on in another process.
    :param wake_at: seconds since the epoch, when there is something else to do than wait.
    :param late: the jobs that are known to have ended without naming their output. Another one that has wakes too, so that its
        end is recorded in the ledger.
    """

    jobs: Sequence[str]
    poll_interval: float
    deadline: float
    wake_at: float | None = None
    late: Collection[str] = ()
    _failures: int = 0
    _random: random.Random = field(default_factory=random.Random)

    def on_fetched(self, fetched: Iterable[Fetched], *, now: float) -> Sleep | Wake:
        """After a check. A job that needs attention outweighs others about which nothing is known."""
        answers = list(fetched)
        if any(not isinstance(answer, ServiceError) and self._needs_attention(answer) for answer in answers):
            self._failures = 0
            return Wake("settled")
        # A refusal does not pass by itself, so it outweighs an outage.
        errors = sorted(
            (answer for answer in answers if isinstance(answer, ServiceError)), key=lambda error: isinstance(error, PASSING)
        )
        if errors:
            return self.on_error(errors[0], now=now)
        self._failures = 0
        return self._sleep(self.poll_interval * self._random.uniform(0.9, 1.1), now)

    def on_error(self, error: ServiceError, *, now: float) -> Sleep | Wake:
        """After a check that failed. Outages are waited out; a refusal does not pass by itself."""
        if not isinstance(error, PASSING):
            return Wake("error", error)
        self._failures += 1
        backoff = min(self.poll_interval * 2 ** min(self._failures, 16), _LONGEST_BACKOFF)
        return self._sleep(max(backoff * self._random.uniform(0.5, 1.0), self.poll_interval), now)

    def _needs_attention(self, job: Job | None) -> bool:
        return job is None or is_settled(job) or (job.is_terminal and job.name not in self.late)

    def _sleep(self, seconds: float, now: float) -> Sleep | Wake:
        if now >= self.deadline:
            return Wake("timeout")
        if self.wake_at is not None and now >= self.wake_at:
            return Wake("time")
        next_event = min(self.deadline, self.deadline if self.wake_at is None else self.wake_at)
        return Sleep(max(0.0, min(seconds, next_event - now)))


def is_settled(job: Job) -> bool:
    """Whether the job can be collected. A file job that ended well may name its output only some time later.

    A listing holds no answers of inline jobs; collecting fetches them.
    """
    return job.is_terminal and (job.has_output or not job.ended_well or job.input_file is None)


def without_output(
    error: ServiceError, *, left: float, resubmit_lost: bool, patient: bool
) -> Literal["ask again", "lost", "error"]:
    """What to do about a job that has ended and whose output cannot be had now.

    :param error: why it cannot. Only of what the service itself answers it can be said that it is lost.
    :param left: seconds left of ``collect_timeout``, which begins when the job's end was first seen.
    :param resubmit_lost: whether the rows are then resubmitted, and paid again.
    :param patient: whether this try has waited already. After a single check, a day later, nothing is paid again.
    """
    if left > 0:
        return "ask again"
    if not resubmit_lost or not isinstance(error, (OutcomeUnknownError, NotFoundError)):
        return "error"
    return "lost" if patient else "ask again"
