"""What the service holds for the project of a key: jobs and files, looked through on our side, since it filters nothing.

Two rules must stay true: a listing is read to its end, and only what is handed on is cut, saying how much was left out;
and a job that may still run is never deleted, because nobody says whether it then stops, and nobody could see it any more.
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
from airflow_gemini_batch.engine.gemini.files import RemoteFile, is_file_name
from airflow_gemini_batch.engine.gemini.jobs import Job, JobState, time_of

log = logging.getLogger(__name__)

#: How much of a listing is handed on by default: some 30 KB of XCom.
MAX_SHOWN = 100

#: In place of a state: whatever has not ended, under any name.
ACTIVE = "ACTIVE"

#: Seconds that a cancelled job is given to end before it is left for the next time, and between two looks at it.
_CANCEL_PATIENCE = 30.0
_LOOK_EVERY = 2.0

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs are meant; what is left out does not matter.

    :param states: names of ``JobState``, or ``ACTIVE``; empty: any.
    :param display_name, model: patterns with ``*`` and ``?``, to be matched as a whole; the model without ``models/``.
    :param created_after, created_before: a job that does not say when it was created is neither.
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
        """As a person says it: states in any case, times as ISO 8601 or as an age such as ``36h``. Raises InputError."""
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


class Fate(str, enum.Enum):
    """What became of something that was to be deleted."""

    DELETED = "deleted"
    #: It was not there, or is another project's, or somebody was faster.
    GONE = "gone"
    #: A job that has been told to end and has not ended yet: delete it later.
    ENDING = "ending"
    #: A file of the service's own, which only the service removes.
    UNDELETABLE = "undeletable"


def find_jobs(client: GeminiClient, wanted: JobFilter) -> list[Job]:
    """Every job that is meant, newest first."""
    return sorted((job for job in client.list_jobs() if wanted.matches(job)), key=lambda job: job.create_time, reverse=True)


def find_files(client: GeminiClient, display_name: str | None = None) -> list[RemoteFile]:
    """Every file, or those whose display name matches a pattern with ``*`` and ``?``; newest first."""
    found = [file for file in client.list_files() if display_name is None or fnmatch.fnmatchcase(file.display_name, display_name)]
    return sorted(found, key=lambda file: (file.create_time or _LONG_AGO, file.name), reverse=True)


def delete_job(
    client: GeminiClient,
    name: str,
    *,
    cancel: bool = False,
    patience: float = _CANCEL_PATIENCE,
    sleep: Callable[[float], None] = time.sleep,
) -> Fate:
    """Remove a job from the listing, once it has ended.

    :param cancel: end it first when it is active; without this, an active job is an InputError.
    :param patience: seconds that a cancelled job is given to end.
    """
    try:
        job = client.get_job(name)
        if not job.is_terminal:
            if not cancel:
                raise InputError(f"{job} is active, and deleting it would hide it and not stop it. Cancel it first.")
            client.cancel_job(name)
            until = time.monotonic() + patience
            while not (job := client.get_job(name)).is_terminal:
                if time.monotonic() >= until:
                    return Fate.ENDING
                sleep(_LOOK_EVERY)
    except NotFoundError:
        return Fate.GONE
    client.delete_job(name)
    log.info("Deleted %s.", job)
    return Fate.DELETED


def delete_file(client: GeminiClient, name: str) -> Fate:
    """Give the storage of a file back."""
    if not is_file_name(name):
        raise InputError(f"{name!r} is no name of a file; expected files/<id>.")
    try:
        if client.get_file(name) is None:
            return Fate.GONE
        client.delete_file(name)
    except RefusedError as error:
        if error.code != 400 or not name.startswith(_OUTPUT_PREFIX):
            raise
        log.info("%s is the output of a job: the service does not let it be deleted, and removes it by itself.", name)
        return Fate.UNDELETABLE
    return Fate.DELETED


_OUTPUT_PREFIX = "files/batch-"
_LONG_AGO = dt.datetime.min.replace(tzinfo=dt.timezone.utc)


def cut(items: Sequence[dict[str, Any]], *, kind: str, limit: int = MAX_SHOWN) -> dict[str, Any]:
    """A listing as plain JSON that stays small.

    :param kind: what the items are called in it: ``jobs`` or ``files``.
    """
    return {"count": len(items), kind: list(items[:limit]), "left_out": max(0, len(items) - limit)}


def job_record(job: Job) -> dict[str, Any]:
    """A job as plain JSON."""
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
    """A file as plain JSON."""
    return {
        "name": file.name,
        "display_name": file.display_name,
        "bytes": file.size,
        "create_time": file.create_time.isoformat() if file.create_time else "",
        "expires": file.expires.isoformat() if file.expires else "",
        "is_output": file.is_output,
    }


def moment(value: dt.datetime | str | None, *, argument: str, now: dt.datetime | None = None) -> dt.datetime | None:
    """A point in time, from ISO 8601 (UTC unless it says otherwise) or from an age such as ``36h``. Raises InputError."""
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
    """A length of time, from text such as ``90m``, ``36h`` or ``7d`` too. Raises InputError."""
    found = _age(value) if isinstance(value, str) else value
    if not isinstance(found, dt.timedelta) or found < dt.timedelta(0):
        raise InputError(f"{argument} is {value!r}; expected a length of time such as 36h or 7d.")
    return found


def _age(text: str) -> dt.timedelta | None:
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhdw])\s*", text)
    return dt.timedelta(**{_UNITS[match[2]]: float(match[1])}) if match else None


def total_bytes(files: Iterable[RemoteFile]) -> int:
    return sum(file.size or 0 for file in files)
