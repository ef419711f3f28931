"""A whole run, or the rest of one, in one call, for notebooks and the command line: advance and wait until it is finished."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from airflow_gemini_batch.engine.advance import advance
from airflow_gemini_batch.engine.build.budget import require_limit
from airflow_gemini_batch.engine.build.building import build_run
from airflow_gemini_batch.engine.build.call import IfExists, RunSpec, uris_of
from airflow_gemini_batch.engine.errors import WaitTimeoutError
from airflow_gemini_batch.engine.finish.reopening import reopen
from airflow_gemini_batch.engine.finish.selection import Selection
from airflow_gemini_batch.engine.finish.summary import Summary
from airflow_gemini_batch.engine.gemini.client import Endpoint, GeminiClient
from airflow_gemini_batch.engine.gemini.job_fetching import fetch_jobs
from airflow_gemini_batch.engine.gemini.jobs import Job
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.run.cancellation import cancel_run
from airflow_gemini_batch.engine.run.job_progress import ProgressWriter
from airflow_gemini_batch.engine.run.layout import Run
from airflow_gemini_batch.engine.run.snapshot import Snapshot
from airflow_gemini_batch.engine.run.storage import Location, locate
from airflow_gemini_batch.engine.specs import RequestSpec
from airflow_gemini_batch.engine.wait.reports import LogReport, Report, report_to
from airflow_gemini_batch.engine.wait.unfinished import Waiting
from airflow_gemini_batch.engine.wait.waiting import Sleep, Wake, Watch


def run_batch(
    source: Any,
    request: RequestSpec,
    *,
    model: str,
    destination: str,
    key: str | None = None,
    carry: Sequence[str] = (),
    dedupe: bool = True,
    reuse: str | Sequence[str] | None = None,
    labels: Mapping[str, str] | None = None,
    sample: int | None = None,
    repeats: int = 1,
    max_cost_usd: float | None = None,
    if_exists: IfExists = "resume",
    options: BatchOptions | Mapping[str, Any] | None = None,
    endpoint: Endpoint | None = None,
    storage_options: dict[str, Any] | None = None,
    progress: bool | None = None,
) -> Summary:
    """Send a table through the Gemini Batch API and wait until its results and dead letters are written.

    It blocks for minutes to hours. If interrupted, call it again with the same arguments to resume: submitted jobs are found, and
    nothing is paid for twice.

    :param source: the input table: a URI or local path of Parquet, CSV or JSON Lines (file, folder or glob), a list of these, a
        pandas DataFrame, a list of dicts, an Arrow table or a stream of Arrow record batches.
    :param request: the request for each row: a ``GenerateRequest``, an ``EmbedRequest``, a ``RawRequest``, or a function that
        takes the row as a dict and returns a REST request as a dict.
    :param model: the model's name, such as ``gemini-3.6-flash``, with or without ``models/``.
    :param destination: URI or local path of the folder that receives the run: ``results/*.parquet``, ``dead_letter/*.parquet``
        and, when it is finished, ``summary.json``.
    :param key: the column that identifies a row, unique in the table. Default: None, the row's number, counted from 0.
    :param carry: names of input columns that are copied into both tables. Default: none.
    :param dedupe: whether rows with equal requests share one: the first pays, the others get its answer and name it in
        ``paid_by``. Default: True; False asks the model once for every row.
    :param reuse: URI of a finished run, or of a folder of runs, or a list of them. Rows whose request one of these runs has
        answered take that result, with ``reused_from``, and are not paid for. Default: None.
    :param labels: who or what the run is for, such as ``{"team": "search"}``: kept in the summary, and added up by
        ``gemini-batch costs``. Default: none.
    :param sample: how many rows to draw from the table; the run consists of these only, and ``estimate(…, trial=destination)``
        says from it what the whole table costs. 50 is a good number, 200 if the model thinks. The source is read twice.
        Default: None, the whole table.
    :param repeats: how often each row is sent, for evaluations. Both tables then have the column ``repeat``, counted from 0; key
        and repeat together are unique, and no rows share a request. Default: 1, without that column.
    :param max_cost_usd: nothing is sent that may cost more than this, with what has been spent: compared is the high end, by
        bytes and ``max_output_tokens``, before the first job and each resubmission. Default: None, no limit.
    :param if_exists: what to do when the destination already holds a run: ``resume`` it if it has the same arguments and fail
        otherwise (default, because its answers are paid for), or ``replace`` it.
    :param options: how the run is carried out: shard sizes, active jobs, polling and timeouts, redrives, output. A
        ``BatchOptions`` or a dict of its fields; docs/options.md lists them. Default: None, all defaults.
    :param endpoint: base URL, API key and HTTP settings. Default: None, Google's URL with the key from ``GOOGLE_API_KEY`` or
        ``GEMINI_API_KEY``.
    :param storage_options: passed to the fsspec file system of source and destination, such as ``{"key": …, "secret": …}`` for
        ``s3://``. Default: none.
    :param progress: whether to draw a progress bar, instead of writing lines to the log. Default: None, a bar in a terminal, and
        in a notebook that has ipywidgets.

    Returns the run's ``Summary``: counts of rows, results and dead letters, tokens and jobs.

    Raises, before anything is sent, InputError for unusable arguments or input, ApiKeyError without a key, DestinationError when
    the destination holds another run, and BudgetError when it may cost more than ``max_cost_usd``. Later: ServiceError or a
    subclass when the service refuses a request or an output is not available; WaitTimeoutError when ``options.timeout`` has
    passed, with the jobs still running; DeadLetterRatioError above ``options.max_dead_letter_ratio``, after both tables have been
    written.
    """

    place = _opener(storage_options)
    run = Run(place(destination), place)
    given = (source, request, model, key, tuple(carry), dedupe, uris_of(reuse), labels, sample, max_cost_usd, place)
    spec = RunSpec(*given, repeats=repeats)
    options = BatchOptions.of(options)
    deadline = time.time() + options.timeout.total_seconds()
    with GeminiClient(endpoint or Endpoint()) as client, report_to(progress) as report:
        build_run(run, spec, options, if_exists=if_exists, client=client)
        return drive(run, client, options, deadline=deadline, report=report, max_cost_usd=max_cost_usd)


def _opener(storage_options: dict[str, Any] | None) -> Callable[[str], Location]:
    return lambda uri: locate(uri, **(storage_options or {}))


def collect(
    destination: str,
    *,
    max_cost_usd: float | None = None,
    options: BatchOptions | Mapping[str, Any] | None = None,
    endpoint: Endpoint | None = None,
    storage_options: dict[str, Any] | None = None,
    progress: bool | None = None,
) -> Summary:
    """Finish a run that was built, without its source: all that is needed lies in the run's folder and at the service.

    Jobs that have ended are collected and the shards without a job are submitted, as ``run_batch`` would do. A finished run is
    returned as it is. Use this when the source has changed or gone, or to finish on another machine what a task has begun.

    :param destination: URI or local path of the run's folder.
    :param max_cost_usd: as for ``run_batch``. Default: None, no limit, whatever the run was started with.
    :param options: as for ``run_batch``; give the ones that the run was started with.
    :param endpoint: as for ``run_batch``. The key must belong to the project that the jobs were created in.
    :param storage_options: passed to the fsspec file system of the destination. Default: none.
    :param progress: as for ``run_batch``.

    Returns the run's summary. Raises DestinationError when the folder holds no run; the other errors are those of ``run_batch``.
    """
    require_limit(max_cost_usd)
    place = _opener(storage_options)
    run = Run(place(destination), place)
    run.built()
    options = BatchOptions.of(options)
    deadline = time.time() + options.timeout.total_seconds()
    with GeminiClient(endpoint or Endpoint()) as client, report_to(progress) as report:
        return drive(run, client, options, deadline=deadline, report=report, max_cost_usd=max_cost_usd)


def redrive(
    destination: str,
    *,
    reasons: Collection[str] | None = None,
    keys: Collection[str] | None = None,
    message: str | None = None,
    codes: Collection[int] | None = None,
    retryable: bool | None = None,
    limit: int | None = None,
    include_discarded: bool = False,
    max_cost_usd: float | None = None,
    options: BatchOptions | Mapping[str, Any] | None = None,
    endpoint: Endpoint | None = None,
    storage_options: dict[str, Any] | None = None,
    progress: bool | None = None,
) -> Summary:
    """Resubmit dead letters of a finished run, into the same tables, and wait for them.

    The requests are sent as they were built, so schema, carried columns and keys stay; results replace the dead letters. If this
    is interrupted, ``collect`` finishes the run.

    :param destination: URI or local path of the run's folder.
    :param reasons: dead letters with one of these reasons, such as ``JOB_CANCELLED``, or finish reasons, such as
        ``MALFORMED_FUNCTION_CALL``. Default, if no other selection is given either: all that are retryable.
    :param keys: dead letters with one of these keys; in a run with ``repeats``, ``key#repeat`` is one of them. Default: any.
    :param message: dead letters whose message contains this text, whatever the case; between slashes, as in ``/^5\\d\\d/``, it is
        a regular expression (RE2). Default: any.
    :param codes: dead letters with one of these codes (HTTP status or rpc code). Default: any.
    :param retryable: dead letters that are retryable, or those that are not. Default: None, both.
    :param limit: no more dead letters than these, the first in the order of the shards. Default: None, all that are selected.
    :param include_discarded: whether letters that were discarded (``discard``) are resubmitted too. Default: False.
    :param max_cost_usd: nothing is resubmitted if the run may then have cost more than this in all, with what has been spent.
        Default: None, no limit, whatever the run was started with.
    :param options: as for ``run_batch``; ``keep_response`` and ``media_to`` are always those of the run.
    :param endpoint: as for ``run_batch``.
    :param storage_options: as for ``run_batch``.
    :param progress: as for ``run_batch``.

    Returns the new summary; the old one when no dead letter is selected. Raises InputError for an unknown reason, for keys that
    are not dead letters, and for a run that is not finished; the other errors are those of ``run_batch``.
    """
    require_limit(max_cost_usd)
    place = _opener(storage_options)
    run = Run(place(destination), place)
    options = BatchOptions.of(options)
    selection = Selection.of(
        reasons, keys, message=message, codes=codes, retryable=retryable, limit=limit, include_discarded=include_discarded
    )
    deadline = time.time() + options.timeout.total_seconds()
    with GeminiClient(endpoint or Endpoint()) as client, report_to(progress) as report:
        reopened = reopen(run, selection, options, token=uuid.uuid4().hex, client=client, max_cost_usd=max_cost_usd)
        if isinstance(reopened, Summary):
            return reopened
        return drive(run, client, reopened, deadline=deadline, report=report, max_cost_usd=max_cost_usd)


def drive(
    run: Run,
    client: GeminiClient,
    options: BatchOptions,
    *,
    deadline: float,
    report: Report | None = None,
    max_cost_usd: float | None = None,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.time,
) -> Summary:
    """Advance and wait, in this process, until the run is finished.

    :param deadline: seconds since the epoch. Raises WaitTimeoutError when it passes.
    :param max_cost_usd: as in ``advance``.
    :param report: is told how far the run is. Default: None, the log.
    :param sleep, clock: of whoever lets time pass differently.
    """
    refusals, patient, report = 0, False, report or LogReport()
    while True:
        state = advance(run, client, options, refusals=refusals, patient=patient, max_cost_usd=max_cost_usd)
        if isinstance(state, Summary):
            return state
        refusals, patient = state.refusals, True
        until = state.until(deadline, now=clock())
        wake = wait(
            run, client, state, deadline=until, poll_interval=options.poll_interval, report=report, sleep=sleep, clock=clock
        )
        if wake.why == "timeout":
            raise give_up(run, client, options)


def wait(
    run: Run,
    client: GeminiClient,
    state: Waiting,
    *,
    deadline: float,
    poll_interval: float,
    report: Report | None = None,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.time,
) -> Wake:
    """Sleep in this process until the run can go on.

    :param deadline: seconds since the epoch.
    :param poll_interval: seconds between two checks of the jobs.
    :param report: is told after each check how far the run is. Default: None, the log.

    Raises ServiceError when the service refuses to be asked.
    """
    wake_at = None if state.retry_in is None else clock() + state.retry_in
    watch = Watch(state.jobs, poll_interval, deadline, wake_at, state.late)
    hint, report = ProgressWriter(run), report or LogReport()
    while True:
        fetched = fetch_jobs(client, state.jobs)
        seen = [job for job in fetched.values() if isinstance(job, Job)]
        report(seen, state.standing, now=clock())
        hint.write(seen, now=clock())
        decision = watch.on_fetched(fetched.values(), now=clock())
        if isinstance(decision, Sleep):
            sleep(decision.seconds)
        elif decision.error is not None:
            raise decision.error
        else:
            return decision


def give_up(run: Run, client: GeminiClient, options: BatchOptions) -> WaitTimeoutError:
    """The error of a run whose timeout has passed. Its jobs are cancelled first where the options say so."""
    if options.cancel_on_timeout:
        names, state = cancel_run(run, client, why="timeout"), "were cancelled"
        then = "collect what they have done and resubmit the rest"
    else:
        names, state, then = list(Snapshot(run, run.built()).in_flight().values()), "keep running", "go on waiting for them"
    return WaitTimeoutError(
        f"{run.destination} is not finished and the timeout of {options.timeout} has passed. These jobs {state}: "
        f"{', '.join(names) or 'none'}. Run the same again, or collect after a redrive, to {then}; what has arrived is kept."
    )
