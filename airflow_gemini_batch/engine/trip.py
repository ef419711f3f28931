"""The whole way, composed of the steps: the one room that knows all the others.

``advance`` takes a run as far as it will go now and says what it waits for. All that it knows it reads from the run and the
service, so it may be called by anyone, after any crash, any number of times; whoever waits in between decides nothing.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from airflow_gemini_batch.engine.building import IfExists, Question, build_run
from airflow_gemini_batch.engine.client import Endpoint, GeminiClient
from airflow_gemini_batch.engine.collecting import collect, landed
from airflow_gemini_batch.engine.errors import InputError, NotFoundError, QuotaError, ServiceError, WaitTimeoutError
from airflow_gemini_batch.engine.jobs import Job
from airflow_gemini_batch.engine.ledger import Ledger
from airflow_gemini_batch.engine.progress import Progress
from airflow_gemini_batch.engine.requests import RequestSpec
from airflow_gemini_batch.engine.runs import Run, ShardAttempt
from airflow_gemini_batch.engine.shards import MAX_SHARD_BYTES, MAX_SHARD_REQUESTS
from airflow_gemini_batch.engine.storage import locate
from airflow_gemini_batch.engine.submission import Caution, Submission
from airflow_gemini_batch.engine.summary import Summary, finish_run, summary_of
from airflow_gemini_batch.engine.waiting import LIST_ABOVE, Sleep, Wake, Watch, is_settled, quota_wait

log = logging.getLogger(__name__)

#: Jobs of one run in flight at once. The service allows 100 per project; some room is left for others.
MAX_ACTIVE_JOBS = 20


@dataclass(frozen=True, slots=True)
class Policy:
    """How a run is carried through; none of it changes what is asked.

    :param max_active_jobs: jobs of this run in flight at once.
    :param max_dead_letter_ratio: from 0 to 1; above it the run ends with an error, after everything has been written.
    :param keep_response: whether the results keep each raw answer.
    :param cancel_on_timeout: whether jobs that still run are cancelled when the patience is used up.
    :param caution: how long to wait before believing that an earlier try has created no job.
    """

    max_active_jobs: int = MAX_ACTIVE_JOBS
    max_dead_letter_ratio: float = 1.0
    keep_response: bool = True
    caution: Caution = Caution()
    cancel_on_timeout: bool = False

    def __post_init__(self) -> None:
        if self.max_active_jobs < 1:
            raise InputError(f"max_active_jobs is {self.max_active_jobs}; expected 1 or more.")
        if not 0.0 <= self.max_dead_letter_ratio <= 1.0:
            raise InputError(f"max_dead_letter_ratio is {self.max_dead_letter_ratio}; expected a number from 0 to 1.")


@dataclass(frozen=True, slots=True)
class Waiting:
    """What an unfinished run waits for.

    :param jobs: names of the jobs in flight.
    :param retry_in: seconds until a submission is tried again that the service has refused for quota.
    :param refusals: how often in a row that has happened.
    """

    jobs: tuple[str, ...]
    retry_in: float | None = None
    refusals: int = 0
    done: int = 0
    shards: int = 0


def advance(run: Run, client: GeminiClient, policy: Policy, *, refusals: int = 0) -> Waiting | Summary:
    """Collect what has ended, submit what may be, finish when all is there.

    :param refusals: how often in a row a submission has been refused for quota (from the last ``Waiting``).
    """
    summary = summary_of(run)
    if summary is not None:
        return finish_run(run, max_dead_letter_ratio=policy.max_dead_letter_ratio)
    manifest = run.built()
    ledger = Ledger(run)
    open_shards = [shard for shard in manifest.shards if landed(run, shard) is None]
    submitted = {shard: record.job for shard in open_shards if (record := ledger.submitted(shard.id)) is not None}
    jobs = look(client, list(submitted.values()))
    active: list[str] = []
    for shard, name in submitted.items():
        job = _known(jobs, ledger, shard.id, name)
        if is_settled(job):
            collect(run, client, shard, job, keep_response=policy.keep_response)
        else:
            active.append(name)
    retry_in: float | None = None
    submission = Submission(run, manifest, client, policy.caution)
    for shard in open_shards:
        if shard.requests == 0:
            collect(run, client, shard, None, keep_response=policy.keep_response)
        elif shard not in submitted and retry_in is None and len(active) < policy.max_active_jobs:
            try:
                active.append(submission.submit(shard).job)
                refusals = 0
            except QuotaError as error:
                refusals += 1
                retry_in = quota_wait(refusals, error.retry_after, jitter=random.random())
                log.warning("%s Trying again in %.0f s; %d jobs of this run are active.", error, retry_in, len(active))
    done = sum(landed(run, shard) is not None for shard in manifest.shards)
    if done == len(manifest.shards):
        return finish_run(run, max_dead_letter_ratio=policy.max_dead_letter_ratio)
    log.info("%s: %d of %d shards done, %d jobs active.", run.destination, done, len(manifest.shards), len(active))
    return Waiting(tuple(active), retry_in, refusals, done, len(manifest.shards))


def look(client: GeminiClient, names: Sequence[str]) -> dict[str, Job | None]:
    """The jobs as they are now; None for one that the service does not find. Many are looked up in one listing."""
    found: dict[str, Job | None] = {}
    if len(names) > LIST_ABOVE:
        wanted = set(names)
        for job in client.list_jobs():
            if job.name in wanted:
                found[job.name] = job
                if len(found) == len(wanted):
                    break
    for name in names:
        if name not in found:
            try:
                found[name] = client.get_job(name)
            except NotFoundError:
                found[name] = None
    return found


def look_at(run: Run, client: GeminiClient, part: ShardAttempt, name: str) -> Job:
    """One job as it is now, or as it was when it was last seen to have ended. Raises NotFoundError."""
    return _known(look(client, [name]), Ledger(run), part, name)


def in_flight(run: Run) -> list[str]:
    """The jobs of this run whose output has not been collected, as far as the ledger knows; none where nothing is built."""
    manifest = run.manifest()
    if manifest is None:
        return []
    ledger = Ledger(run)
    uncollected = (shard for shard in manifest.shards if landed(run, shard) is None)
    return [record.job for shard in uncollected if (record := ledger.submitted(shard.id)) is not None]


def cancel_run(run: Run, client: GeminiClient) -> list[str]:
    """Cancel the jobs of this run that still run, and name them. What has ended stays as it is and can be collected."""
    cancelled: list[str] = []
    for name, job in look(client, in_flight(run)).items():
        if job is not None and not job.is_terminal:
            try:
                client.cancel_job(name)
            except ServiceError as error:  # one that cannot be cancelled must not keep the others alive
                log.warning("%s It may run on and be billed.", error)
            else:
                log.info("Cancelled %s.", name)
                cancelled.append(name)
    return cancelled


def run_batch(
    source: Any,
    request: RequestSpec,
    *,
    model: str,
    destination: str,
    key: str | None = None,
    carry: Sequence[str] = (),
    max_shard_bytes: int = MAX_SHARD_BYTES,
    max_shard_requests: int = MAX_SHARD_REQUESTS,
    max_active_jobs: int = MAX_ACTIVE_JOBS,
    max_dead_letter_ratio: float = 1.0,
    keep_response: bool = True,
    if_exists: IfExists = "resume",
    timeout: timedelta = timedelta(hours=48),
    poll_interval: float = 30.0,
    endpoint: Endpoint | None = None,
    caution: Caution | None = None,
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
    :param timeout: how long to wait in all; the jobs run on after it, and the same call goes on waiting for them.
    :param poll_interval: seconds between two looks at the jobs.
    :param endpoint: default: Google's, with the key from the environment.
    :param storage_options: for the file system of source and destination.

    Raises InputError or DestinationError before anything is sent, ServiceError for what the service refuses, WaitTimeoutError,
    DeadLetterRatioError after everything has been written.
    """

    def place(uri: str) -> Any:
        return locate(uri, **(storage_options or {}))

    run = Run(place(destination))
    policy = Policy(max_active_jobs, max_dead_letter_ratio, keep_response, caution or Caution())
    question = Question(source, request, model, key, tuple(carry), max_shard_bytes, max_shard_requests, place)
    deadline = time.time() + timeout.total_seconds()
    with GeminiClient(endpoint or Endpoint()) as client:
        build_run(run, question, if_exists=if_exists, client=client)
        return drive(run, client, policy, deadline=deadline, poll_interval=poll_interval)


def drive(
    run: Run,
    client: GeminiClient,
    policy: Policy,
    *,
    deadline: float,
    poll_interval: float,
    sleep: Callable[[float], None] = time.sleep,
) -> Summary:
    """Advance and wait, in this process, until the run is finished.

    :param deadline: seconds since the epoch. Raises WaitTimeoutError when it passes.
    """
    refusals = 0
    while True:
        state = advance(run, client, policy, refusals=refusals)
        if isinstance(state, Summary):
            return state
        refusals = state.refusals
        wake = wait(client, state, deadline=deadline, poll_interval=poll_interval, sleep=sleep)
        if wake.why == "timeout":
            raise give_up(run, client, policy)


def wait(
    client: GeminiClient, state: Waiting, *, deadline: float, poll_interval: float, sleep: Callable[[float], None] = time.sleep
) -> Wake:
    """Sleep in this process until the run can go on. Raises what the service refuses for good."""
    wake_at = None if state.retry_in is None else time.time() + state.retry_in
    watch = Watch(state.jobs, poll_interval, deadline, wake_at)
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


def give_up(run: Run, client: GeminiClient, policy: Policy) -> WaitTimeoutError:
    """The error of a run whose time is up. Its jobs are cancelled first where the policy says so."""
    if policy.cancel_on_timeout:
        names, fate, then = cancel_run(run, client), "were cancelled", "collect what they have done"
    else:
        names, fate, then = in_flight(run), "run on", "go on waiting for them"
    return WaitTimeoutError(
        f"{run.destination} is not finished and the timeout has passed. These jobs {fate}: {', '.join(names) or 'none'}. "
        f"Run the same again to {then}; what has arrived is kept."
    )


def _known(jobs: dict[str, Job | None], ledger: Ledger, part: ShardAttempt, name: str) -> Job:
    """The job as it is now, or as it was when it was last seen to have ended."""
    job = jobs.get(name) or ledger.ended(part)
    if job is None:
        raise NotFoundError(
            f"Shard {part} was submitted as {name}, and the service does not find that job. It is visible only to keys of the "
            "project that made it: check that the connection's key is the one that submitted. Nothing was submitted again. "
            f"If the job is lost, delete {ledger.run.ledger_folder}/{part}.job.json and its intent, to pay for the shard again.",
            code=404,
        )
    return job


