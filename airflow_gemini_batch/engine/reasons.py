"""Why a row has no result, and whether resubmitting it unchanged may give one.

Tables only, each with its source, so that a reader (or a test) can go through everything the service is known to answer.
Unknown codes are not retryable: a retry may cost money, while a dead letter can still be resubmitted by hand.
"""

from __future__ import annotations

import enum
from typing import NamedTuple


class Reason(str, enum.Enum):
    """The ``reason`` column of the dead-letter table."""

    INVALID_INPUT = "INVALID_INPUT"  #: no request could be built from the row
    REQUEST_ERROR = "REQUEST_ERROR"  #: the service answered this row with an error
    BLOCKED = "BLOCKED"  #: the prompt or the answer was stopped by a filter
    TRUNCATED = "TRUNCATED"  #: the answer was cut at the token limit
    EMPTY = "EMPTY"  #: an answer without content
    INVALID_OUTPUT = "INVALID_OUTPUT"  #: content that is not in the form that was asked for
    MALFORMED_LINE = "MALFORMED_LINE"  #: a line that is not JSON
    MISSING = "MISSING"  #: the job ended well without this key
    JOB_FAILED = "JOB_FAILED"
    JOB_EXPIRED = "JOB_EXPIRED"
    JOB_CANCELLED = "JOB_CANCELLED"

    def __str__(self) -> str:
        return self.value


#: Whether the same request may succeed when it is resubmitted. None: the code that came with it decides.
RETRYABLE_BY_REASON: dict[Reason, bool | None] = {
    Reason.INVALID_INPUT: False,
    Reason.REQUEST_ERROR: None,
    Reason.BLOCKED: False,
    # Cut at the same place again, unless the caller raises max_output_tokens.
    Reason.TRUNCATED: False,
    # Sampling, or a temporary fault of the service: the second try usually has content.
    Reason.EMPTY: True,
    # Mostly caused by the schema or the prompt, and every further try is billed.
    Reason.INVALID_OUTPUT: False,
    Reason.MALFORMED_LINE: True,
    Reason.MISSING: True,
    Reason.JOB_FAILED: None,
    Reason.JOB_EXPIRED: True,
    # Someone stopped it on purpose; only they can decide to continue.
    Reason.JOB_CANCELLED: False,
}


class Status(NamedTuple):
    """One of google.rpc's canonical statuses."""

    code: int
    http: int
    retryable: bool


#: All canonical statuses. Source: google/rpc/code.proto (codes and HTTP mapping); retryable: those that its comments, or
#: https://google.aip.dev/194, call transient. UNKNOWN is what the service reports for its own unmapped failures (HTTP 500).
STATUSES: dict[str, Status] = {
    "OK": Status(0, 200, False),
    "CANCELLED": Status(1, 499, False),
    "UNKNOWN": Status(2, 500, True),
    "INVALID_ARGUMENT": Status(3, 400, False),
    "DEADLINE_EXCEEDED": Status(4, 504, True),
    "NOT_FOUND": Status(5, 404, False),
    "ALREADY_EXISTS": Status(6, 409, False),
    "PERMISSION_DENIED": Status(7, 403, False),
    "RESOURCE_EXHAUSTED": Status(8, 429, True),
    "FAILED_PRECONDITION": Status(9, 400, False),
    "ABORTED": Status(10, 409, True),
    "OUT_OF_RANGE": Status(11, 400, False),
    "UNIMPLEMENTED": Status(12, 501, False),
    "INTERNAL": Status(13, 500, True),
    "UNAVAILABLE": Status(14, 503, True),
    "DATA_LOSS": Status(15, 500, False),
    "UNAUTHENTICATED": Status(16, 401, False),
}

#: The status meant by a bare code. Batch rows carry rpc codes (0 to 16), job errors and some rows HTTP codes (from 400), so
#: the two ranges can live in one table. HTTP side: the Gemini API's own error table (ai.google.dev, "API errors"), then
#: google/rpc/code.proto, then what proxies in front of the service answer (408, 413, 422, 502).
STATUS_BY_CODE: dict[int, str] = {
    **{status.code: name for name, status in STATUSES.items()},
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    412: "FAILED_PRECONDITION",
    413: "INVALID_ARGUMENT",
    416: "OUT_OF_RANGE",
    422: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def status_of(code: int | None, status: str | None = None) -> str | None:
    """The canonical name: the service's own word where it gave one, else what its code means; None for an unknown code."""
    if status:
        return status
    if code is None:
        return None
    if code in STATUS_BY_CODE:
        return STATUS_BY_CODE[code]
    return "INTERNAL" if 500 <= code <= 599 else None


def is_retryable(reason: Reason, code: int | None = None, status: str | None = None) -> bool:
    """Whether the same request may succeed when it is resubmitted."""
    known = RETRYABLE_BY_REASON[reason]
    if known is not None:
        return known
    # The name first: it distinguishes what HTTP codes do not (409 ABORTED, 409 ALREADY_EXISTS).
    canonical = STATUSES.get(status or "") or STATUSES.get(status_of(code) or "")
    return canonical is not None and canonical.retryable


#: The reason that a finish reason means; None: an answer, if it has content. Source: the API's OpenAPI document (Candidate) and
#: google-genai 3.4.0 ``types.FinishReason``. A test compares it with the SDK that is installed.
REASON_BY_FINISH: dict[str, Reason | None] = {
    "FINISH_REASON_UNSPECIFIED": None,
    "STOP": None,
    "MAX_TOKENS": Reason.TRUNCATED,
    # "reached the per-request token limit, but generation is not yet complete"
    "CONTINUATION": Reason.TRUNCATED,
    "SAFETY": Reason.BLOCKED,
    "RECITATION": Reason.BLOCKED,
    "LANGUAGE": Reason.BLOCKED,
    # The service stopped without saying why; its own advice for OTHER is to read the terms of use.
    "OTHER": Reason.BLOCKED,
    "BLOCKLIST": Reason.BLOCKED,
    "PROHIBITED_CONTENT": Reason.BLOCKED,
    "SPII": Reason.BLOCKED,
    "ESCALATION": Reason.BLOCKED,
    "PUP_LIMITED_DISABLED": Reason.BLOCKED,
    "MODEL_ARMOR": Reason.BLOCKED,
    "IMAGE_SAFETY": Reason.BLOCKED,
    "IMAGE_PROHIBITED_CONTENT": Reason.BLOCKED,
    "IMAGE_RECITATION": Reason.BLOCKED,
    "IMAGE_OTHER": Reason.BLOCKED,
    "NO_IMAGE": Reason.EMPTY,
    "MALFORMED_FUNCTION_CALL": Reason.INVALID_OUTPUT,
    "UNEXPECTED_TOOL_CALL": Reason.INVALID_OUTPUT,
    "TOO_MANY_TOOL_CALLS": Reason.INVALID_OUTPUT,
    "MALFORMED_RESPONSE": Reason.INVALID_OUTPUT,
    # A fault of the request: it repeats a conversation without its thought signatures.
    "MISSING_THOUGHT_SIGNATURE": Reason.REQUEST_ERROR,
}

#: The finish reasons of answers that are not results. Such a dead letter has it as its ``status``, and no error's status has
#: the name of one, so dead letters can be selected by these names too.
FINISH_REASONS = tuple(name for name, reason in REASON_BY_FINISH.items() if reason is not None)
