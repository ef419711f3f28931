"""The errors that this package raises on purpose, grouped by who has to act on them.

    GeminiBatchError
    ├── InputError                  the caller: fix an argument, the source or the request
    ├── BudgetError                 the caller: raise the limit, narrow the estimate, or send less
    ├── DestinationError            the caller: choose or repair the destination
    ├── CorruptRunError             the caller: repair or remove the file that is named
    ├── BalanceError                the caller: collect what is missing, then finish again
    │   └── UnsettledError          run again when the other try has ended
    ├── ShardsFailedError           several shards failed, for different reasons; the others were collected
    ├── DeadLetterRatioError        the caller: read the dead letters; all tables are written
    ├── WaitTimeoutError            the caller: wait longer; the run can be resumed
    └── ServiceError                the service answered with an error, or did not answer
        ├── ApiKeyError             fix the connection
        ├── RefusedError            fix the request; repeating it does not help
        │   └── NotFoundError       absent, expired, or visible only to another project's key
        ├── QuotaError              call again later
        │   └── NoRoomError         a limit shared by all runs; no request was sent
        ├── OutcomeUnknownError     check whether it was done before repeating it
        │   └── DroppedError        the same, after the connection had been made
        ├── NamelessJobError        a job may exist; do not create a second one blindly
        └── UnreachableError        nothing was done; call again later

Every message says what was expected, what was found, where, and what to do. No message contains a credential.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_gemini_batch.engine.printable import printable

if TYPE_CHECKING:
    from collections.abc import Mapping


class GeminiBatchError(Exception):
    """Base class, so that a caller can catch all errors of this package and no others."""


class InputError(GeminiBatchError):
    """The source, the request or an argument cannot be used as given. Nothing was sent and nothing was paid for."""


class BudgetError(GeminiBatchError):
    """What is to be sent may cost more than ``max_cost_usd``, or cannot be priced. It was not sent."""


class DestinationError(GeminiBatchError):
    """The destination cannot be written, is full, or holds another run."""


class CorruptRunError(GeminiBatchError):
    """A file of the run is truncated, was changed, or belongs to another run. The message names the file.

    Kept apart from "the file is absent", because a record that cannot be read must never be treated as one that was never
    written: that would create a job a second time.
    """


class BalanceError(GeminiBatchError):
    """The tables do not hold every key of the input exactly once, or a shard has not been collected yet."""


class UnsettledError(BalanceError):
    """Every shard was collected, but the balance check failed: another try may be writing a shard at this moment.

    Separate from BalanceError because the same call may succeed once that try has ended, so it is worth a retry.
    """


class DeadLetterRatioError(GeminiBatchError):
    """More rows became dead letters than the caller allows. Raised last: both tables and the summary have been written."""


class ShardsFailedError(GeminiBatchError):
    """Shards could not be collected, for different reasons. All others were collected, and nothing new was submitted.

    The message holds one error of each kind in full and names the shards of all.

    :param errors: by shard and attempt, such as ``00003-0``.
    """

    def __init__(self, errors: Mapping[str, Exception]) -> None:
        kinds: dict[str, list[str]] = {}
        for shard, error in errors.items():
            kinds.setdefault(type(error).__name__, []).append(shard)
        examples = [f"{kind} of {', '.join(shards[:20])}: {errors[shards[0]]}" for kind, shards in kinds.items()]
        super().__init__(f"{len(errors)} shards could not be collected. {' '.join(examples)}")
        self.errors = dict(errors)


class ServiceError(GeminiBatchError):
    """The service answered with an error, or did not answer.

    :param code: HTTP status, or the rpc code where the error was part of an answer; None where there was no answer.
    :param status: the canonical name, such as ``RESOURCE_EXHAUSTED``; empty where the service gave none.
    """

    def __init__(self, message: str, *, code: int | None = None, status: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.status = status


class ApiKeyError(ServiceError):
    """No API key was found, or the service rejects the one that was sent. A retry does not help until the key is fixed."""


class RefusedError(ServiceError):
    """A definite 4xx: the service understood the request and did nothing. Repeating it unchanged does not help.

    :param service_message: the service's own words, whole; the error's text shortens them. As an attribute it is escaped and
        masked like the error's text; ``received_message`` is for code that reads the words, and is shown nowhere.
    """

    def __init__(self, message: str, *, code: int | None = None, status: str = "", service_message: str = "") -> None:
        super().__init__(message, code=code, status=status)
        self.received_message = service_message

    @property
    def service_message(self) -> str:
        return printable(self.received_message)


class NotFoundError(RefusedError):
    """404, or the 403 that the Files API gives instead: absent, expired, or visible only to another project's key."""


class QuotaError(ServiceError):
    """429: nothing was done, and the same call may succeed later.

    :param retry_after: seconds until then, where the service named a time.
    """

    def __init__(self, message: str, *, code: int | None = 429, status: str = "", retry_after: float | None = None) -> None:
        super().__init__(message, code=code, status=status)
        self.retry_after = retry_after


class NoRoomError(QuotaError):
    """A limit shared by all runs is reached, set in the connection or learned from a 429: no request was sent.

    The same call may succeed as soon as another job ends. ``retry_after``: seconds, where it is known when; None otherwise.
    """

    def __init__(self, message: str, *, code: int | None = None, status: str = "", retry_after: float | None = None) -> None:
        super().__init__(message, code=code, status=status, retry_after=retry_after)


class OutcomeUnknownError(ServiceError):
    """Timeout, dropped connection or 5xx: the service may or may not have done what was asked.

    Nothing that costs money is repeated after it without checking first what exists.
    """


class DroppedError(OutcomeUnknownError):
    """The connection broke after it had been made, so the request may have arrived."""


class NamelessJobError(ServiceError):
    """A create was answered with 200 but without a job's name. A job may exist, and another create could make a second one."""


class UnreachableError(ServiceError):
    """No connection to the service was made, so nothing was done and the call can be repeated safely."""


class WaitTimeoutError(GeminiBatchError):
    """The caller's timeout has passed. The message names the jobs; calling again resumes the run."""


def one_error(failures: Mapping[str, Exception]) -> Exception:
    """What to raise for shards that failed: their error, or one of its kind that names all of them.

    :param failures: by shard and attempt.
    """
    distinct = {id(error): error for error in failures.values()}  # an outage is one error for all jobs
    errors = list(distinct.values())
    if len(errors) == 1:
        return errors[0]
    first = errors[0]
    combined = ShardsFailedError(failures)
    if any(type(error) is not type(first) for error in errors):
        return combined
    if isinstance(first, ServiceError):
        return type(first)(str(combined), code=first.code, status=first.status)
    return type(first)(str(combined)) if isinstance(first, GeminiBatchError) else combined
