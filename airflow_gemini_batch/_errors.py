"""Which of the engine's errors Airflow may retry.

A retry is for errors that may pass by themselves: outages and quotas. A wrong key, a refused request or a destination that holds
another run needs a person, and retries would only delay the alert. Nothing is lost either way: a cleared task resumes where this
one stopped.
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

#: Errors that may pass by themselves. WaitTimeoutError is not one: another try would silently double the user's timeout.
RETRYABLE = (OutcomeUnknownError, QuotaError, UnreachableError, UnsettledError)


@contextlib.contextmanager
def as_airflow_errors() -> Iterator[None]:
    """Let retryable errors through; turn every other error of the engine into AirflowFailException, which ends the task."""
    try:
        yield
    except RETRYABLE:
        raise
    except GeminiBatchError as error:
        raise AirflowFailException(f"{type(error).__name__}: {error}") from error
