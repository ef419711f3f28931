"""The code, status and words of a row's error, whatever shape the service, or a proxy in front of it, gave it.

Documented is google.rpc.Status: ``{"code": 8, "message": "…", "details": […]}``. Other shapes occur: a status word as the code,
numbers as text, the whole error as text (``429 RESOURCE_EXHAUSTED. …``) or as JSON in a text, a list of errors, an error in an
error.
Two invariants: an error is never taken for an empty answer, and what is not understood becomes the message.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from airflow_gemini_batch.engine.json.lenient import as_code, as_text, read_any, shown, with_valid_unicode
from airflow_gemini_batch.engine.reasons import STATUSES


class RowError(NamedTuple):
    """
    :param code: rpc or HTTP code.
    :param status: the canonical name where one was given, else the service's own word.
    """

    code: int | None = None
    status: str | None = None
    message: str | None = None

    @property
    def is_definite(self) -> bool:
        """Whether it has a code or a canonical status, so that it is an error even beside an answer."""
        return self.code is not None or self.status in STATUSES


def read_error(value: Any) -> RowError | None:
    """The error in a member named ``error``; None where it says nothing, or that all went well."""
    facts = _Facts()
    try:
        facts.read(value)
        return facts.error()
    except RecursionError:
        return RowError(message="an error that is nested too deeply to be read")


def read_bare(members: Mapping[str, Any]) -> RowError | None:
    """The error whose code, status and words are members of an object that holds other things too, such as a line."""
    own = {name: value for name, value in members.items() if name in _ROLES or name == "details"}
    return read_error(own)


#: How deep errors may nest; deeper ones are shown as they are.
_DEPTH = 6

#: How many errors of a list are read.
_ERRORS = 5

_CODES = ("code", "status_code", "statusCode", "error_code", "errorCode")
_STATUSES = ("status", "state")
_WORDS = ("message", "msg", "error_message", "errorMessage", "status_message", "statusMessage", "description",
          "error_description", "detail", "reason")  # fmt: skip
_INNER = ("error", "errors", "cause", "fault")
_ROLES = frozenset((*_CODES, *_STATUSES, *_WORDS, *_INNER))

#: Words, written as status names are, that report success.
_GOOD = {"OK", "SUCCESS", "SUCCESSFUL", "SUCCEEDED", "DONE", "COMPLETE", "COMPLETED", "FINISHED",
         "JOB_STATE_SUCCEEDED", "BATCH_STATE_SUCCEEDED"}  # fmt: skip

#: Other names of canonical statuses.
_OTHER_NAMES = {"CANCELED": "CANCELLED", "TIMEOUT": "DEADLINE_EXCEEDED", "TOO_MANY_REQUESTS": "RESOURCE_EXHAUSTED",
                "INTERNAL_SERVER_ERROR": "INTERNAL", "SERVICE_UNAVAILABLE": "UNAVAILABLE", "BAD_GATEWAY": "UNAVAILABLE",
                "INTERNAL_ERROR": "INTERNAL"}  # fmt: skip

_GRPC_CODE = re.compile(r"""\bcode\s*[=:]\s*["']?([A-Za-z_.]+)""")  # rpc error: code = ResourceExhausted desc = …
_HTTP_CODE = re.compile(r"[^\w]*(?:(?:HTTP(?:/[\d.]+)?|error|code|status)[\s:=]*)*([2-5]\d\d)\b", re.IGNORECASE)
_FIRST_WORD = re.compile(r"[^A-Za-z0-9]*(?:HTTP(?:/[\d.]+)?\W+)?(?:\d{3}\W+)?([A-Za-z_.]+)", re.IGNORECASE)


@dataclass(slots=True)
class _Facts:
    """What an error says, from the outside to the inside.

    :param codes: pairs of code and status, each from one object.
    :param is_good: something says that all went well.
    :param unread: objects that say something, but not in words.
    """

    codes: list[tuple[int | None, str | None]] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    is_good: bool = False
    unread: list[Any] = field(default_factory=list)

    def error(self) -> RowError | None:
        """What the facts amount to; None where there is no error."""
        definite = [pair for pair in self.codes if RowError(*pair).is_definite]
        if not self.codes and (self.is_good or not (self.words or self.unread)):
            return None
        code, status = (definite or self.codes or [(None, None)])[0]
        if code is None and status in STATUSES:
            code = STATUSES[status].code
        words = [text for place, text in enumerate(self.words) if not any(text in before for before in self.words[:place])]
        return RowError(code, status, ": ".join(words) or (shown(self.unread[0]) if self.unread else None))

    def read(self, value: Any, depth: int = _DEPTH) -> None:
        if _is_empty(value):
            return
        if isinstance(value, dict) and depth:
            self._read_object(value, depth - 1)
        elif isinstance(value, list) and depth and all(isinstance(one, dict) for one in value):
            for one in value[:_ERRORS]:
                self.read(one, depth - 1)
        elif isinstance(value, str):
            self._read_text(value.strip(), depth)
        elif (code := _number(value)) is not None:
            self._add(code, None)
        else:
            self._say(shown(value))

    def _read_object(self, value: dict[str, Any], depth: int) -> None:
        self._read_codes(value, depth)
        said = len(self.words)
        odd = False
        for found in (value.get(name) for name in _WORDS):
            if isinstance(found, str):
                self._say(found)
            else:
                odd |= not isinstance(found, (dict, list)) and not _is_empty(found)
        for name in (*_CODES, *_STATUSES, *_WORDS, *_INNER):
            found = value.get(name)
            if isinstance(found, (dict, list)) or name in _INNER:
                self.read(found, depth)
        has_others = any(name not in _ROLES and not _is_empty(found) for name, found in value.items())
        words = [word for name in _CODES if (word := _code_word(value.get(name)))]
        if len(self.words) > said:
            self.words[said:said] = words
        elif odd or has_others or words:
            self.unread.append(value)

    def _read_codes(self, value: dict[str, Any], depth: int) -> None:
        """The code and the status that are members of one object belong together."""
        code, status = None, None
        for name in (*_CODES, *_STATUSES):
            found = value.get(name)
            if (number := _number(found)) is not None:
                code = number if code is None else code
            elif isinstance(found, str) and found.strip():
                status = self._status(found.strip(), status, depth, is_code=name in _CODES)
        self._add(code, status)

    def _status(self, text: str, known: str | None, depth: int, *, is_code: bool) -> str | None:
        """The status after one more member that names it. A text that is not a status is read as a sentence."""
        if (canonical := _canonical(text)) is not None:
            return known if known in STATUSES else canonical
        if _word(text) in _GOOD:
            self.is_good = True
        elif re.search(r"[^\w.-]", text):
            self._read_text(text, depth)
        elif not is_code:
            return known or as_text(text)
        return known

    def _read_text(self, text: str, depth: int) -> None:
        """A code, a status, JSON, or a sentence that may begin with one of the first two."""
        if (code := _number(text)) is not None:
            self._add(code, None)
        elif (status := _canonical(text)) is not None:
            self._add(None, status)
        elif _word(text) in _GOOD:
            self.is_good = True
        elif text[:1] in "{[" and depth and (found := _json(text)) is not None:
            self.read(found, depth - 1)
        else:
            self._read_sentence(text)

    def _read_sentence(self, text: str) -> None:
        matches = (_GRPC_CODE.search(text), _FIRST_WORD.match(text))
        status = next((name for match in matches if match and (name := _canonical(match[1])) is not None), None)
        code = int(match[1]) if (match := _HTTP_CODE.match(text)) else None
        if code is not None and code < 400:  # "200 OK", "300 requests …"
            self.is_good |= status == "OK"
            code = None
        if status != "OK":
            self._add(code, status)
            self._say(text)

    def _add(self, code: int | None, status: str | None) -> None:
        if (code is not None and (code == 0 or 200 <= code <= 299)) or (code is None and status == "OK"):
            self.is_good = True
        elif code is not None or status is not None:
            self.codes.append((code, status))

    def _say(self, text: str) -> None:
        if said := as_text(text.strip()):
            self.words.append(said)


def _is_empty(value: Any) -> bool:
    """Whether a value says nothing: null, false, blank text, and objects and lists of nothing else."""
    if isinstance(value, dict):
        return all(map(_is_empty, value.values()))
    if isinstance(value, list):
        return all(map(_is_empty, value))
    return value is None or value is False or (isinstance(value, str) and not value.strip())


def _number(value: Any) -> int | None:
    """A code as a number or as text: 8, 8.0, "8", " 429 "."""
    return as_code(value.strip() if isinstance(value, str) else value)


def _code_word(value: Any) -> str | None:
    """What stands in the place of a code and is neither a code nor a status, such as ``quota_exceeded``."""
    if not isinstance(value, str) or _number(value) is not None:
        return None
    return None if _canonical(value) or _word(value) in _GOOD or re.search(r"[^\w.-]", value) else as_text(value)


def _canonical(text: str) -> str | None:
    """The canonical status that a text spells: RESOURCE_EXHAUSTED, ResourceExhausted, StatusCode.RESOURCE_EXHAUSTED."""
    word = _word(text)
    word = _OTHER_NAMES.get(word, word)
    return word if word in STATUSES else None


def _word(text: str) -> str:
    """The text as status names are written: capitals and underscores, without what stands before a dot."""
    if len(text) > 60:
        return ""
    text = text.strip().strip(".")
    return re.sub(r"(?<=[a-z])(?=[A-Z])|[\s-]+", "_", text.rpartition(".")[2]).upper()


def _json(text: str) -> Any:
    try:
        return read_any(with_valid_unicode(text).encode())
    except (ValueError, RecursionError):
        return None
