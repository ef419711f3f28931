"""What a webhook says: which job has ended, and how. Whatever else it says is somebody else's."""

from __future__ import annotations

import re
from dataclasses import dataclass

import msgspec

from airflow_gemini_batch.engine.gemini.jobs import is_job_name

#: Event -> how the job has ended. The first documentation of the preview called success ``batch.completed``.
ENDINGS = {
    "batch.succeeded": "succeeded",
    "batch.completed": "succeeded",
    "batch.failed": "failed",
    "batch.expired": "expired",
    "batch.cancelled": "cancelled",
}


#: Names whose id can name a file too.
JOB_NAME = re.compile(r"batches/(?!\.)([A-Za-z0-9._~-]{1,200})")


@dataclass(frozen=True, slots=True)
class JobEnded:
    """A job that is said to have ended. ``job`` matches ``JOB_NAME``."""

    job: str
    ending: str


class _Data(msgspec.Struct):
    id: str = ""


class _Payload(msgspec.Struct):
    type: str
    data: _Data = msgspec.field(default_factory=_Data)


_decoder = msgspec.json.Decoder(_Payload)


def read_event(body: bytes) -> JobEnded | None:
    """The event in a body; None for one of another kind, of another shape, or of no job that could be looked at."""
    try:
        payload = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    ending = ENDINGS.get(payload.type)
    if ending is None:
        return None
    # The guide's sample has a bare id, everything else at this API a full name.
    job = payload.data.id if payload.data.id.startswith("batches/") else f"batches/{payload.data.id}"
    return JobEnded(job, ending) if is_job_name(job) and JOB_NAME.fullmatch(job) else None
