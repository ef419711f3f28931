"""The whole way in one call, for notebooks and the command line: build, then advance and wait until the run is finished."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from airflow_gemini_batch.engine.advance import Waiting, advance
from airflow_gemini_batch.engine.build.building import IfExists, Question, build_run
from airflow_gemini_batch.engine.errors import ServiceError, WaitTimeoutError
from airflow_gemini_batch.engine.finish.summary import Summary
from airflow_gemini_batch.engine.gemini.client import Endpoint, GeminiClient
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.run.layout import Run
from airflow_gemini_batch.engine.run.storage import locate
from airflow_gemini_batch.engine.specs import RequestSpec
from airflow_gemini_batch.engine.wait.in_flight import cancel_run, in_flight, look
from airflow_gemini_batch.engine.wait.progress import Progress
from airflow_gemini_batch.engine.wait.waiting import Sleep, Wake, Watch

log = logging.getLogger(__name__)


def run_batch(
    source: Any,
    request: RequestSpec,
    *,
    model: str,
    destination: str,
    key: str | None = None,
    carry: Sequence[str] = (),
    if_exists: IfExists = "resume",
    options: BatchOptions | Mapping[str, Any] | None = None,
    endpoint: Endpoint | None = None,
    storage_options: dict[str, Any] | None = None,
) -> Summary:
    """Send a table through Gemini and wait for the two tables that come out. Interrupted, the same call goes on.

    :param source: a URI (Parquet, CSV or JSONL file, folder, glob) or a list of them, a DataFrame, an Arrow table or a stream
        of record batches.
    :param request: what to ask for each row.
    :param destination: URI of the folder that receives the run.
    :param key: column that tells rows apart; default: the row's number.
    :param carry: columns repeated in both tables.
    :param if_exists: ``resume`` the same run at the destination, or ``replace`` whatever run is there.
    :param options: how the run is carried through: shards, jobs at once, waiting, redrives, what comes out; or a dict of fields.
    :param endpoint: default: Google's, with the key from the environment.
    :param storage_options: for the file system of source and destination.

    Raises InputError or DestinationError before anything is sent, ServiceError for what the service refuses, WaitTimeoutError,
    DeadLetterRatioError after everything has been written.
    """

    def place(uri: str) -> Any:
        return locate(uri, **(storage_options or {}))

    run = Run(place(destination), place)
    question = Question(source, request, model, key, tuple(carry), place)
    options = BatchOptions.of(options)
    deadline = time.time() + options.timeout.total_seconds()
    with GeminiClient(endpoint or Endpoint()) as client:
        build_run(run, question, options, if_exists=if_exists, client=client)
        return drive(run, client, options, deadline=deadline)


def drive(
    run: Run,
    client: GeminiClient,
    options: BatchOptions,
    *,
    deadline: float,
    sleep: Callable[[float], None] = time.sleep,
) -> Summary:
    """Advance and wait, in this process, until the run is finished.

    :param deadline: seconds since the epoch. Raises WaitTimeoutError when it passes.
    """
    refusals, patient = 0, False
    while True:
        state = advance(run, client, options, refusals=refusals, patient=patient)
        if isinstance(state, Summary):
            return state
        refusals, patient = state.refusals, True
        wake = wait(
            client, state, deadline=state.until(deadline, now=time.time()), poll_interval=options.poll_interval, sleep=sleep
        )
        if wake.why == "timeout":
            raise give_up(run, client, options)


def wait(
    client: GeminiClient, state: Waiting, *, deadline: float, poll_interval: float, sleep: Callable[[float], None] = time.sleep
) -> Wake:
    """Sleep in this process until the run can go on. Raises what the service refuses for good."""
    wake_at = None if state.retry_in is None else time.time() + state.retry_in
    watch = Watch(state.jobs, poll_interval, deadline, wake_at, state.late)
    progress = Progress()
    while True:
        try:
            jobs = look(client, state.jobs).values()
            for line in progress.lines(filter(None, jobs), now=time.monotonic()):
                log.info("%s", line)
            decision: Sleep | Wake = watch.on_jobs(jobs, now=time.time())
        except ServiceError as error:
            decision = watch.on_error(error, now=time.time())
            if decision == Wake("error", str(error)):
                raise
        if isinstance(decision, Wake):
            return decision
        sleep(decision.seconds)


def give_up(run: Run, client: GeminiClient, options: BatchOptions) -> WaitTimeoutError:
    """The error of a run whose time is up. Its jobs are cancelled first where the options says so."""
    if options.cancel_on_timeout:
        names, fate = cancel_run(run, client, why="timeout"), "were cancelled"
        then = "collect what they have done and send the rest again"
    else:
        names, fate, then = list(in_flight(run).values()), "run on, unless they have ended", "go on with them"
    return WaitTimeoutError(
        f"{run.destination} is not finished and the timeout has passed. These jobs {fate}: {', '.join(names) or 'none'}. "
        f"Run the same again to {then}; what has arrived is kept."
    )
