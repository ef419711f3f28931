"""A Gemini batch job as the service describes it, read from the raw operation JSON.

The SDK drops ``batchStats``, ``error`` and ``done`` of a job in Gemini mode and refuses some answers altogether, so nothing
here goes through its types. All of it is untrusted: a missing or unexpected field gives None, never an exception.
"""

from __future__ import annotations

import datetime as dt
import enum
import functools
import logging
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from airflow_gemini_batch.engine.gemini.names import is_file_name, is_job_name
from airflow_gemini_batch.engine.printable import printable

log = logging.getLogger(__name__)

_NO_REASON = re.compile(r"\bfailed without error\b")

_TIME = re.compile(r"(\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)")


class JobState(str, enum.Enum):
    """States of a job (wire: ``BATCH_STATE_*``)."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"
    UNKNOWN = "UNKNOWN"


#: The wire's names. The Developer API has only these seven; ``JOB_STATE_*`` is the SDK's and Vertex's name for the same.
_STATES: dict[str, JobState] = {
    "STATE_UNSPECIFIED": JobState.UNKNOWN,
    "STATE_PENDING": JobState.PENDING,
    "STATE_QUEUED": JobState.PENDING,
    "STATE_RUNNING": JobState.RUNNING,
    "STATE_SUCCEEDED": JobState.SUCCEEDED,
    "STATE_FAILED": JobState.FAILED,
    "STATE_CANCELLED": JobState.CANCELLED,
    "STATE_EXPIRED": JobState.EXPIRED,
}

_TERMINAL = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED})


class JobStats(msgspec.Struct, frozen=True):
    """Requests of a job by what became of them; the service omits zeros, and omits all of it at times."""

    total: int = 0
    succeeded: int = 0
    failed: int = 0
    pending: int = 0


#: Of a 64-bit integer. A count above it is a wrong one, and no table could hold it.
_LARGEST = 2**63 - 1


class Job(msgspec.Struct, frozen=True):
    """A job at one moment.

    :param state: UNKNOWN for a state that this version does not know; ``wire_state`` has it as sent.
    :param done: the operation's own word, or a result or an end time; it decides where the state is unknown.
    :param output_file: ``files/batch-…``; None until the service has named it, which can be later than SUCCEEDED.
    :param has_inline_output: the answers are in the operation itself (inline jobs).
    :param error_code: rpc code of the job's own error, as on FAILED.
    :param embeds: whether it makes embeddings: such a job has no webhook of its own.
    """

    name: str
    state: JobState
    wire_state: str = ""
    done: bool = False
    embeds: bool = False
    display_name: str = ""
    model: str = ""
    input_file: str | None = None
    output_file: str | None = None
    has_inline_output: bool = False
    error_code: int | None = None
    error_message: str = ""
    stats: JobStats = JobStats()
    create_time: str = ""
    update_time: str = ""
    end_time: str = ""

    @property
    def is_terminal(self) -> bool:
        """Whether nothing will change any more. An unknown state is judged by the operation's own ``done``."""
        return self.state in _TERMINAL or (self.state is JobState.UNKNOWN and self.done)

    @property
    def has_output(self) -> bool:
        return self.output_file is not None or self.has_inline_output

    @property
    def ended_well(self) -> bool:
        """SUCCEEDED, or an unknown terminal state (such as a partial success), unless it has an error and nothing else."""
        failed = self.error_code is not None or self.error_message != ""
        partial = self.state is JobState.UNKNOWN and self.done and (not failed or self.has_output or self.stats.succeeded > 0)
        return self.state is JobState.SUCCEEDED or partial

    @property
    def explanation(self) -> str:
        """Why it failed; empty where the service says only that it "failed without error", as it does of cancelled jobs."""
        return "" if _NO_REASON.search(self.error_message) else self.error_message

    def __str__(self) -> str:
        stats = self.stats
        failed = f", {stats.failed} of them failed" if stats.failed else ""
        counts = f", {stats.succeeded + stats.failed} of {stats.total} requests done{failed}" if stats.total else ""
        error = f": {self.explanation.rstrip('.')}" if self.explanation else ""  # it stands within our sentences
        return f"{self.name} {printable(self.wire_state) or self.state.value}{counts}{error}"


def parse_job(operation: Mapping[str, Any]) -> Job:
    """One element of a listing, or the answer of get and create, as a Job. Raises ValueError when it has no usable name."""
    metadata = _mapping(operation.get("metadata"))
    name = _text(operation.get("name")) or _text(metadata.get("name"))
    if not is_job_name(name):
        raise ValueError(f"not a batch job: name is {name!r}, expected batches/<id>")
    wire_state = _text(metadata.get("state"))
    state = _STATES.get(wire_state.removeprefix("BATCH_").removeprefix("JOB_"))
    error = _mapping(operation.get("error")) or _mapping(metadata.get("error"))
    end_time = _text(_either(metadata, "endTime", "end_time"))
    # An operation has a result, and a batch an end time, when it is over and not before.
    done = operation.get("done") is True or bool(_mapping(operation.get("response")) or error or end_time)
    if state is None:
        state = JobState.UNKNOWN
        if wire_state:
            _warn_once(name, wire_state)
    # Both places hold the output; the SDK reads only the first, raw REST clients often only the second.
    outputs = [_mapping(metadata.get("output")), _mapping(operation.get("response")), _mapping(metadata.get("dest"))]
    output_file = next((file for output in outputs if (file := _output_file(output))), None)
    model = _text(metadata.get("model"))
    return Job(
        name=name,
        state=state,
        wire_state=wire_state,
        done=done,
        # By its type, and by its model where the answer names no type.
        embeds="EmbedContentBatch" in _text(metadata.get("@type")) or "embedding" in model,
        display_name=_text(_either(metadata, "displayName", "display_name")),
        model=model,
        input_file=_text(_either(_mapping(_either(metadata, "inputConfig", "input_config")), "fileName", "file_name")) or None,
        output_file=output_file,
        has_inline_output=any(_has_inline(output) for output in outputs),
        error_code=_integer(error.get("code")),
        error_message=printable(_text(error.get("message"))),
        stats=_stats(_mapping(_either(metadata, "batchStats", "batch_stats"))),
        create_time=_text(_either(metadata, "createTime", "create_time")),
        update_time=_text(_either(metadata, "updateTime", "update_time")),
        end_time=end_time,
    )


def time_of(text: str) -> dt.datetime | None:
    """RFC 3339, with up to nine digits of a second, as the service writes it."""
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    seconds, fraction, zone = match.groups()
    try:
        return dt.datetime.fromisoformat(f"{seconds}.{(fraction or '')[:6]:0<6}{'+00:00' if zone in ('Z', 'z') else zone}")
    except ValueError:
        return None


@functools.lru_cache(maxsize=1024)
def _warn_once(name: str, wire_state: str) -> None:
    """Jobs are fetched thousands of times, other users' jobs too."""
    log.warning(
        "Job %s is in state %s, unknown to this version; judged by whether its operation is done.", name, printable(wire_state)
    )


def _output_file(output: Mapping[str, Any]) -> str | None:
    file = _text(_either(output, "responsesFile", "responses_file")) or _text(_either(output, "fileName", "file_name"))
    return file if is_file_name(file) else None


def _has_inline(output: Mapping[str, Any]) -> bool:
    return any(key in output for key in ("inlinedResponses", "inlinedEmbedContentResponses", "inlined_responses"))


def _stats(stats: Mapping[str, Any]) -> JobStats:
    def count(camel: str, snake: str) -> int:
        return _integer(_either(stats, camel, snake)) or 0

    return JobStats(
        total=count("requestCount", "request_count"),
        succeeded=count("successfulRequestCount", "successful_request_count"),
        failed=count("failedRequestCount", "failed_request_count"),
        pending=count("pendingRequestCount", "pending_request_count"),
    )


def _either(fields: Mapping[str, Any], camel: str, snake: str) -> Any:
    return fields[camel] if camel in fields else fields.get(snake)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _integer(value: Any) -> int | None:
    """Proto JSON writes 64-bit integers as strings."""
    try:
        number = int(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else None
    except ValueError:
        return None
    return None if number is None or abs(number) > _LARGEST else number
