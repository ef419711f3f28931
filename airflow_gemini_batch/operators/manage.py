"""Operators that manage jobs and files at the service, and that clean up after finished runs.

Return values go through XCom, so their size is limited: counts, the first entries, and how many were left out.
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
    """List the batch jobs of the key's project that match all arguments, newest first.

    Returns ``{"count": int, "jobs": list[dict], "left_out": int}``. The service cannot filter, so the whole listing is read: one
    request per hundred jobs.

    :param state: One state or a list: PENDING, RUNNING, SUCCEEDED, FAILED, CANCELLED, EXPIRED, UNKNOWN (a state that this version
        does not know), or ACTIVE for every job that has not ended. Default: any. (templated)
    :param display_name: Pattern with ``*`` and ``?`` for the whole display name. Default: any. (templated)
    :param model: Pattern with ``*`` and ``?`` for the whole model name, with or without ``models/``. Default: any. (templated)
    :param created_after: A datetime, ISO 8601 text (UTC unless it has an offset), or an age such as ``36h`` or ``7d``; inclusive.
        Default: any time. (templated)
    :param created_before: The same, exclusive. (templated)
    :param limit: Maximum number of entries in ``jobs``. Default: 100. ``count`` counts all matches.
    :param gemini_conn_id: The connection's id. Default: ``gemini_default``. (templated)

    Raises AirflowFailException for an unknown state or a time that cannot be parsed; OutcomeUnknownError, QuotaError or
    UnreachableError, which Airflow may retry, when the listing cannot be read.
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

        with as_airflow_errors(self.hook), self.connect() as client:
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
    """Base of the operators for one job.

    :param job: ``batches/<id>``, an entry of a listing, or a job reference that a step returned. The reference of a shard without
        requests has no job; it skips the task. (templated)
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
            raise AirflowSkipException(f"Shard {self.job.get('shard')} has no requests, so it has no job.")
        return str(name)


class GeminiBatchGetJobOperator(_OneJobOperator):
    """Fetch one job from the service and return it as a dict.

    :param job: ``batches/<id>``, an entry of a listing, or a job reference that a step returned. A reference without a job skips
        the task. (templated)
    :param gemini_conn_id: The connection's id. Default: ``gemini_default``. (templated)

    Raises AirflowFailException when the service does not find the job, or for an invalid name.
    """

    def execute(self, context: Context) -> dict[str, Any]:
        from airflow_gemini_batch.engine.gemini.inventory import job_record

        with as_airflow_errors(self.hook), self.connect() as client:
            return job_record(client.get_job(self.job_name))


class GeminiBatchCancelJobOperator(_OneJobOperator):
    """Ask the service to cancel a job, then fetch the job and return it as a dict. It may still run for a while, or succeed.

    A run that waits for this job treats it as cancelled from outside: unanswered rows become dead letters with reason
    ``JOB_CANCELLED`` and are not resubmitted automatically.

    :param job: ``batches/<id>``, an entry of a listing, or a job reference that a step returned. A reference without a job skips
        the task. (templated)
    :param gemini_conn_id: The connection's id. Default: ``gemini_default``. (templated)

    Raises AirflowFailException when the service does not find the job, or for an invalid name.
    """

    def execute(self, context: Context) -> dict[str, Any]:
        from airflow_gemini_batch.engine.gemini.inventory import job_record

        with as_airflow_errors(self.hook), self.connect() as client:
            client.cancel_job(self.job_name)
            return job_record(client.get_job(self.job_name))


class GeminiBatchDeleteJobOperator(_OneJobOperator):
    """Remove an ended job from the service's listing.

    Returns ``{"job": "batches/<id>", "outcome": "deleted" | "gone" | "ending"}``; ``gone`` means that the service does not find
    the job. An active job is never deleted: that might hide it without stopping it.

    :param job: ``batches/<id>``, an entry of a listing, or a job reference that a step returned. A reference without a job skips
        the task. (templated)
    :param cancel: Whether to cancel an active job first, and wait up to 30 seconds for its end; ``ending`` means that it has not
        ended by then and still exists. Default: False, because cancelling loses the answers that the job would still have given.
    :param gemini_conn_id: The connection's id. Default: ``gemini_default``. (templated)

    Raises AirflowFailException for an active job without ``cancel``.
    """

    def __init__(
        self, *, job: str | Mapping[str, Any] | XComArg, cancel: bool = False, **kwargs: Unpack[GeminiOperatorArguments]
    ) -> None:
        super().__init__(job=job, **kwargs)
        self.cancel = cancel

    def execute(self, context: Context) -> dict[str, Any]:
        from airflow_gemini_batch.engine.gemini.inventory import delete_job

        with as_airflow_errors(self.hook), self.connect() as client:
            return {"job": self.job_name, "outcome": delete_job(client, self.job_name, cancel=self.cancel).value}


class GeminiBatchListFilesOperator(GeminiOperator):
    """List the files that the service holds for the key's project, newest first.

    Returns ``{"bytes": int, "count": int, "files": list[dict], "left_out": int}``.

    :param display_name: Pattern with ``*`` and ``?`` for the whole display name. Default: all files. (templated)
    :param limit: Maximum number of entries in ``files``. Default: 100. ``count`` and ``bytes`` include all matches.
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

        with as_airflow_errors(self.hook), self.connect() as client:
            files = find_files(client, self.display_name)
        limit = MAX_SHOWN if self.limit is None else self.limit
        return {"bytes": total_bytes(files), **cut([file_record(file) for file in files], kind="files", limit=limit)}


class GeminiBatchDeleteFileOperator(GeminiOperator):
    """Delete a file, so that it no longer counts against the project's 20 GB.

    Returns ``{"file": "files/<id>", "outcome": "deleted" | "gone" | "undeletable"}``. ``gone`` also stands for a file of another
    project, because the service gives the same answer. ``undeletable`` is the output of a job, which only the service removes,
    about 48 hours after the job's end.

    :param file: ``files/<id>``, or an entry of a listing. (templated)
    :param gemini_conn_id: The connection's id. Default: ``gemini_default``. (templated)
    """

    template_fields: Sequence[str] = ("file", *GeminiOperator.template_fields)

    def __init__(self, *, file: str | Mapping[str, Any] | XComArg, **kwargs: Unpack[GeminiOperatorArguments]) -> None:
        super().__init__(**kwargs)
        self.file: Any = file

    def execute(self, context: Context) -> dict[str, Any]:
        from airflow_gemini_batch.engine.gemini.inventory import delete_file

        name = str(self.file.get("name")) if isinstance(self.file, Mapping) else str(self.file)
        with as_airflow_errors(self.hook), self.connect() as client:
            return {"file": name, "outcome": delete_file(client, name).value}


class GeminiBatchCleanupOperator(GeminiOperator):
    """Remove what finished runs have left at the service, and report orphans.

    Deletes the input files of finished runs and their jobs that ended long enough ago. Cancels their jobs that are still active;
    a later cleanup deletes these. Runs that are not finished are left unchanged. Orphans are jobs and files with a token of this
    package that none of the given runs has: their run's folder was removed, or is not below ``destination``.

    Returns counts and names by kind; docs/managing.md describes them.

    :param destination: A run, a folder of runs (searched four levels deep), or a list of these. (templated)
    :param older_than: How long ago a job must have ended to be deleted, as timedelta or text such as ``36h``. Default: 7 days, so
        that recent jobs can still be inspected. (templated)
    :param dry_run: Whether to report only, without deleting or cancelling. Default: False.
    :param cancel_orphans: Whether to cancel active orphans. Every run of the project must then be below ``destination``, because
        the jobs of any other run count as orphans. Default: False, orphans are only reported.
    :param max_names: Maximum number of names per kind in the result. Default: 20.
    :param gemini_conn_id: The connection's id. Default: ``gemini_default``. (templated)

    Raises AirflowFailException when there is no run below ``destination``; OutcomeUnknownError, QuotaError or UnreachableError,
    which Airflow may retry, when the service cannot be listed. What could not be removed is reported under ``failed`` and does
    not fail the task.
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
        self.is_dry_run = dry_run  # BaseOperator has a method dry_run
        self.cancel_orphans = cancel_orphans
        self.max_names = max_names

    def execute(self, context: Context) -> dict[str, Any]:
        from airflow_gemini_batch._locations import locate
        from airflow_gemini_batch.engine.cleanup import clean_up
        from airflow_gemini_batch.engine.gemini.inventory import duration

        places = self.destination if isinstance(self.destination, (list, tuple)) else [self.destination]
        with as_airflow_errors(self.hook), self.connect() as client:
            report = clean_up(
                client,
                [locate(place) for place in places],
                older_than=duration(self.older_than, argument="older_than"),
                dry_run=self.is_dry_run,
                cancel_orphans=self.cancel_orphans,
            )
        return report.as_dict(self.max_names)
