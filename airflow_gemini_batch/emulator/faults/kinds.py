"""Faults that the emulator can be made to produce, as plain values: where, how often and what.

A fault is the same in Python and on the wire (`POST /emulator/faults`), where the field `on` names its kind: `http`, `file`,
`job`, `rows`, `listing` or `webhook`. Matching is deterministic: the same rules, seeds and calls give the same faults.
Regular expressions are RE2 (`patterns.py`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Literal, Union

import msgspec

from airflow_gemini_batch.emulator.patterns import is_found, why_refused


class Occurrence(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """How often a rule fires among its matches. By default it fires at every match."""

    nth: int | None = None
    """Fires first at the nth match, counted from 1 since the rule was added. Default: the first."""

    count: int | None = None
    """Fires at most this many times. Default: 1 if `nth` is set, otherwise unlimited."""

    probability: float = 1.0
    """Chance from 0 to 1 that a match makes the rule fire, decided by `seed`. Default: 1, always."""

    seed: int = 0
    """Seed of all random choices of this rule. The same seed gives the same choices."""


class HttpFault(Occurrence, tag="http", tag_field="on", kw_only=True, frozen=True):
    """An API call fails, before or after its work is done. The first rule that matches and fires is applied.

    Calls of the control API (`/emulator`) are never affected.
    """

    do: Literal["status", "drop", "delay", "truncate", "cut_upload"]
    """What happens:

    - `status`: the answer is an error with `status`, `headers` and `body`.
    - `drop`: the connection is closed without an answer.
    - `delay`: the answer is sent `seconds` late.
    - `truncate`: the answer announces its full length, and the connection is closed after `bytes` of its body.
    - `cut_upload`: the connection is closed after `bytes` of the request's body. The bytes that arrived are kept.
    """

    method: str | None = None
    """HTTP method to match, such as `POST`, in any case. Default: every method."""

    path: str = ""
    """A regular expression, searched in the path with its query, such as `:batchGenerateContent$`. Default: every path."""

    when: Literal["before", "after"] = "before"
    """For `status`, `drop` and `delay`: whether the call fails before its work is done (default) or after it."""

    status: int = 503
    """HTTP status of `do="status"`. Default: 503."""

    headers: dict[str, str] = {}
    """Extra headers of the answer of `do="status"`. Default: none."""

    body: Any = None
    """Body of the answer of `do="status"`: a JSON object, or a string that is sent as it is, such as HTML.

    Default: the error that the service sends with this status.
    """

    retry_info_seconds: float | None = None
    """Adds google.rpc.RetryInfo with this delay to the default body. Default: no RetryInfo, as the service's 429 has none."""

    seconds: float = 0.0
    """How long `do="delay"` waits. Default: 0."""

    bytes: int = 0
    """After how many bytes `do="truncate"` cuts the answer's body and `do="cut_upload"` the request's body. Default: 0."""


class FileFault(Occurrence, tag="file", tag_field="on", kw_only=True, frozen=True):
    """An uploaded file stays PROCESSING for a while and may then fail. Matched when the upload is finalized.

    The first rule that matches and fires is applied.
    """

    display_name: str = ""
    """A regular expression, searched in the file's display name. Default: every file."""

    mime_type: str = ""
    """A regular expression, searched in the file's MIME type, such as `^video/`. Default: every file."""

    do: Literal["process", "fail"] = "process"
    """State after processing: `process` ends in ACTIVE (default), `fail` in FAILED."""

    seconds: float = 0.0
    """How long the file stays PROCESSING, instead of the option `processing_seconds`. Default: 0."""

    error_code: int = 3
    """gRPC code of the error of a FAILED file. Default: 3, INVALID_ARGUMENT."""

    error_message: str = "The file could not be processed."
    """Message of the error of a FAILED file."""


class JobFault(Occurrence, tag="job", tag_field="on", kw_only=True, frozen=True):
    """A job takes another course than PENDING, RUNNING, SUCCEEDED. Matched when the job is created; applies as long as it exists.

    The first rule that matches and fires is applied.
    """

    display_name: str = ""
    """A regular expression, searched in the job's display name. Default: every job."""

    model: str = ""
    """A regular expression, searched in the model's name (`models/…`). Default: every model."""

    do: Literal["succeed", "fail", "expire", "hang", "cancel"] = "succeed"
    """How the job ends:

    - `succeed` (default): as usual; the other fields may still change its course.
    - `fail`: FAILED with `error_code` and `error_message`, when it would have succeeded.
    - `expire`: EXPIRED, when it would have succeeded.
    - `hang`: it stays in the state `hang_in` until it is cancelled, or expires after the option `job_hours`.
    - `cancel`: somebody else cancels it, `cancel_after_seconds` after it was created.
    """

    state: str | None = None
    """State to end in, such as BATCH_STATE_PARTIALLY_SUCCEEDED. Default: BATCH_STATE_SUCCEEDED."""

    hang_in: Literal["PENDING", "RUNNING"] = "PENDING"
    """The state in which `do="hang"` stays. Default: PENDING."""

    error_code: int = 13
    """gRPC code of the error of `do="fail"`. Default: 13, INTERNAL."""

    error_message: str = "An internal error has occurred."
    """Message of the error of `do="fail"`."""

    pending_seconds: float | None = None
    """How long the job stays PENDING. Default: the option of the same name."""

    running_seconds: float | None = None
    """How long the job stays RUNNING. Default: the option of the same name."""

    cancel_after_seconds: float = 0.0
    """When `do="cancel"` cancels, in seconds after the create. Default: 0, at once."""

    cancel_leaves: float | None = None
    """Fraction from 0 to 1 of the rows that a cancelled job has in its output, whoever cancels it. Default: no output at all."""

    cancel_is_ignored: bool = False
    """If true, `:cancel` answers 200 but the job continues. Default: false."""

    responses_file_late_polls: int = 0
    """The output is shown only after this many get or list calls have returned the ended job. Default: 0, at once."""

    responses_file_late_seconds: float = 0.0
    """The output is shown only this many seconds after the job has ended. Default: 0, at once."""

    output_lost_after_hours: float | None = None
    """Hours after the job's end at which its output file expires. Default: the option `file_hours`."""


RowFaultKind = Literal[
    "shuffle",
    "missing",
    "double",
    "foreign_key",
    "swap_key",
    "torn",
    "null_response",
    "neither",
    "error",
    "status",
    "safety",
    "recitation",
    "prompt_blocked",
    "max_tokens",
    "empty",
    "no_candidates",
    "line_separators",
    "lone_surrogate",
    "huge_integer",
    "nan",
    "crlf",
    "blank_line",
]


class RowFault(Occurrence, tag="rows", tag_field="on", kw_only=True, frozen=True):
    """Rows of a job's output are wrong. The job is matched when it is created; all rules that fire are applied.

    `keys`, `lines` and `fraction` choose rows; a row must meet all three. `nth`, `count` and `probability` refer to jobs.
    """

    do: RowFaultKind
    """What is wrong with the chosen rows:

    - `error`, `status`: an error with `code`, `message` and `details` under this name, instead of a response.
    - `null_response`: `"response": null`. `neither`: neither response nor error.
    - `safety`, `recitation`, `empty`: a candidate without parts and with the finish reason SAFETY, RECITATION or STOP.
    - `max_tokens`: half of the text and the finish reason MAX_TOKENS.
    - `prompt_blocked`: `promptFeedback` instead of candidates. `no_candidates`: an empty list of candidates.
    - `missing`: no row. `double`: the row twice. `foreign_key`: also a row with a key that was not in the input.
    - `swap_key`: the row and the next one have each other's keys.
    - `shuffle`: all rows in another order, within windows of 10,000; the choice of rows does not matter.
    - `line_separators`: U+2028, U+2029 and U+0085 unescaped in the text. `lone_surrogate`: `\\ud800` in the text.
    - `huge_integer`: a token count of 2**63 - 1.
    - `torn` (half a line), `nan` (NaN in the JSON), `crlf`, `blank_line`: not applied to inline jobs.
    """

    display_name: str = ""
    """A regular expression, searched in the job's display name. Default: every job."""

    model: str = ""
    """A regular expression, searched in the model's name (`models/…`). Default: every model."""

    keys: tuple[str, ...] | None = None
    """Only rows with one of these keys. Default: every row."""

    lines: tuple[int, ...] | None = None
    """Only rows of these lines of the input, counted from 1. Default: every row."""

    fraction: float = 1.0
    """Only this fraction of the rows, from 0 to 1, chosen by `seed`, line and key. Default: 1, every row."""

    code: int = 13
    """gRPC code of `error` and `status`. Default: 13, INTERNAL."""

    message: str | None = None
    """Message of `error` and `status`. Default: the service's text for an internal error."""

    details: list[dict[str, Any]] | None = None
    """`details` of `error` and `status`. Default: none."""

    def matches(self, line: int, key: str | None) -> bool:
        """Whether the row on this line of the input (from 1), with this key, is chosen."""
        if self.keys is not None and key not in self.keys:
            return False
        if self.lines is not None and line not in self.lines:
            return False
        return self.fraction >= 1.0 or chance(self.seed, f"{self.do}:{line}:{key}") < self.fraction


class ListingFault(msgspec.Struct, tag="listing", tag_field="on", kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Listings are late or paged in an unusual way. The newest rule for a collection is applied, to every list call."""

    of: Literal["batches", "files"] = "batches"
    """The collection: `batches` (default) or `files`."""

    lag_seconds: float = 0.0
    """Items younger than this are not listed yet, though get returns them. Default: 0."""

    page_size: int | None = None
    """Largest number of items on a page, whatever the caller asks for. Default: the caller's page size."""

    empty_pages: tuple[int, ...] = ()
    """These pages (counted from 1) have no items, but a token for the next page. Default: none."""

    bury: str | None = None
    """For `batches`: jobs whose display name matches this regular expression are listed last. Default: newest first."""


class WebhookFault(Occurrence, tag="webhook", tag_field="on", kw_only=True, frozen=True):
    """A webhook is sent wrongly. Matched once, when its delivery is first due; the first rule that fires is applied."""

    do: Literal["duplicate", "out_of_order", "bad_signature", "old_timestamp", "late", "lost"]
    """What is wrong:

    - `duplicate`: every attempt sends the webhook `times` times.
    - `out_of_order`: held until a later one has been delivered to the same receiver, at most `seconds`.
    - `bad_signature`, `old_timestamp`: the first `attempts` attempts are signed wrongly, or `seconds` in the past.
    - `late`: sent `seconds` late. `lost`: never sent.
    """

    event: str = ""
    """A regular expression, searched in the event's type, such as `succeeded$`. Default: every event."""

    uri: str = ""
    """A regular expression, searched in the receiver's URI. Default: every receiver."""

    seconds: float = 600.0
    """Delay of `late`, longest delay of `out_of_order`, age of `old_timestamp`. Default: 600; receivers usually tolerate 300."""

    times: int = 2
    """How many copies `duplicate` sends. Default: 2."""

    attempts: int = 1
    """How many attempts `bad_signature` and `old_timestamp` affect; later ones are correct. Default: 1."""


Fault = Union[HttpFault, FileFault, JobFault, RowFault, ListingFault, WebhookFault]  # noqa: UP007  (a runtime value, for msgspec on 3.10)


@dataclass(slots=True)
class Rule:
    """A fault rule with its id and counters: `seen` counts its matches, `fired` how often it was applied."""

    id: int
    fault: Fault
    seen: int = 0
    fired: int = 0

    def fires(self) -> bool:
        """Counts a match, and decides whether the rule fires at it."""
        assert not isinstance(self.fault, ListingFault)
        self.seen += 1
        if not self._is_due(self.fault):
            return False
        self.fired += 1
        return True

    def _is_due(self, fault: Occurrence) -> bool:
        count = fault.count if fault.count is not None else (1 if fault.nth is not None else None)
        if count is not None and self.fired >= count:
            return False
        if fault.nth is not None and self.seen < fault.nth:
            return False
        return fault.probability >= 1.0 or chance(fault.seed, f"{self.id}:{self.seen}") < fault.probability


def matches_call(fault: HttpFault, method: str, path: str) -> bool:
    return (fault.method is None or fault.method.upper() == method) and is_found(fault.path, path)


def matches_file(fault: FileFault, display_name: str, mime_type: str) -> bool:
    return is_found(fault.display_name, display_name) and is_found(fault.mime_type, mime_type)


def matches_job(fault: JobFault | RowFault, display_name: str, model: str) -> bool:
    return is_found(fault.display_name, display_name) and is_found(fault.model, model)


def matches_webhook(fault: WebhookFault, event: str, uri: str) -> bool:
    return is_found(fault.event, event) and is_found(fault.uri, uri)


def chance(seed: int, what: str) -> float:
    """A number in [0, 1) that depends only on the arguments."""
    digest = hashlib.blake2b(f"{seed}:{what}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


_decoder = msgspec.json.Decoder(Fault)


def parse_fault(text: bytes | str) -> Fault:
    """Decodes a fault. Raises msgspec.ValidationError that names the invalid field, also for an invalid regular expression."""
    fault: Fault = _decoder.decode(text)
    for name in ("path", "display_name", "mime_type", "model", "bury", "event", "uri"):
        if why := why_refused(getattr(fault, name, None) or ""):
            raise msgspec.ValidationError(f"{name} is not an RE2 regular expression: {why}")
    return fault
