"""What can go wrong, by who has to act on it.

Every message says what was expected, what was found, where, and what to do. No message holds a credential.
"""

from __future__ import annotations


class GeminiBatchError(Exception):
    """Base of everything that this package raises on purpose."""


class InputError(GeminiBatchError):
    """The source, the request or an argument cannot be used as given. Nothing was sent and nothing was paid."""


class DestinationError(GeminiBatchError):
    """The destination cannot be written, is full, or holds another run."""


class CorruptRunError(GeminiBatchError):
    """A file of the run is torn, was changed, or belongs to another run; the message names it.

    Not the same as a file that is absent: what cannot be read is never taken for something that never was.
    """


class BalanceError(GeminiBatchError):
    """The tables do not hold every key of the input exactly once, or a shard has not arrived yet."""


class UnsettledError(BalanceError):
    """Every shard had been collected, and yet the books do not balance: another try may be landing one at this moment.

    The same call may succeed when that try has ended.
    """


class DeadLetterRatioError(GeminiBatchError):
    """More rows died than the caller allows. Everything has been written and can be read."""


class ServiceError(GeminiBatchError):
    """The service answered with an error.

    :param code: HTTP status, or the rpc code where the error came inside an answer.
    :param status: the canonical name, such as ``RESOURCE_EXHAUSTED``; empty where the service gave none.
    """

    def __init__(self, message: str, *, code: int | None = None, status: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.status = status


class ApiKeyError(ServiceError):
    """No API key was found, or the service refuses the one that was sent."""


class RefusedError(ServiceError):
    """A definite 4xx: the request was understood and nothing was done. Repeating it unchanged is of no use."""


class NotFoundError(RefusedError):
    """404, or the 403 by which the Files API says it: absent, expired, or visible only to another project's key."""


class QuotaError(ServiceError):
    """429: nothing was done; the same call may succeed later.

    :param retry_after: seconds, when the service named a time.
    """

    def __init__(self, message: str, *, code: int | None = 429, status: str = "", retry_after: float | None = None) -> None:
        super().__init__(message, code=code, status=status)
        self.retry_after = retry_after


class OutcomeUnknownError(ServiceError):
    """Timeout, dropped connection or 5xx: the service may or may not have done what was asked."""


class DroppedError(OutcomeUnknownError):
    """The connection broke after it had been made."""


class NamelessJobError(ServiceError):
    """A create was answered with 200 and without the name of a batch job: there may be a job, and a second create a second."""


class UnreachableError(ServiceError):
    """No connection to the service was made, so nothing was done."""


class WaitTimeoutError(GeminiBatchError):
    """The patience that the caller set is used up. The jobs are named; the run can be resumed."""
