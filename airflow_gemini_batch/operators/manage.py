"""Looking after what the service holds: jobs and files, one by one, and what finished runs have left behind.

What these tasks return goes through XCom, so it is small, whatever there is: counts, the first names, and how many were left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_gemini_batch._compat import AirflowSkipException
from airflow_gemini_batch._errors import as_airflow_errors
from airflow_gemini_batch.operators.base import GeminiOperator

if TYPE_CHECKING:
    from airflow.sdk import Context, XComArg
    from typing_extensions import Unpack

    from airflow_gemini_batch.operators._airflow_arguments import GeminiOperatorArguments


class GeminiBatchListJobsOperator(GeminiOperator):
    """List batch jobs, newest first: ``{"count": …, "jobs": […], "left_out": …}``.

    The service filters nothing, so its listing is read to the end; that takes one request for each hundred jobs.

    :param state: One or more of PENDING, RUNNING, SUCCEEDED, FAILED, CANCELLED, EXPIRED, UNKNOWN; or ACTIVE, for all that have
        not ended. Default: any. (templated)
    :param display_name: A pattern with ``*`` and ``?`` for the whole display name. (templated)
    :param model: A pattern for the model's name, without ``models/``. (templated)
    :param created_after: A time (ISO 8601; UTC unless it says otherwise), or an age such as ``36h`` or ``7d``. (templated)
    :param created_before: Likewise. (templated)
    :param limit: Jobs in the result at most. Default: 100. ``count`` counts all.
    :param gemini_conn_id: The connection's id. Default: ``gemini_default``. (templated)
    """

    template_fields: Sequence[str] = (
        "state",
        "display_name",
        "model",
        "created_after",
        "created_before",
        *GeminiOperator.template_fields,
    )

    def __init__(
        self,
        *,
        state: str | Sequence[str] | None = None,
        display_name: str | None = None,
        model: str | None = None,
        created_after: datetime | str | None = None,
        created_before: datetime | str | None = None,
        limit: int | None = None,
        **kwargs: Unpack[GeminiOperatorArguments],
    ) -> None:
        super().__init__(**kwargs)
        self.state = state
        self.display_name = display_name
        self.model = model
        self.created_after = created_after
        self.created_before = created_before
        self.limit = limit

    def execute(self, context: Context) -> dict[str, Any]:
        from airflow_gemini_batch.engine.gemini.inventory import MAX_SHOWN, JobFilter, cut, find_jobs, job_record

        with as_airflow_errors(), self.connect() as client:
            wanted = JobFilter.of(
                state=self.state,
                display_name=self.display_name,
                model=self.model,
                created_after=self.created_after,
                created_before=self.created_before,
            )
            jobs = find_jobs(client, wanted)
        return cut([job_record(job) for job in jobs], kind="jobs", limit=MAX_SHOWN if self.limit is None else self.limit)


class _OneJobOperator(GeminiOperator):
    """Something done with one job.

    :param job: ``batches/…``, an entry of a listing, or the reference that a step of the trip returned. One of a shard without
        requests, which has no job, skips the task. (templated)
    :param gemini_conn_id: The connection's id. Default: ``gemini_default``. (templated)
    """

    template_fields: Sequence[str] = ("job", *GeminiOperator.template_fields)

    def __init__(self, *, job: str | Mapping[str, Any] | XComArg, **kwargs: Unpack[GeminiOperatorArguments]) -> None:
        super().__init__(**kwargs)
        self.job: Any = job  # an XComArg until Airflow has rendered it

    @property
    def job_name(self) -> str:
        if not isinstance(self.job, Mapping):
            return str(self.job)
        name = self.job.get("name", self.job.get("job"))
        if name is None and "job" in self.job:
            raise AirflowSkipException(f"Shard {self.job.get('shard')} has no requests, and so no job.")
        return str(name)


class GeminiBatchGetJobOperator(_OneJobOperator):
    """Look at one job and return what the service says of it. Raises AirflowFailException when it does not find the job.

    :param job: ``batches/…``, an entry of a listing, or the reference that a step of the trip returned. (templated)
    :param gemini_conn_id: The connection's id. Default: ``gemini_default``. (templated)
    """

    def execute(self, context: Context) -> dict[str, Any]:
        from airflow_gemini_batch.engine.gemini.inventory import job_record

        with as_airflow_errors(), self.connect() as client:
            return job_record(client.get_job(self.job_name))


class GeminiBatchCancelJobOperator(_OneJobOperator):
    """Ask for a job to end, and return what the service says of it afterwards: it may still run for a while, or end well.

    To a run that waits for this job it is cancelled by somebody else: rows without an answer become dead letters of reason
    ``JOB_CANCELLED``, and are not sent again by themselves.

    :param job: ``batches/…``, an entry of a listing, or the reference that a step of the trip returned. (templated)
    :param gemini_conn_id: The connection's id. Default: ``gemini_default``. (templated)
    """

    def execute(self, context: Context) -> dict[str, Any]:
        from airflow_gemini_batch.engine.gemini.inventory import job_record

        with as_airflow_errors(), self.connect() as client:
            client.cancel_job(self.job_name)
            return job_record(client.get_job(self.job_name))


class GeminiBatchDeleteJobOperator(_OneJobOperator):
    """Remove an ended job from the service's listing: ``{"job": …, "outcome": "deleted" | "gone" | "ending"}``.

    An active job is never deleted: that would hide it and, as far as anybody knows, not stop it.

    :param job: ``batches/…``, an entry of a listing, or the reference that a step of the trip returned. (templated)
    :param cancel: Whether to cancel an active job first, and give it half a minute to end; ``ending`` means that it has not, and
        is there still. Default: False, an active job fails the task.
    :param gemini_conn_id: The connection's id. Default: ``gemini_default``. (templated)
    """

    def __init__(
        self, *, job: str | Mapping[str, Any] | XComArg, cancel: bool = False, **kwargs: Unpack[GeminiOperatorArguments]
    ) -> None:
        super().__init__(job=job, **kwargs)
        self.cancel = cancel

    def execute(self, context: Context) -> dict[str, Any]:
        from airflow_gemini_batch.engine.gemini.inventory import delete_job

        with as_airflow_errors(), self.connect() as client:
            return {"job": self.job_name, "outcome": delete_job(client, self.job_name, cancel=self.cancel).value}


class GeminiBatchListFilesOperator(GeminiOperator):
    """List the files that the service holds for the project, newest first: ``{"count": …, "files": […], "left_out": …}``.

    :param display_name: A pattern with ``*`` and ``?`` for the whole display name. Default: all. (templated)
    :param limit: Files in the result at most. Default: 100. ``count`` and ``bytes`` are of all.
    :param gemini_conn_id: The connection's id. Default: ``gemini_default``. (templated)
    """

    template_fields: Sequence[str] = ("display_name", *GeminiOperator.template_fields)

    def __init__(
        self, *, display_name: str | None = None, limit: int | None = None, **kwargs: Unpack[GeminiOperatorArguments]
    ) -> None:
        super().__init__(**kwargs)
        self.display_name = display_name
        self.limit = limit

    def execute(self, context: Context) -> dict[str, Any]:
        from airflow_gemini_batch.engine.gemini.inventory import MAX_SHOWN, cut, file_record, find_files, total_bytes

        with as_airflow_errors(), self.connect() as client:
            files = find_files(client, self.display_name)
        limit = MAX_SHOWN if self.limit is None else self.limit
        return {"bytes": total_bytes(files), **cut([file_record(file) for file in files], kind="files", limit=limit)}


class GeminiBatchDeleteFileOperator(GeminiOperator):
    """Delete a file: ``{"file": …, "outcome": "deleted" | "gone" | "undeletable"}``.

    The service does not tell a file that is gone from another project's. The output of a job cannot be deleted: it is refused,
    and removed by the service some 48 hours after the job's end.

    :param file: ``files/…``, or an entry of a listing. (templated)
    :param gemini_conn_id: The connection's id. Default: ``gemini_default``. (templated)
    """

    template_fields: Sequence[str] = ("file", *GeminiOperator.template_fields)

    def __init__(self, *, file: str | Mapping[str, Any] | XComArg, **kwargs: Unpack[GeminiOperatorArguments]) -> None:
        super().__init__(**kwargs)
        self.file: Any = file

    def execute(self, context: Context) -> dict[str, Any]:
        from airflow_gemini_batch.engine.gemini.inventory import delete_file

        name = str(self.file.get("name")) if isinstance(self.file, Mapping) else str(self.file)
        with as_airflow_errors(), self.connect() as client:
            return {"file": name, "outcome": delete_file(client, name).value}


class GeminiBatchCleanupOperator(GeminiOperator):
    """Remove what finished runs have left at the service, and name what belongs to no run.

    Deletes the input files of finished runs and their ended jobs of a certain age; cancels what they still have running, which
    a later cleanup deletes. Runs that are not finished are left alone. Orphans are jobs and files that carry a token of ours
    which none of the runs knows: the remains of runs whose folders are gone, or of runs that were not named here.

    :param destination: A run, a folder of runs (looked through to four levels), or a list of these. (templated)
    :param older_than: How long ago a job must have ended to be deleted, as timedelta or text such as ``36h``. Default: 7 days.
        (templated)
    :param dry_run: Whether only to say what would be done. Default: False.
    :param cancel_orphans: Whether to cancel active orphans. Every run of the project must then lie below ``destination``: to
        this task, the job of any other run is an orphan. Default: False, they are only named.
    :param max_names: Names of each kind in the result at most. Default: 20.
    :param gemini_conn_id: The connection's id. Default: ``gemini_default``. (templated)

    Raises AirflowFailException when there is no run, and OutcomeUnknownError or the like, to be retried, when the service cannot
    be listed. What could not be removed is named under ``failed`` and does not fail the task.
    """

    template_fields: Sequence[str] = ("destination", "older_than", *GeminiOperator.template_fields)

    def __init__(
        self,
        *,
        destination: Any,
        older_than: timedelta | str = timedelta(days=7),
        dry_run: bool = False,
        cancel_orphans: bool = False,
        max_names: int = 20,
        **kwargs: Unpack[GeminiOperatorArguments],
    ) -> None:
        super().__init__(**kwargs)
        self.destination = destination
        self.older_than = older_than
        self.is_dry_run = dry_run  # an operator has a method dry_run
        self.cancel_orphans = cancel_orphans
        self.max_names = max_names

    def execute(self, context: Context) -> dict[str, Any]:
        from airflow_gemini_batch._locations import locate
        from airflow_gemini_batch.engine.cleanup import clean_up
        from airflow_gemini_batch.engine.gemini.inventory import duration

        places = self.destination if isinstance(self.destination, (list, tuple)) else [self.destination]
        with as_airflow_errors(), self.connect() as client:
            report = clean_up(
                client,
                [locate(place) for place in places],
                older_than=duration(self.older_than, argument="older_than"),
                dry_run=self.is_dry_run,
                cancel_orphans=self.cancel_orphans,
            )
        return report.as_dict(self.max_names)
