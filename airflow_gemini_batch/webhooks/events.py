"""Reads a webhook's body: which job has ended, and how. Other events are ignored."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from airflow_gemini_batch.engine.gemini.names import is_job_name

#: How a job has ended, by event. Early documentation of the preview called success ``batch.completed``.
ENDINGS = {
    "batch.succeeded": "succeeded",
    "batch.completed": "succeeded",
    "batch.failed": "failed",
    "batch.expired": "expired",
    "batch.cancelled": "cancelled",
}


#: Object stores and file systems allow 255 bytes for a name; the notification's has the ending too.
_MAX_ID = 200


@dataclass(frozen=True, slots=True)
class JobEnded:
    """A job that has ended according to a webhook.

    :param job: ``batches/<id>``; the id can name a file.
    :param ending: a value of ``ENDINGS``.
    """

    job: str
    ending: str


class _Data(msgspec.Struct):
    id: str = ""


class _Payload(msgspec.Struct):
    type: str
    data: _Data = msgspec.field(default_factory=_Data)


_decoder = msgspec.json.Decoder(_Payload)


def read_event(body: bytes) -> JobEnded | None:
    """The event in a body. None for other events, other formats and invalid job names."""
    try:
        payload = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    ending = ENDINGS.get(payload.type)
    if ending is None:
        return None
    # The sample in Google's guide has a bare id; everything else in this API has full names.
    job = payload.data.id if payload.data.id.startswith("batches/") else f"batches/{payload.data.id}"
    return JobEnded(job, ending) if names_a_file(job) else None


def names_a_file(job: str) -> bool:
    """Whether this is a job's name whose id is also a safe file name."""
    id = job.removeprefix("batches/")
    return is_job_name(job) and not id.startswith(".") and len(id) <= _MAX_ID
