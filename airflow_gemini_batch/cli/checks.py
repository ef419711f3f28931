"""The checks of ``gemini-batch doctor``: each looks at one thing that runs depend on, and says what to do where it is not well.

A check sends nothing that costs money and leaves nothing behind. One that fails does not stop the others.
"""

from __future__ import annotations

import datetime as dt
import email.utils
import importlib.metadata
import platform
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import httpx
from packaging.requirements import Requirement

from airflow_gemini_batch import __version__
from airflow_gemini_batch.engine.costs.prices import prices_of
from airflow_gemini_batch.engine.errors import (
    ApiKeyError,
    GeminiBatchError,
    NotFoundError,
    ServiceError,
    UnreachableError,
)
from airflow_gemini_batch.engine.gemini.client import Endpoint, GeminiClient
from airflow_gemini_batch.engine.gemini.inventory import total_bytes
from airflow_gemini_batch.engine.gemini.jobs import time_of
from airflow_gemini_batch.engine.gemini.quotas import MAX_JOBS
from airflow_gemini_batch.engine.project_limits import ProjectLimits
from airflow_gemini_batch.engine.run.storage import Location, locate
from airflow_gemini_batch.engine.slots.slots import record_of

#: Bytes of files that a project may store (Files API).
_STORAGE_BYTES = 20_000_000_000

#: Jobs expire after 48 hours, so one that is older and active is stuck.
_STUCK = dt.timedelta(hours=48)

#: Seconds by which clocks may differ. Claims of a run are judged by times that the storage gives, with more room than this.
_CLOCK_SECONDS = 5.0

OK, WARNING, FAILED = "ok", "warning", "failed"


class Check(NamedTuple):
    """What a check found.

    :param state: "ok", "warning" (runs work, but read this) or "failed" (runs fail).
    :param advice: what to do; empty where all is well.
    """

    name: str
    state: str
    found: str
    advice: str = ""


def check_versions() -> Iterator[Check]:
    """Python, this package, and each package that it depends on, against the versions that it is made for."""
    yield Check("version", OK, f"airflow-gemini-batch {__version__}, Python {platform.python_version()}, {sys.platform}")
    for line in importlib.metadata.requires("airflow-gemini-batch") or ():
        wanted = Requirement(line)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            version = importlib.metadata.version(wanted.name)
        except importlib.metadata.PackageNotFoundError:
            yield Check(wanted.name, FAILED, "not installed", f"pip install '{wanted.name}{wanted.specifier}'")
            continue
        fits = wanted.specifier.contains(version, prereleases=True)
        advice = "" if fits else f"pip install '{wanted.name}{wanted.specifier}'"
        yield Check(wanted.name, OK if fits else FAILED, version, advice)


def check_service(endpoint: Endpoint, model: str | None) -> Iterator[Check]:
    """The key, the jobs and files of its project against their limits, and the model."""
    try:
        with GeminiClient(endpoint) as client:
            client.page_of_jobs()
            yield Check("key", OK, f"can list batch jobs at {endpoint.url()}")
            yield _check_jobs(client)
            yield _check_files(client)
            if model is not None:
                yield _check_model(client, model)
    except GeminiBatchError as error:
        yield Check("key", FAILED, str(error), _advice_on(error))
    if model is not None:
        yield _check_price(model)


def check_clock(endpoint: Endpoint) -> Check:
    """This machine's clock against the service's."""
    before = time.time()
    try:
        # Any answer has a date, so no key is sent.
        answer = httpx.head(endpoint.url(), timeout=10.0)
        said = email.utils.parsedate_to_datetime(answer.headers["date"]).timestamp()
    except (httpx.HTTPError, httpx.InvalidURL, KeyError, ValueError) as error:
        return Check(
            "clock", WARNING, f"the service gave no time ({type(error).__name__})", "Check that NTP runs on this machine."
        )
    # The date is cut to a second, and was made somewhere between the request and its answer.
    ahead = max(before - (said + 1), 0.0) or min(time.time() - said, 0.0)
    return _clock("clock", ahead, "the service")


def check_storage(destination: str) -> Iterator[Check]:
    """Writing, exclusive creation and the clock of a place for runs."""
    try:
        folder = locate(destination)
        folder.require_writable()
    except Exception as error:  # each store has errors of its own
        yield Check("storage", FAILED, str(error) or type(error).__name__, f"Make {destination} writable for this process.")
        return
    yield Check("storage", OK, f"{destination} can be written")
    if folder.creates_exclusively():
        yield Check("exclusive create", OK, "of two writers at once, one succeeds")
    else:
        advice = "Let one task at a time work on a run, or use local disks, S3, GCS or Azure, which have it."
        yield Check("exclusive create", WARNING, "the file system replaces files without a check", advice)
    yield _check_storage_clock(folder)


def check_limits(limits: ProjectLimits) -> Iterator[Check]:
    """The folder in which runs share the limits of their project, what they hold there, and what was learned from refusals."""
    try:
        folder = locate(limits.folder)
        folder.require_writable()
        exclusive = folder.creates_exclusively()
        state = record_of(limits).read().now(time.time())
    except Exception as error:  # each store has errors of its own
        advice = f"Make {limits.folder} readable and writable for this process: nothing is sent without it."
        yield Check("limits", FAILED, str(error) or type(error).__name__, advice)
        return
    groups = Counter(slot.demand.group for slot in state.slots.values())
    held = ", ".join(f"{group} {jobs}" for group, jobs in groups.most_common(5))
    most = "no limit" if limits.max_active_jobs is None else f"max_active_jobs is {limits.max_active_jobs}"
    found = f"{groups.total()} slots taken{f' ({held})' if held else ''}, {most}, {len(state.waiters)} waiting"
    advice = "" if exclusive else "The file system replaces files without a check: two tasks at once may pass a limit by a job."
    yield Check("limits", OK if exclusive else WARNING, found, advice)
    for model, refusal in state.refusals.items():
        ago = f"{time.time() - refusal.at:.0f} s ago"
        yield Check(
            "limits", OK, f"{model}: refused {ago} with {refusal.jobs} jobs and about {refusal.tokens:,} tokens in flight"
        )


def _check_storage_clock(folder: Location) -> Check:
    probe = folder / "probe-clock"
    before = time.time()
    probe.write(b"")
    after = time.time()
    written = folder.times().get(probe.name)
    probe.delete()
    if written is None:
        return Check(
            "storage clock", WARNING, "the file system gives no times", "A dead try is taken over later than it could be."
        )
    # Stores cut times to seconds.
    ahead = max(before - (written + 1), 0.0) or min(after - written, 0.0)
    return _clock("storage clock", ahead, "the storage")


def _clock(name: str, ahead: float, other: str) -> Check:
    if abs(ahead) <= _CLOCK_SECONDS:
        return Check(name, OK, f"agrees with {other} within {_CLOCK_SECONDS:g} s")
    found = f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} {other}"
    return Check(name, WARNING, found, f"Let NTP set this machine's clock; differences over {_CLOCK_SECONDS:g} s disturb claims.")


def _check_jobs(client: GeminiClient) -> Check:
    active = [job for job in client.list_jobs() if not job.is_terminal]
    now = dt.datetime.now(dt.timezone.utc)
    stuck = [job.name for job in active if (made := time_of(job.create_time)) is not None and now - made > _STUCK]
    states = ", ".join(f"{count} {state.value}" for state, count in Counter(job.state for job in active).items())
    found = f"{len(active)} of {MAX_JOBS} active{f' ({states})' if states else ''}"
    if stuck:
        advice = f"gemini-batch jobs cancel {' '.join(stuck[:5])}"
        return Check("jobs", WARNING, f"{found}; {len(stuck)} older than 48 h", advice)
    if len(active) >= MAX_JOBS:
        return Check("jobs", WARNING, found, "New jobs wait until others end.")
    return Check("jobs", OK, found)


def _check_files(client: GeminiClient) -> Check:
    files = list(client.list_files())
    used = total_bytes(files)
    found = f"{len(files)} files, {used / 1e9:.2f} of {_STORAGE_BYTES / 1e9:g} GB"
    if used > 0.9 * _STORAGE_BYTES:
        return Check("files", WARNING, found, "gemini-batch cleanup DESTINATION deletes what finished runs left there.")
    return Check("files", OK, found)


def _check_model(client: GeminiClient, model: str) -> Check:
    try:
        client.check_model(model)
    except NotFoundError as error:
        return Check("model", FAILED, str(error), f"Correct {model!r}, or use a key that may use it.")
    except ServiceError as error:
        return Check("model", WARNING, str(error), "Try again later.")
    return Check("model", OK, f"{model} is known")


def _check_price(model: str) -> Check:
    now = dt.datetime.now(dt.timezone.utc)
    prices = prices_of(model)
    period = prices.at(now)
    if period.rates is None:
        advice = (
            "Costs will be null and max_cost_usd refuses runs: pip install 'airflow-gemini-batch[costs]', or set options.prices."
        )
        return Check("price", WARNING, period.why or "unknown", advice)
    return Check("price", OK, f"known from {prices.source}, {prices.date}")


def _advice_on(error: GeminiBatchError) -> str:
    code = error.code if isinstance(error, ServiceError) else None
    if isinstance(error, ApiKeyError) or code in (401, 403):
        return "Create a key at https://aistudio.google.com/apikey and set GOOGLE_API_KEY, or the connection's password."
    if isinstance(error, UnreachableError):
        return "Check the address, DNS, and proxies (HTTPS_PROXY)."
    return "Check the address (--base-url or GOOGLE_GEMINI_BASE_URL) and the connection."
