"""What answers say of the life of the model that gave them (``modelStatus`` of a response)."""

from __future__ import annotations

import datetime as dt
import functools
import logging

import msgspec

from airflow_gemini_batch.engine.gemini.jobs import time_of
from airflow_gemini_batch.engine.printable import printable

log = logging.getLogger(__name__)

#: A model that retires sooner is worth a warning: a run takes up to two days, and the next one has to be planned.
NOTICE = dt.timedelta(days=30)

_MEMBERS = (b'"modelStatus"', b'"model_status"')


class _Status(msgspec.Struct, rename="camel"):
    model_stage: str | None = None
    retirement_time: str | None = None
    message: str | None = None


class _Response(msgspec.Struct, rename="camel"):
    model_version: str | None = None
    model_status: _Status | None = None


def warn_of_retirement(response: bytes, *, now: dt.datetime | None = None) -> None:
    """Log once for each model that retires within ``NOTICE``, or has retired, by what this response says of it."""
    if not any(member in response for member in _MEMBERS):
        return
    try:
        read = msgspec.json.decode(response.replace(b'"model_status"', b'"modelStatus"'), type=_Response)
    except ValueError:  # msgspec's errors too: what the service adds or changes is no reason to fail
        return
    status = read.model_status
    retires = time_of((status and status.retirement_time) or "")
    if retires is None:
        return
    if retires - (now or dt.datetime.now(dt.timezone.utc)) <= NOTICE:
        _warn(read.model_version or "The model", retires.date().isoformat(), (status and status.message) or "")


@functools.cache
def _warn(model: str, day: str, message: str) -> None:
    said = f": {printable(message)}" if message else ""
    log.warning("%s retires on %s, as its answers say%s. Plan the next runs with another model.", model, day, said)
