"""Giving back what finished runs have left at the service, and naming what belongs to no run.

What must stay true: only a finished run has nothing more to fetch, so only its jobs and files are touched; a job that may
still run is cancelled and left for the next time, never deleted; and the service is listed before the runs are read, so that
a run which starts meanwhile is known with its jobs and not taken for nobody's.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_gemini_batch.engine.errors import CorruptRunError, DestinationError, RefusedError, ServiceError
from airflow_gemini_batch.engine.gemini.client import GeminiClient
from airflow_gemini_batch.engine.gemini.files import RemoteFile
from airflow_gemini_batch.engine.gemini.inventory import total_bytes
from airflow_gemini_batch.engine.gemini.jobs import Job, time_of
from airflow_gemini_batch.engine.run.layout import Run
from airflow_gemini_batch.engine.run.ledger import Ledger, input_file_name, token_of, token_of_display_name
from airflow_gemini_batch.engine.run.storage import Location

log = logging.getLogger(__name__)

#: How long an ended job stays in the service's listing by default, for people to look at.
OLDER_THAN = dt.timedelta(days=7)

#: Names of each kind that a report tells; it goes into XCom.
MAX_NAMES = 20

#: How far below a folder runs are looked for: DAG, date, map index and one to spare.
_DEPTH = 4


@dataclass(frozen=True, slots=True)
class Holding:
    """What a run may have at the service.

    :param tokens: of every shard and attempt, submitted or not.
    :param jobs, files: the names that its ledger has recorded.
    """

    uri: str
    finished: bool
    tokens: frozenset[str]
    jobs: frozenset[str] = frozenset()
    files: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done with each thing that is ours.

    :param cancel: active jobs of finished runs: nobody waits for them, and they are billed.
    :param young: jobs of finished runs that are not old enough to be deleted.
    :param outputs: output files of finished runs, which only the service can remove.
    :param orphan_jobs, orphan_files: they carry a token of ours that none of the runs knows.
    """

    delete_files: tuple[RemoteFile, ...]
    delete_jobs: tuple[Job, ...]
    cancel: tuple[Job, ...]
    young: tuple[Job, ...]
    outputs: tuple[str, ...]
    orphan_jobs: tuple[Job, ...]
    orphan_files: tuple[RemoteFile, ...]


@dataclass
class Report:
    """What was done, or would be."""

    dry_run: bool
    finished: int
    unfinished: int
    unreadable: list[str]
    plan: Plan
    deleted_files: list[RemoteFile] = field(default_factory=list)
    deleted_jobs: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    cancelled_orphans: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        counts: dict[str, Sequence[object]] = {
            "input files deleted": self.deleted_files,
            "jobs deleted": self.deleted_jobs,
            "jobs cancelled": self.cancelled,
            "jobs too young": self.plan.young,
            "jobs of none of these runs": self.plan.orphan_jobs,
            "of them cancelled": self.cancelled_orphans,
            "files of none of these runs": self.plan.orphan_files,
            "failed": self.failed,
        }
        told = ", ".join(f"{len(things)} {what}" for what, things in counts.items() if things) or "nothing to do"
        runs = (
            f"{self.finished} finished runs, {self.unfinished} unfinished and {len(self.unreadable)} unreadable ones left alone"
        )
        return f"{'Would clean up' if self.dry_run else 'Cleaned up'}: {told}; {runs}."

    def as_dict(self, max_names: int = MAX_NAMES) -> dict[str, Any]:
        """Counts, and of each kind the first names; ``left_out`` says how many more there are."""

        def told(names: Iterable[str], **more: Any) -> dict[str, Any]:
            every = list(names)
            return {"count": len(every), **more, "names": every[:max_names], "left_out": max(0, len(every) - max_names)}

        return {
            "dry_run": self.dry_run,
            "runs": {"finished": self.finished, "unfinished": self.unfinished, "unreadable": told(self.unreadable)},
            "deleted_files": told((file.name for file in self.deleted_files), bytes=total_bytes(self.deleted_files)),
            "deleted_jobs": told(self.deleted_jobs),
            "cancelled_jobs": told(self.cancelled),
            "young_jobs": told(job.name for job in self.plan.young),
            "output_files_left_to_the_service": told(self.plan.outputs),
            "orphan_jobs": told(f"{job.name} {job.state.value} {job.display_name}" for job in self.plan.orphan_jobs),
            "cancelled_orphans": told(self.cancelled_orphans),
            "orphan_files": told((file.name for file in self.plan.orphan_files), bytes=total_bytes(self.plan.orphan_files)),
            "failed": told(self.failed),
        }


def clean_up(
    client: GeminiClient,
    places: Sequence[Location],
    *,
    older_than: dt.timedelta = OLDER_THAN,
    dry_run: bool = False,
    cancel_orphans: bool = False,
) -> Report:
    """Delete the input files and old jobs of finished runs, cancel what they still have running, and name the orphans.

    :param places: runs, or folders of runs.
    :param older_than: how long ago a job must have ended to be deleted. Input files of finished runs go at any age.
    :param cancel_orphans: cancel active jobs that carry a token of ours which none of these runs knows. Name **all** runs of the
        project then: to this call, a job of any other run is an orphan.

    Raises DestinationError when there is no run, and, before anything is cancelled on the ground that no run knows it,
    CorruptRunError when a run cannot be read.
    """
    jobs, files = list(client.list_jobs()), list(client.list_files())
    holdings, unreadable = _holdings(places)
    if cancel_orphans and unreadable:
        raise unreadable[0]
    plan = make_plan(holdings, jobs, files, older_than=older_than, now=dt.datetime.now(dt.timezone.utc))
    finished = sum(holding.finished for holding in holdings)
    report = Report(dry_run, finished, len(holdings) - finished, [str(error) for error in unreadable], plan)
    _carry_out(report, client, cancel_orphans=cancel_orphans)
    log.info("%s", report)
    return report


def make_plan(
    holdings: Iterable[Holding], jobs: Iterable[Job], files: Iterable[RemoteFile], *, older_than: dt.timedelta, now: dt.datetime
) -> Plan:
    """Sort everything at the service that is ours. What carries no token of ours and is in no ledger is not looked at."""
    finished: dict[str, bool] = {}
    # The unfinished last, so that they have the say: the folder of a run may have been copied while it was under way.
    for holding in sorted(holdings, key=lambda holding: not holding.finished):
        finished.update(dict.fromkeys((*holding.tokens, *holding.jobs, *holding.files), holding.finished))
    found: dict[str, list[Any]] = {name: [] for name in Plan.__slots__}
    for job in jobs:
        token = token_of_display_name(job.display_name)
        is_done = finished.get(job.name, finished.get(token or ""))
        if is_done is None and token is not None:
            found["orphan_jobs"].append(job)
        if not is_done:
            continue
        if job.output_file is not None:
            found["outputs"].append(job.output_file)
        kind = "cancel" if not job.is_terminal else "delete_jobs" if _ended_before(job, now - older_than) else "young"
        found[kind].append(job)
    for file in files:
        token = _token_of_file(file)
        is_done = finished.get(file.name, finished.get(token or ""))
        if is_done is None and token is not None:
            found["orphan_files"].append(file)
        if is_done and not file.is_output:
            found["delete_files"].append(file)
    return Plan(**{name: tuple(things) for name, things in found.items()})


def _ended_before(job: Job, time: dt.datetime) -> bool:
    """A job that says no time at all may have ended just now."""
    ended = time_of(job.end_time) or time_of(job.update_time) or time_of(job.create_time)
    return ended is not None and ended <= time


def _token_of_file(file: RemoteFile) -> str | None:
    """Of its name, or of its display name where the service has chosen the name."""
    return token_of_display_name(file.name.removeprefix("files/")) or token_of_display_name(file.display_name)


def _carry_out(report: Report, client: GeminiClient, *, cancel_orphans: bool) -> None:
    """Each thing for itself: one that cannot be removed must not keep the others."""
    plan, dry_run = report.plan, report.dry_run
    for file in plan.delete_files:
        if dry_run or _done(report, file.name, client.delete_file):
            report.deleted_files.append(file)
    for job in plan.delete_jobs:
        if dry_run or _done(report, job.name, client.delete_job):
            report.deleted_jobs.append(job.name)
    orphans = [job for job in plan.orphan_jobs if cancel_orphans and not job.is_terminal]
    for active, cancelled in ((plan.cancel, report.cancelled), (orphans, report.cancelled_orphans)):
        for job in active:
            if dry_run or _done(report, job.name, client.cancel_job):
                cancelled.append(job.name)


def _done(report: Report, name: str, act: Callable[[str], None]) -> bool:
    try:
        act(name)
    except RefusedError as error:
        report.failed.append(f"{name}: {error}")
    except ServiceError as error:
        report.failed.append(f"{name}: {error} Clean up again to go on.")
    else:
        return True
    log.warning("%s", report.failed[-1])
    return False


def _holdings(places: Sequence[Location]) -> tuple[list[Holding], list[CorruptRunError]]:
    holdings: list[Holding] = []
    unreadable: list[CorruptRunError] = []
    # A run may lie below two of the places.
    for run in {run.destination.uri: run for place in places for run in runs_below(place)}.values():
        try:
            holdings.append(_holding(run))
        except CorruptRunError as error:
            log.warning("%s Its jobs and files are left alone.", error)
            unreadable.append(error)
    if not holdings and not unreadable:
        raise DestinationError(f"There is no run at or below {', '.join(map(str, places)) or 'no place at all'}.")
    return holdings, unreadable


def runs_below(place: Location, depth: int = _DEPTH) -> Iterator[Run]:
    """The run at this place, or those in the folders below it; nothing is looked for inside a run."""
    children = place.children()
    if any(child.name == "_run" for child in children):
        run = Run(place)
        if run.manifest_file.exists():
            yield run
    elif depth > 0:
        for child in children:
            if not child.name.startswith(("_", ".")):
                yield from runs_below(child, depth - 1)


def _holding(run: Run) -> Holding:
    finished = run.summary_file.exists()
    manifest, ledger = run.built(), Ledger(run)
    shards = ledger.shards(manifest)
    tokens = {token_of(manifest, shard) for shard in shards}
    records = [record for shard in shards if (record := ledger.submitted(shard.id)) is not None]
    return Holding(
        run.destination.uri,
        finished,
        frozenset(tokens),
        frozenset(record.job for record in records),
        frozenset(record.input_file for record in records if record.input_file) | {input_file_name(token) for token in tokens},
    )
