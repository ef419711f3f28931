"""How long a refused submission waits before the next try. Light on purpose: operators import it when DAG files are parsed."""

from __future__ import annotations

from airflow_gemini_batch.engine.errors import NoRoomError, QuotaError, ServiceError

#: A refused submission (429) is tried again after this many seconds, doubled each time.
_QUOTA_WAIT = 60.0
_LONGEST_QUOTA_WAIT = 1_800.0

#: The same for a limit of the connection: it may clear when any job ends, and a try costs two reads of the storage.
_TURN_WAIT = 30.0
_LONGEST_TURN_WAIT = 300.0


def quota_wait(refusals: int, retry_after: float | None, *, jitter: float) -> float:
    """Seconds until a submission that was refused for quota is tried again.

    :param refusals: how often in a row it has been refused, from 1.
    :param retry_after: what the service asked for, if anything (on batch creates it never has so far).
    :param jitter: a random number from 0 to 1, so that many runs do not come back together.
    """
    wait: float = min(_QUOTA_WAIT * 2 ** min(refusals - 1, 16), _LONGEST_QUOTA_WAIT) * (0.5 + jitter)
    return max(wait, retry_after or 0.0)


def wait_after(error: ServiceError, refusals: int, *, jitter: float) -> float:
    """Seconds until a submission that failed with this error, which may pass by itself, is tried again.

    :param refusals: how often in a row it has been refused, from 1.
    :param jitter: as in ``quota_wait``.
    """
    if not isinstance(error, NoRoomError):
        return quota_wait(refusals, error.retry_after if isinstance(error, QuotaError) else None, jitter=jitter)
    wait: float = min(_TURN_WAIT * 2 ** min(refusals - 1, 16), _LONGEST_TURN_WAIT) * (0.5 + jitter)
    return wait if error.retry_after is None else min(wait, error.retry_after)
