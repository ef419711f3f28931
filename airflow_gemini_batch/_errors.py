"""How errors reach Airflow: which may be retried, and what a person sees.

A retry is for errors that may pass by themselves: outages and quotas. A wrong key, a refused request or a destination that holds
another run needs a person, and retries would only delay the alert. Nothing is lost either way: a cleared task resumes where this
one stopped.

Airflow prints the frames of every exception, and those of its causes. So one ERROR line says it before them, the exception is
raised without its cause, and the cause with all frames is in the log at DEBUG.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

from airflow_gemini_batch._compat import AirflowFailException
from airflow_gemini_batch.engine.errors import (
    GeminiBatchError,
    OutcomeUnknownError,
    QuotaError,
    ServiceError,
    UnreachableError,
    UnsettledError,
)

if TYPE_CHECKING:
    from airflow_gemini_batch.hooks.gemini import GeminiHook

log = logging.getLogger(__name__)

#: Errors that may pass by themselves. WaitTimeoutError is not one: another try would silently double the user's timeout.
RETRYABLE = (OutcomeUnknownError, QuotaError, UnreachableError, UnsettledError)

#: Errors of the storage that need a person: a bucket or folder that does not exist, or may not be used.
_STORAGE = (FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError)

_AFTER_RETRYABLE = "A retry of the task resumes where this one stopped."
_AFTER_OTHERS = "A retry does not help, so the task fails. Fix the cause and clear the task: it resumes where this one stopped."


@contextlib.contextmanager
def as_airflow_errors(hook: GeminiHook | None = None) -> Iterator[None]:
    """Let retryable errors through; turn others of the engine and the storage into AirflowFailException, which ends the task.

    :param hook: names the connection and its URL in the errors of the service. Default: they are not named.

    Other errors, such as those of a user's function, are not changed.
    """
    try:
        yield
        return
    except (GeminiBatchError, *_STORAGE) as error:
        known = error
    where = f" ({hook.where})" if hook is not None and isinstance(known, ServiceError) else ""
    sentence = f"{type(known).__name__}: {known}{where}"
    retryable = isinstance(known, RETRYABLE)
    log.error("%s %s", sentence, _AFTER_RETRYABLE if retryable else _AFTER_OTHERS)
    log.debug("The error with its causes:", exc_info=known)
    if not retryable:
        raise AirflowFailException(sentence) from None
    known.args = (f"{known}{where}", *known.args[1:])
    raise known.with_traceback(None) from None
