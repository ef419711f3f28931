"""Removing what finished runs have left at the service, and naming jobs and files that belong to none of the runs.

Three rules must not be relaxed:
only the jobs and files of finished runs are touched, because only a finished run has nothing more to fetch;
a job that may still run is cancelled and left for the next cleanup, never deleted; and
the service is listed before the runs are read, so that a run that starts meanwhile is found with its jobs and these are not
taken for orphans.
"""

from __future__ import annotations

import datetime as dt
import enum
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from airflow_gemini_batch.engine.errors import CorruptRunError, DestinationError, RefusedError, ServiceError
from airflow_gemini_batch.engine.gemini.client import GeminiClient
from airflow_gemini_batch.engine.gemini.files import RemoteFile
from airflow_gemini_batch.engine.gemini.inventory import total_bytes
from airflow_gemini_batch.engine.gemini.jobs import Job, time_of
from airflow_gemini_batch.engine.run.layout import Run, judge_folders
from airflow_gemini_batch.engine.run.ledger import Ledger
from airflow_gemini_batch.engine.run.snapshot import Snapshot
from airflow_gemini_batch.engine.run.storage import Location
from airflow_gemini_batch.engine.run.tokens import input_file_name, token_of, token_of_display_name

log = logging.getLogger(__name__)

_T = TypeVar("_T")
_K = TypeVar("_K")

#: How long an ended job stays in the service's listing by default, so that people can still inspect it.
OLDER_THAN = dt.timedelta(days=7)

#: Names of each kind in a report by default: it goes into XCom, which should stay small.
MAX_NAMES = 20

#: Levels of folders that are searched for runs: DAG, date, map index and one to spare.
_DEPTH = 4


@dataclass(frozen=True, slots=True)
class RunResources:
    """The jobs and files that one run has, or may have, at the service.

    :param uri: the run's destination.
    :param tokens: of every shard and attempt, submitted or not.
    :param jobs: names of the jobs that its ledger has recorded.
    :param files: names of the input files that its ledger has recorded, or that it would use.
    """

    uri: str
    finished: bool
    tokens: frozenset[str]
    jobs: frozenset[str] = frozenset()
    files: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class CleanupPlan:
    """What to do with each job and file that a run of ours has created.

    :param delete_files: input files of finished runs.
    :param delete_jobs: jobs of finished runs that ended long enough ago.
    :param cancel: active jobs of finished runs: nothing waits for them, and they are billed.
    :param young: jobs of finished runs that ended too recently to be deleted.
    :param outputs: output files of finished runs, which only the service can remove.
    :param orphan_jobs: jobs with a token of ours that none of the runs knows.
    :param orphan_files: files with a token of ours that none of the runs knows.
    """

    delete_files: tuple[RemoteFile, ...]
    delete_jobs: tuple[Job, ...]
    cancel: tuple[Job, ...]
    young: tuple[Job, ...]
    outputs: tuple[str, ...]
    orphan_jobs: tuple[Job, ...]
    orphan_files: tuple[RemoteFile, ...]


@dataclass
class CleanupReport:
    """What a cleanup did, or would do in a dry run.

    :param finished: number of finished runs.
    :param unfinished: number of unfinished runs; nothing of theirs is touched.
    :param unreadable: one message for each run that could not be read; nothing of theirs is touched.
    :param deleted_jobs: names, as in ``cancelled`` and ``cancelled_orphans``.
    :param failed: ``name: error`` for each job or file that could not be removed.
    """

    dry_run: bool
    finished: int
    unfinished: int
    unreadable: list[str]
    plan: CleanupPlan
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
            "jobs too young to delete": self.plan.young,
            "orphan jobs": self.plan.orphan_jobs,
            "orphan jobs cancelled": self.cancelled_orphans,
            "orphan files": self.plan.orphan_files,
            "failed": self.failed,
        }
        done = ", ".join(f"{len(things)} {what}" for what, things in counts.items() if things) or "nothing to do"
        runs = (
            f"{self.finished} finished runs; {self.unfinished} unfinished and {len(self.unreadable)} unreadable runs left alone"
        )
        return f"{'Would clean up' if self.dry_run else 'Cleaned up'}: {done}; {runs}."

    def as_dict(self, max_names: int = MAX_NAMES) -> dict[str, Any]:
        """The report as plain JSON: for each kind the count, the first names, and how many were left out.

        :param max_names: most names of each kind. Default: 20, because the result goes into XCom.
        """

        def cut(names: Iterable[str], **more: Any) -> dict[str, Any]:
            every = list(names)
            return {"count": len(every), **more, "names": every[:max_names], "left_out": max(0, len(every) - max_names)}

        return {
            "dry_run": self.dry_run,
            "runs": {"finished": self.finished, "unfinished": self.unfinished, "unreadable": cut(self.unreadable)},
            "deleted_files": cut((file.name for file in self.deleted_files), bytes=total_bytes(self.deleted_files)),
            "deleted_jobs": cut(self.deleted_jobs),
            "cancelled_jobs": cut(self.cancelled),
            "young_jobs": cut(job.name for job in self.plan.young),
            "output_files_left_to_the_service": cut(self.plan.outputs),
            "orphan_jobs": cut(f"{job.name} {job.state.value} {job.display_name}" for job in self.plan.orphan_jobs),
            "cancelled_orphans": cut(self.cancelled_orphans),
            "orphan_files": cut((file.name for file in self.plan.orphan_files), bytes=total_bytes(self.plan.orphan_files)),
            "failed": cut(self.failed),
        }


def clean_up(
    client: GeminiClient,
    destinations: Sequence[Location],
    *,
    older_than: dt.timedelta = OLDER_THAN,
    dry_run: bool = False,
    cancel_orphans: bool = False,
) -> CleanupReport:
    """Delete the input files and old jobs of finished runs, cancel the jobs that they still have active, and name the orphans.

    An orphan is a job or file with a token of ours that none of these runs knows.

    :param destinations: runs, or folders of runs, searched four levels deep; the runs of judges of their scores belong to them.
    :param older_than: how long ago a job must have ended to be deleted. Default: 7 days, so that people can still inspect it.
        Input files of finished runs are deleted at any age.
    :param dry_run: only report what would be done. Default: False.
    :param cancel_orphans: cancel active orphan jobs. Default: False. Pass **all** runs of the project with it, because the jobs
        of any other run count as orphans.

    What cannot be deleted or cancelled is named in ``failed`` and does not stop the rest. Raises DestinationError when there is
    no run, ServiceError when the service cannot be listed, and, with ``cancel_orphans``, CorruptRunError for a run that cannot be
    read: its jobs would look like orphans.
    """
    jobs, files = list(client.list_jobs()), list(client.list_files())
    resources, unreadable = _resources(destinations)
    if cancel_orphans and unreadable:
        raise unreadable[0]
    plan = make_plan(resources, jobs, files, older_than=older_than, now=dt.datetime.now(dt.timezone.utc))
    finished = sum(one.finished for one in resources)
    report = CleanupReport(dry_run, finished, len(resources) - finished, [str(error) for error in unreadable], plan)
    _carry_out(report, client, cancel_orphans=cancel_orphans)
    log.info("%s", report)
    return report


def make_plan(
    resources: Iterable[RunResources],
    jobs: Iterable[Job],
    files: Iterable[RemoteFile],
    *,
    older_than: dt.timedelta,
    now: dt.datetime,
) -> CleanupPlan:
    """Decide what to do with each job and file. One without a token of ours that no ledger names is ignored."""
    owner = _owner_by_name(resources)
    jobs_of = _grouped(jobs, lambda job: owner(job.name, token_of_display_name(job.display_name)))
    files_of = _grouped(files, lambda file: owner(file.name, _token_of_file(file)))
    finished_jobs = jobs_of[_Owner.FINISHED]
    planned = _grouped(finished_jobs, lambda job: _action(job, ended_by=now - older_than))
    return CleanupPlan(
        delete_files=tuple(file for file in files_of[_Owner.FINISHED] if not file.is_output),
        delete_jobs=tuple(planned["delete_jobs"]),
        cancel=tuple(planned["cancel"]),
        young=tuple(planned["young"]),
        outputs=tuple(job.output_file for job in finished_jobs if job.output_file is not None),
        orphan_jobs=tuple(jobs_of[_Owner.NO_RUN]),
        orphan_files=tuple(files_of[_Owner.NO_RUN]),
    )


class _Owner(enum.Enum):
    """Whose a job or file is."""

    FINISHED = enum.auto()
    UNFINISHED = enum.auto()
    #: It has a token of ours that none of the runs knows.
    NO_RUN = enum.auto()
    #: It has no token of ours, and no ledger names it.
    NOT_OURS = enum.auto()


def _owner_by_name(resources: Iterable[RunResources]) -> Callable[[str, str | None], _Owner]:
    """A function from a name and a token to the owner. A name that a ledger has recorded counts before a token."""
    known: dict[str | None, _Owner] = {}
    # Unfinished runs last, so that they win: the folder of a run may have been copied while the run was in progress.
    for run in sorted(resources, key=lambda run: not run.finished):
        known.update(dict.fromkeys((*run.tokens, *run.jobs, *run.files), _Owner.FINISHED if run.finished else _Owner.UNFINISHED))

    def owner(name: str, token: str | None) -> _Owner:
        unknown = _Owner.NOT_OURS if token is None else _Owner.NO_RUN
        return known.get(name, known.get(token, unknown))

    return owner


def _action(job: Job, *, ended_by: dt.datetime) -> str:
    """The field of CleanupPlan that a finished run's job goes into."""
    if not job.is_terminal:
        return "cancel"
    return "delete_jobs" if _ended_by(job, ended_by) else "young"


def _grouped(things: Iterable[_T], group: Callable[[_T], _K]) -> defaultdict[_K, list[_T]]:
    groups: defaultdict[_K, list[_T]] = defaultdict(list)
    for thing in things:
        groups[group(thing)].append(thing)
    return groups


def _ended_by(job: Job, time: dt.datetime) -> bool:
    """False for a job without any time, which may have ended just now."""
    ended = time_of(job.end_time) or time_of(job.update_time) or time_of(job.create_time)
    return ended is not None and ended <= time


def _token_of_file(file: RemoteFile) -> str | None:
    """From the file's name, or from its display name where the service chose the name."""
    return token_of_display_name(file.name.removeprefix("files/")) or token_of_display_name(file.display_name)


def _carry_out(report: CleanupReport, client: GeminiClient, *, cancel_orphans: bool) -> None:
    """Delete and cancel one by one, so that a failure does not stop the rest."""
    plan = report.plan
    report.deleted_files += [file for file in plan.delete_files if _do(report, client.delete_file, file.name)]
    report.deleted_jobs += [job.name for job in plan.delete_jobs if _do(report, client.delete_job, job.name)]
    report.cancelled += [job.name for job in plan.cancel if _do(report, client.cancel_job, job.name)]
    if cancel_orphans:
        active = [job.name for job in plan.orphan_jobs if not job.is_terminal]
        report.cancelled_orphans += [name for name in active if _do(report, client.cancel_job, name)]


def _do(report: CleanupReport, act: Callable[[str], None], name: str) -> bool:
    """Whether it was done, or would be in a dry run."""
    if report.dry_run:
        return True
    try:
        act(name)
    except RefusedError as error:
        report.failed.append(f"{name}: {error}")
    except ServiceError as error:
        report.failed.append(f"{name}: {error} Run the cleanup again to retry.")
    else:
        return True
    log.warning("%s", report.failed[-1])
    return False


def _resources(destinations: Sequence[Location]) -> tuple[list[RunResources], list[CorruptRunError]]:
    """The resources of every run at or below the destinations, and an error for each run that cannot be read."""
    resources: list[RunResources] = []
    unreadable: list[CorruptRunError] = []
    # By URI, because a run may lie below two of the destinations.
    runs = {run.destination.uri: run for destination in destinations for run in _with_judges(destination)}
    for run in runs.values():
        try:
            resources.append(_resources_of(run))
        except CorruptRunError as error:
            log.warning("%s Its jobs and files are left alone.", error)
            unreadable.append(error)
    if not runs:
        raise DestinationError(f"There is no run at or below {', '.join(map(str, destinations)) or '(no destination given)'}.")
    return resources, unreadable


def _with_judges(folder: Location) -> Iterator[Run]:
    """The runs at or below a folder, and those of the judges of their scores."""
    for run in runs_below(folder):
        yield run
        for judge in judge_folders(run):
            yield from runs_below(judge, 1)


def runs_below(folder: Location, depth: int = _DEPTH) -> Iterator[Run]:
    """The run in this folder, or the runs in the folders below it.

    :param depth: levels of folders to search. The folders of a run, and those with a name that begins with ``_`` or ``.``, are
        not searched.
    """
    children = folder.children()
    if any(child.name == "_run" for child in children):
        run = Run(folder)
        if run.manifest_file.exists():
            yield run
    elif depth > 0:
        for child in children:
            if not child.name.startswith(("_", ".")):
                yield from runs_below(child, depth - 1)


def _resources_of(run: Run) -> RunResources:
    finished = run.summary_file.exists()
    manifest, ledger = run.built(), Ledger(run)
    shards = Snapshot(run, manifest).shards()
    tokens = {token_of(manifest, shard) for shard in shards}
    records = [record for shard in shards if (record := ledger.submitted(shard.id)) is not None]
    return RunResources(
        run.destination.uri,
        finished,
        frozenset(tokens),
        frozenset(record.job for record in records),
        frozenset(record.input_file for record in records if record.input_file) | {input_file_name(token) for token in tokens},
    )
