"""How far the jobs were when they were last checked: ``_run/ledger/progress.json``, written by whoever waits for them.

A hint for people: it decides nothing, and nobody needs it. So a write that fails is not an error, and of two processes that
write at the same moment one may lose what it has seen, until its next check.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

import msgspec

from airflow_gemini_batch.engine.errors import GeminiBatchError
from airflow_gemini_batch.engine.gemini.jobs import Job, JobStats
from airflow_gemini_batch.engine.run.layout import Run, read_json
from airflow_gemini_batch.engine.run.storage import Location

log = logging.getLogger(__name__)

#: Samples that are kept for the rate. When there are more, every second one is dropped, so the whole run stays covered.
_SAMPLES = 240

#: Seconds between two writes while no job changes its state.
WRITE_EVERY = 15.0


class SeenJob(msgspec.Struct, frozen=True):
    """A job when it was last checked. ``at``: seconds since the epoch; ``since``: when it was first seen in this state."""

    state: str
    stats: JobStats
    at: float
    since: float


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """How many requests of all jobs were done at some moment, in seconds since the epoch."""

    at: float
    done: int


class JobProgress(msgspec.Struct, frozen=True):
    """:param jobs: by name, also those that have ended since."""

    jobs: dict[str, SeenJob] = {}
    samples: tuple[Sample, ...] = ()

    @property
    def at(self) -> float | None:
        """When a job was last checked, in seconds since the epoch."""
        return max((seen.at for seen in self.jobs.values()), default=None)

    def after(self, jobs: Iterable[Job], *, now: float) -> JobProgress:
        """With what a check has shown."""
        seen = dict(self.jobs)
        for job in jobs:
            before = seen.get(job.name)
            same = before is not None and before.state == job.state.value
            seen[job.name] = SeenJob(job.state.value, job.stats, now, before.since if before is not None and same else now)
        done = sum(each.stats.succeeded + each.stats.failed for each in seen.values())
        samples = self.samples
        if len(samples) >= 2 and samples[-1].done == samples[-2].done == done:
            samples = samples[:-1]  # of a standstill only its ends are kept
        samples = (*samples, Sample(now, done))
        return JobProgress(seen, samples if len(samples) <= _SAMPLES else (*samples[:-1:2], samples[-1]))


class ProgressWriter:
    """Keeps the hint of one wait up to date.

    :param run: None: nothing is written.
    """

    def __init__(self, run: Run | None) -> None:
        self._run = run
        self._written: float | None = None
        self._states: dict[str, str] = {}

    def write(self, jobs: Iterable[Job], *, now: float) -> None:
        """Keep what a check has shown, if it is news. Raises nothing that the storage does.

        :param now: seconds since the epoch.
        """
        seen = list(jobs)
        states = {job.name: job.state.value for job in seen}
        due = self._written is None or not 0.0 <= now - self._written < WRITE_EVERY
        if self._run is None or not seen or not (due or states != self._states):
            return
        self._written, self._states = now, states
        try:
            progress = read_progress(self._run).after(seen, now=now)
            _file_of(self._run).write(msgspec.json.encode(progress))
        except Exception as error:  # whatever the storage does, the wait goes on
            log.debug("The progress of %s was not written: %r", self._run.destination, error)


def read_progress(run: Run) -> JobProgress:
    """What is known of the jobs; empty where nothing is, or the hint is torn."""
    try:
        return read_json(_file_of(run), JobProgress) or JobProgress()
    except GeminiBatchError as torn:
        log.debug("%s", torn)
        return JobProgress()


def _file_of(run: Run) -> Location:
    return run.ledger_folder / "progress.json"
