"""The jobs and files that the service holds for an API key's project: finding them, describing them, deleting them.

The service's listings cannot be filtered, so everything is filtered here. Two rules must not be relaxed:
a listing is always read to its end, and only the result is cut, with the number of entries that were left out; and
a job that may still run is never deleted, because the API does not document whether that stops it, and it could no
longer be seen.
"""

from __future__ import annotations

import datetime as dt
import enum
import fnmatch
import logging
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_gemini_batch.engine.errors import InputError, NotFoundError, RefusedError
from airflow_gemini_batch.engine.gemini.client import GeminiClient
from airflow_gemini_batch.engine.gemini.files import RemoteFile
from airflow_gemini_batch.engine.gemini.jobs import Job, JobState, time_of
from airflow_gemini_batch.engine.gemini.names import is_file_name

log = logging.getLogger(__name__)

#: Entries of a listing in a result by default: about 30 KB of XCom.
MAX_SHOWN = 100

#: Accepted in place of a state: every job that has not ended, including states that this version does not know.
ACTIVE = "ACTIVE"

#: Seconds to wait for a cancelled job to end. After that it is left for a later call, so that no task blocks for long.
_CANCEL_TIMEOUT = 30.0
#: Seconds between two checks of a cancelled job's state.
_CHECK_INTERVAL = 2.0

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs to select. A field that is left out selects every job; make one from a user's arguments with ``JobFilter.of``.

    :param states: names of ``JobState`` in upper case, or ``ACTIVE``; empty: any state.
    :param display_name: pattern with ``*`` and ``?`` for the whole display name, case-sensitive.
    :param model: pattern with ``*`` and ``?`` for the whole model name without ``models/``.
    :param created_after: aware datetime, inclusive. A job without a creation time is not selected.
    :param created_before: aware datetime, exclusive. A job without a creation time is not selected.
    """

    states: frozenset[str] = frozenset()
    display_name: str | None = None
    model: str | None = None
    created_after: dt.datetime | None = None
    created_before: dt.datetime | None = None

    @classmethod
    def of(
        cls,
        *,
        state: str | Sequence[str] | None = None,
        display_name: str | None = None,
        model: str | None = None,
        created_after: dt.datetime | str | None = None,
        created_before: dt.datetime | str | None = None,
        now: dt.datetime | None = None,
    ) -> JobFilter:
        """A filter from the arguments of an operator, of the hook or of the command line. Every default is "any job".

        :param state: one state or several, in any case: PENDING, RUNNING, SUCCEEDED, FAILED, CANCELLED, EXPIRED, UNKNOWN, or
            ACTIVE for every job that has not ended.
        :param display_name: pattern with ``*`` and ``?`` for the whole display name, case-sensitive.
        :param model: pattern with ``*`` and ``?`` for the whole model name, with or without ``models/``.
        :param created_after: datetime, ISO 8601 text (UTC unless it has an offset), or an age such as ``36h``; inclusive.
        :param created_before: the same, exclusive.
        :param now: what ages are counted from. Default: the current time.

        Raises InputError for an unknown state or a time that cannot be parsed.
        """
        states = frozenset(name.upper() for name in ([state] if isinstance(state, str) else state or ()))
        known = {ACTIVE, *(known.value for known in JobState)}
        if unknown := states - known:
            raise InputError(f"state is {', '.join(sorted(unknown))}; expected one or more of {', '.join(sorted(known))}.")
        return cls(
            states,
            display_name,
            None if model is None else model.removeprefix("models/"),
            moment(created_after, argument="created_after", now=now),
            moment(created_before, argument="created_before", now=now),
        )

    def matches(self, job: Job) -> bool:
        """Whether the filter selects this job."""
        return self._state_matches(job) and self._name_matches(job) and self._age_matches(job)

    def _state_matches(self, job: Job) -> bool:
        return not self.states or job.state.value in self.states or (ACTIVE in self.states and not job.is_terminal)

    def _name_matches(self, job: Job) -> bool:
        return all(
            pattern is None or fnmatch.fnmatchcase(text, pattern)
            for text, pattern in ((job.display_name, self.display_name), (job.model.removeprefix("models/"), self.model))
        )

    def _age_matches(self, job: Job) -> bool:
        if self.created_after is None and self.created_before is None:
            return True
        created = time_of(job.create_time)
        if created is None:
            return False
        return (self.created_after is None or created >= self.created_after) and (
            self.created_before is None or created < self.created_before
        )


class DeleteOutcome(str, enum.Enum):
    """The result of a request to delete a job or a file."""

    DELETED = "deleted"
    #: Not there: it never existed, was deleted or has expired, or it belongs to another project.
    GONE = "gone"
    #: A job that was cancelled and has not ended yet. Delete it later.
    ENDING = "ending"
    #: A job's output file, which only the service removes.
    UNDELETABLE = "undeletable"


def find_jobs(client: GeminiClient, wanted: JobFilter) -> list[Job]:
    """All jobs of the project that the filter selects, newest first.

    Reads the whole listing and filters here, because the service does not filter.

    Raises ServiceError when the listing cannot be read.
    """
    return sorted((job for job in client.list_jobs() if wanted.matches(job)), key=lambda job: job.create_time, reverse=True)


def find_files(client: GeminiClient, display_name: str | None = None) -> list[RemoteFile]:
    """All files of the project, newest first.

    :param display_name: pattern with ``*`` and ``?`` for the whole display name, case-sensitive. Default: every file.

    Raises ServiceError when the listing cannot be read.
    """
    found = [file for file in client.list_files() if display_name is None or fnmatch.fnmatchcase(file.display_name, display_name)]
    return sorted(found, key=lambda file: (file.create_time or _LONG_AGO, file.name), reverse=True)


def delete_job(
    client: GeminiClient,
    name: str,
    *,
    cancel: bool = False,
    timeout: float = _CANCEL_TIMEOUT,
    sleep: Callable[[float], None] = time.sleep,
) -> DeleteOutcome:
    """Remove an ended job from the service's listing.

    :param name: ``batches/<id>``.
    :param cancel: cancel the job first when it is active. Default: False, because cancelling loses the answers that the job
        would still have given.
    :param timeout: seconds to wait for a cancelled job to end. Default: 30, so that no task blocks for long.
    :param sleep: called with the seconds between two checks of the job's state.

    Returns DELETED, GONE when the service does not find the job, or ENDING when the cancelled job has not ended in time; it then
    still exists. Raises InputError for an active job without ``cancel``, and another ServiceError as the service answers.
    """
    try:
        job = client.get_job(name)
        if not job.is_terminal:
            if not cancel:
                raise InputError(f"{job} is active. Deleting it would hide it without stopping it. Cancel it first.")
            client.cancel_job(name)
            job = _await_end(client, name, timeout, sleep)
    except NotFoundError:
        return DeleteOutcome.GONE
    if not job.is_terminal:
        return DeleteOutcome.ENDING
    client.delete_job(name)
    log.info("Deleted %s.", job)
    return DeleteOutcome.DELETED


def _await_end(client: GeminiClient, name: str, timeout: float, sleep: Callable[[float], None]) -> Job:
    """The job once it has ended, or as it was at the last check before the timeout (seconds)."""
    until = time.monotonic() + timeout
    while not (job := client.get_job(name)).is_terminal and time.monotonic() < until:
        sleep(_CHECK_INTERVAL)
    return job


def delete_file(client: GeminiClient, name: str) -> DeleteOutcome:
    """Delete a file, so that it no longer counts against the project's 20 GB.

    :param name: ``files/<id>``.

    Returns DELETED, GONE, or UNDELETABLE for a job's output: the service answers 400 to deleting it and removes it about 48 hours
    after the job's end. Raises InputError for a name of another form, and RefusedError or another ServiceError as the service
    answers.
    """
    if not is_file_name(name):
        raise InputError(f"Invalid file name {name!r}; expected files/<id>.")
    try:
        if client.get_file(name) is None:
            return DeleteOutcome.GONE
        client.delete_file(name)
    except RefusedError as error:
        if error.code != 400 or not name.startswith(_OUTPUT_PREFIX):
            raise
        log.info("%s is a job's output, which only the service can delete. It does so about 48 hours after the job's end.", name)
        return DeleteOutcome.UNDELETABLE
    return DeleteOutcome.DELETED


_OUTPUT_PREFIX = "files/batch-"
_LONG_AGO = dt.datetime.min.replace(tzinfo=dt.timezone.utc)


def cut(items: Sequence[dict[str, Any]], *, kind: str, limit: int = MAX_SHOWN) -> dict[str, Any]:
    """A listing as plain JSON: ``{"count": …, kind: […], "left_out": …}``.

    :param kind: the key for the items: ``jobs`` or ``files``.
    :param limit: most items to include. ``count`` is the number of all, ``left_out`` of those that are not included.
    """
    return {"count": len(items), kind: list(items[:limit]), "left_out": max(0, len(items) - limit)}


def job_record(job: Job) -> dict[str, Any]:
    """A job as plain JSON; the error message is cut at 200 characters, so that a long listing still fits into XCom."""
    return {
        "name": job.name,
        "state": job.state.value,
        "display_name": job.display_name,
        "model": job.model.removeprefix("models/"),
        "create_time": job.create_time,
        "end_time": job.end_time,
        "requests": job.stats.total,
        "succeeded": job.stats.succeeded,
        "failed": job.stats.failed,
        "error": job.error_message[:200],
        "input_file": job.input_file,
        "output_file": job.output_file,
    }


def file_record(file: RemoteFile) -> dict[str, Any]:
    """A file as plain JSON. Times are ISO 8601, or empty where the service does not give them."""
    return {
        "name": file.name,
        "display_name": file.display_name,
        "bytes": file.size,
        "create_time": file.create_time.isoformat() if file.create_time else "",
        "expires": file.expires.isoformat() if file.expires else "",
        "is_output": file.is_output,
    }


def moment(value: dt.datetime | str | None, *, argument: str, now: dt.datetime | None = None) -> dt.datetime | None:
    """An aware datetime from ISO 8601 text or a datetime (UTC unless it has an offset), or from an age such as ``36h``.

    :param argument: the argument's name, for the error.
    :param now: what an age is counted from. Default: the current time.

    Returns None for None and for empty text, as an unset template gives. Raises InputError for anything else.
    """
    if value is None or value == "":
        return None
    if isinstance(value, str) and (age := _age(value)) is not None:
        return (now or dt.datetime.now(dt.timezone.utc)) - age
    try:
        # Python 3.10 does not know the "Z".
        time = dt.datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", value)) if isinstance(value, str) else value
        return time if time.tzinfo is not None else time.replace(tzinfo=dt.timezone.utc)
    except (ValueError, AttributeError):
        raise InputError(
            f"{argument} is {value!r}; expected a time such as 2026-11-21T06:00:00Z, or an age such as 36h or 7d."
        ) from None


def duration(value: dt.timedelta | str, *, argument: str) -> dt.timedelta:
    """A timedelta, also from text: a number and one of s, m, h, d, w, such as ``90m``, ``36h`` or ``7d``.

    :param argument: the argument's name, for the error.

    Raises InputError for other text and for a negative timedelta.
    """
    found = _age(value) if isinstance(value, str) else value
    if not isinstance(found, dt.timedelta) or found < dt.timedelta(0):
        raise InputError(f"{argument} is {value!r}; expected a duration such as 36h or 7d.")
    return found


def _age(text: str) -> dt.timedelta | None:
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhdw])\s*", text)
    return dt.timedelta(**{_UNITS[match[2]]: float(match[1])}) if match else None


def total_bytes(files: Iterable[RemoteFile]) -> int:
    """The sum of the sizes; a file of unknown size counts as 0."""
    return sum(file.size or 0 for file in files)
