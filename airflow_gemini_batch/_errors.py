"""Which of the engine's errors Airflow may answer with a retry.

The one rule: a retry is for what may end differently by itself. Outages and quotas pass; a wrong key, a refused request or a
destination that holds another run need a person first, and the retries would only delay the moment when that person is told.
Nothing is lost either way: a cleared task goes on where this one stopped.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from airflow_gemini_batch._compat import AirflowFailException
from airflow_gemini_batch.engine.errors import (
    GeminiBatchError,
    OutcomeUnknownError,
    QuotaError,
    UnreachableError,
    UnsettledError,
)

#: What passes by itself. Not the WaitTimeoutError: another try would silently double the patience that the user has set.
PASSING = (OutcomeUnknownError, QuotaError, UnreachableError, UnsettledError)


@contextlib.contextmanager
def as_airflow_errors() -> Iterator[None]:
    """Let passing errors through, to be retried; end the task for good at all others that the engine raises."""
    try:
        yield
    except PASSING:
        raise
    except GeminiBatchError as error:
        raise AirflowFailException(f"{type(error).__name__}: {error}") from error
