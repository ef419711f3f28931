"""What can be made to go wrong, as plain values: rules that say where, how often and what.

A rule is the same thing in Python and on the wire (`POST /emulator/faults`), where `on` tells its kind.
Matching is pure: the same rules, seeds and sequence of calls give the same faults.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any, Literal, Union

import msgspec


class Occurrence(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """How often a rule fires, among the things that it matches."""

    nth: int | None = None
    """Fires first at the nth match, counted from 1 since the rule was set; then `count` times in a row."""

    count: int | None = None
    """At most so many times; with `nth` the default is 1, without it there is no end."""

    probability: float = 1.0
    seed: int = 0


class HttpFault(Occurrence, tag="http", tag_field="on", kw_only=True, frozen=True):
    """A call that matches `method` and `path` goes wrong, before the work is done or after it."""

    do: Literal["status", "drop", "delay", "truncate", "cut_upload"]
    method: str | None = None
    path: str = ""
    """A regular expression searched in the path with its query, such as `:batchGenerateContent$`."""

    when: Literal["before", "after"] = "before"

    status: int = 503
    headers: dict[str, str] = {}
    body: Any = None
    """A JSON object, or a string sent as it is (say HTML). None: the service's own body for the status."""

    retry_info_seconds: float | None = None
    """Adds google.rpc.RetryInfo to the service's own body."""

    seconds: float = 0.0
    """How long `delay` waits."""

    bytes: int = 0
    """Where `truncate` cuts the answer's body, and `cut_upload` the request's."""


class FileFault(Occurrence, tag="file", tag_field="on", kw_only=True, frozen=True):
    """An uploaded file that matches is looked through for long, and may be found to be broken."""

    display_name: str = ""
    mime_type: str = ""

    do: Literal["process", "fail"] = "process"
    """`process`: ACTIVE at the end of it; `fail`: FAILED."""

    seconds: float = 0.0
    """How long it stays in PROCESSING."""

    error_code: int = 3
    error_message: str = "The file could not be processed."


class JobFault(Occurrence, tag="job", tag_field="on", kw_only=True, frozen=True):
    """A job whose create matches goes another way than PENDING, RUNNING, SUCCEEDED."""

    display_name: str = ""
    model: str = ""

    do: Literal["succeed", "fail", "expire", "hang", "cancel"] = "succeed"
    """`cancel`: by somebody else, `cancel_after_seconds` after the create."""

    state: str | None = None
    """The state to end in instead of BATCH_STATE_SUCCEEDED, such as BATCH_STATE_PARTIALLY_SUCCEEDED."""

    hang_in: Literal["PENDING", "RUNNING"] = "PENDING"
    error_code: int = 13
    error_message: str = "An internal error has occurred."
    pending_seconds: float | None = None
    running_seconds: float | None = None
    cancel_after_seconds: float = 0.0
    cancel_leaves: float | None = None
    """A cancelled job keeps this fraction of its output, whoever cancelled it; None: no output at all."""

    cancel_is_ignored: bool = False
    """`:cancel` answers 200 and the job ends well all the same."""

    responses_file_late_polls: int = 0
    responses_file_late_seconds: float = 0.0
    output_lost_after_hours: float | None = None


RowTrouble = Literal[
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
    """Rows of a job's output go wrong: those with one of `keys`, those on `lines`, or a `fraction` of all."""

    do: RowTrouble
    display_name: str = ""
    model: str = ""
    keys: tuple[str, ...] | None = None
    lines: tuple[int, ...] | None = None
    """Line numbers of the input, counted from 1."""

    fraction: float = 1.0
    code: int = 13
    message: str | None = None
    details: list[dict[str, Any]] | None = None

    def strikes(self, line: int, key: str | None) -> bool:
        if self.keys is not None and key not in self.keys:
            return False
        if self.lines is not None and line not in self.lines:
            return False
        return self.fraction >= 1.0 or chance(self.seed, f"{self.do}:{line}:{key}") < self.fraction


class ListingFault(msgspec.Struct, tag="listing", tag_field="on", kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Listings show less than there is, or show it late. The newest rule for a collection counts."""

    of: Literal["batches", "files"] = "batches"
    lag_seconds: float = 0.0
    """What is younger is not listed yet (get knows it)."""

    page_size: int | None = None
    """No page holds more, whatever the caller asks for."""

    empty_pages: tuple[int, ...] = ()
    """These pages (counted from 1) come without items, with a token to go on."""

    bury: str | None = None
    """Jobs whose display name matches this expression are listed last instead of by age."""


class WebhookFault(Occurrence, tag="webhook", tag_field="on", kw_only=True, frozen=True):
    """A webhook whose event and receiver match goes wrong on its way."""

    do: Literal["duplicate", "out_of_order", "bad_signature", "old_timestamp", "late", "lost"]
    """`out_of_order`: held until the next one for the same receiver has arrived, `seconds` at most."""

    event: str = ""
    """A regular expression searched in the event's type, such as `succeeded$`."""

    uri: str = ""
    seconds: float = 600.0
    """By how much `late` and `out_of_order` delay, and how old an `old_timestamp` is."""

    times: int = 2
    """How often a `duplicate` is sent."""

    attempts: int = 1
    """So many tries have a `bad_signature` or an `old_timestamp`; the ones after them are good."""


Fault = Union[HttpFault, FileFault, JobFault, RowFault, ListingFault, WebhookFault]  # noqa: UP007  (a runtime value, for msgspec on 3.10)


@dataclass(slots=True)
class Rule:
    """A fault with its place in the list and its history."""

    id: int
    fault: Fault
    seen: int = 0
    fired: int = 0

    def fires(self) -> bool:
        """Whether the match just found makes it fire; counts the match either way."""
        assert not isinstance(self.fault, ListingFault)
        self.seen += 1
        if not self._is_its_turn(self.fault):
            return False
        self.fired += 1
        return True

    def _is_its_turn(self, fault: Occurrence) -> bool:
        count = fault.count if fault.count is not None else (1 if fault.nth is not None else None)
        if count is not None and self.fired >= count:
            return False
        if fault.nth is not None and self.seen < fault.nth:
            return False
        return fault.probability >= 1.0 or chance(fault.seed, f"{self.id}:{self.seen}") < fault.probability


def matches_call(fault: HttpFault, method: str, path: str) -> bool:
    return (fault.method is None or fault.method.upper() == method) and re.search(fault.path, path) is not None


def matches_file(fault: FileFault, display_name: str, mime_type: str) -> bool:
    return re.search(fault.display_name, display_name) is not None and re.search(fault.mime_type, mime_type) is not None


def matches_job(fault: JobFault | RowFault, display_name: str, model: str) -> bool:
    return re.search(fault.display_name, display_name) is not None and re.search(fault.model, model) is not None


def matches_webhook(fault: WebhookFault, event: str, uri: str) -> bool:
    return re.search(fault.event, event) is not None and re.search(fault.uri, uri) is not None


def chance(seed: int, what: str) -> float:
    """A number in [0, 1) that depends on nothing else."""
    digest = hashlib.blake2b(f"{seed}:{what}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


_decoder = msgspec.json.Decoder(Fault)


def parse_fault(text: bytes | str) -> Fault:
    """Raises msgspec.ValidationError, which names the field that is wrong; so does a broken expression."""
    fault: Fault = _decoder.decode(text)
    for name in ("path", "display_name", "mime_type", "model", "bury", "event", "uri"):
        try:
            re.compile(getattr(fault, name, None) or "")
        except re.error as error:
            raise msgspec.ValidationError(f"{name} is not a regular expression: {error}") from error
    return fault
