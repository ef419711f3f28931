"""One output line of a batch job is an answer, a refusal or garbage; nothing else, and never an exception.

``classify`` is pure and takes any bytes. The service's own field names are read in camelCase and in snake_case, because
both occur. Two invariants:

an answer is a result only if it is whole and has content: a cut, blocked or empty one is a refusal, whatever text it holds, and
a key is used only if it can be read with certainty: a missing row is noticed and resubmitted, a row that gets another row's
answer is not noticed.

There are two code paths. The plain answer (text, a finish reason that is not a failure) is read by typed structs that skip what
the tables do not need. Everything else (errors, blocked, cut, media, function calls, embeddings, unexpected types and JSON) is
read leniently from plain objects. A test checks that both give the same. ``answer_blocks`` reads many plain answers at once.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from airflow_gemini_batch.engine.costs.usage import NOTHING, Usage
from airflow_gemini_batch.engine.json.lenient import (
    Member,
    as_count,
    as_dict,
    as_list,
    as_text,
    field,
    read_members,
    with_valid_unicode,
)
from airflow_gemini_batch.engine.reasons import REASON_BY_FINISH, Reason, is_retryable, status_of
from airflow_gemini_batch.engine.response.lines import LongLine, is_utf8, key_and_response
from airflow_gemini_batch.engine.response.row_errors import RowError, read_bare, read_error
from airflow_gemini_batch.engine.response.usage import Counts, TypedUsage, read_counts


class Answer(msgspec.Struct, frozen=True, gc=False):
    """A row's result.

    :param tool_tokens: of what tools returned to the model, such as pages and search results; not a part of ``prompt_tokens``.
    :param text: never empty; None where the answer holds something else (a function call, media, an embedding).
    :param response: the response's JSON, byte for byte as received, valid UTF-8.
    :param parts: the tokens that are not text, by kind (see ``costs.usage``); None where all are.
    """

    key: str
    response: bytes
    text: str | None = None
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    thoughts_tokens: int | None = None
    cached_tokens: int | None = None
    tool_tokens: int | None = None
    total_tokens: int | None = None
    model_version: str | None = None
    response_id: str | None = None
    parts: dict[str, int] | None = None

    def usage(self) -> Usage | None:
        """What decides about its price; None where it does not report that."""
        counts = Counts(
            self.prompt_tokens,
            self.output_tokens,
            self.thoughts_tokens,
            self.cached_tokens,
            self.tool_tokens,
            self.total_tokens,
            self.parts,
        )
        return counts.usage()


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """A row's failure, as the service reported it.

    :param status: the canonical status of an error; for an answer that is not a result, its finish or block reason.
    :param usage: what was billed for it, as far as it decides about the price; None where that is not known.
    :param model_version: the model that answered.
    """

    key: str
    reason: Reason
    code: int | None
    status: str | None
    message: str | None
    retryable: bool
    line: bytes
    usage: Usage | None = None
    model_version: str | None = None


class Garbage(msgspec.Struct, frozen=True, gc=False):
    """A line that is not a JSON object, or has no usable key.

    :param key: read with certainty from the intact end of a torn line, else None.
    """

    key: str | None
    message: str
    line: bytes


def classify(line: bytes | LongLine, plain: bool = False) -> Answer | Refusal | Garbage:
    """What one line (without its newline) says, and about which row.

    :param plain: whether it is known to be valid UTF-8. Default: it is not known.
    """
    if isinstance(line, LongLine):
        return Garbage(_certain_key(line.head, line.tail), line.complaint, line.head)
    try:
        answer = _plain_answer(line, plain)
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors: wrong types, and JSON that it does not take
        answer = None
    return answer or _read(line)


# --- the plain answer ------------------------------------------------------------------------------------------------


class _Part(msgspec.Struct, gc=False):
    text: str | None = None
    thought: bool | None = None


class _Content(msgspec.Struct, gc=False):
    parts: list[_Part] | None = None


class _Candidate(msgspec.Struct, rename="camel", gc=False):
    content: _Content | None = None
    finish_reason: str | None = None


class _Embedding(msgspec.Struct, gc=False):
    values: msgspec.Raw = msgspec.Raw()


class _Response(msgspec.Struct, rename="camel", gc=False):
    candidates: list[_Candidate] | None = None
    embedding: _Embedding | None = None
    token_count: int | str | None = None
    usage_metadata: TypedUsage | None = None
    model_version: str | None = None
    response_id: str | None = None


_decode_response = msgspec.json.Decoder(_Response).decode
_decode_key = msgspec.json.Decoder(str).decode


def _plain_answer(line: bytes, plain: bool = False) -> Answer | None:
    """The answer, if the line is of the ordinary kind; None (or a ValueError) if it needs the lenient reader."""
    found = key_and_response(line, 0, len(line))
    if found is None or not (plain or is_utf8(line)):
        return None
    key, raw = found.group("key", "response")
    response = _decode_response(raw)
    if not response.candidates:
        return _plain_embedding(_text_of(key), raw, response)
    candidate = response.candidates[0]
    usage = response.usage_metadata
    # Without these the answer may use snake_case names, and may be cut or blocked.
    if not candidate.finish_reason or usage is None or usage.total_token_count is None:
        return None
    if REASON_BY_FINISH.get(candidate.finish_reason) is not None or candidate.content is None:
        return None
    texts = [part.text for part in candidate.content.parts or () if part.text and not part.thought]
    if not texts:
        return None
    return Answer(
        _text_of(key),
        raw,
        texts[0] if len(texts) == 1 else "".join(texts),
        candidate.finish_reason,
        usage.prompt_token_count,
        usage.candidates_token_count,
        usage.thoughts_token_count,
        usage.cached_content_token_count,
        usage.tool_use_prompt_token_count,
        usage.total_token_count,
        response.model_version or None,
        response.response_id or None,
        usage.parts(),
    )


def _text_of(key: bytes) -> str:
    """What stands between the quotes of a JSON string."""
    return _decode_key(b'"%s"' % key) if b"\\" in key else key.decode()


def _plain_embedding(key: str, raw: bytes, response: _Response) -> Answer | None:
    """An embedding, whose many numbers are not parsed here."""
    tokens = as_count(response.token_count)
    if tokens is None or response.embedding is None or not response.embedding.values:
        return None
    if response.usage_metadata is not None:
        return None
    return Answer(
        key,
        raw,
        prompt_tokens=tokens,
        total_tokens=tokens,
        model_version=response.model_version or None,
        response_id=response.response_id or None,
    )


# --- everything else -------------------------------------------------------------------------------------------------


def _read(line: bytes) -> Answer | Refusal | Garbage:
    try:
        # An invalid byte becomes a lone surrogate here and U+FFFD in the tables; a key with one is not used.
        members = read_members(line.decode("utf-8-sig", "surrogateescape"))
        key = _key(members)
    except RecursionError:
        return Garbage(_certain_key(line), "nested too deeply to be read", line)
    except ValueError as error:
        return Garbage(_certain_key(line), f"not a JSON object: {error}", line)

    if key is None:
        return Garbage(None, "a JSON object without exactly one key that is a string or an integer", line)

    values = {member.name: member.value for member in members}
    said = {name: value for name, value in values.items() if name not in ("key", "metadata", "response")}
    response = values.get("response")
    if (found := _error_beside(values)) is not None:
        beside = read_counts(as_dict(field(as_dict(response), "usageMetadata"))).usage()
        return _refused(key, line, read_bare(said) or found, beside)
    read: Answer | Refusal
    if isinstance(response, dict) and response:
        read = _judge(key, response, next(member.text for member in reversed(members) if member.name == "response"), line)
    else:
        words = "the response is null or empty" if "response" in values else "the line holds neither a response nor an error"
        read = _failed(key, line, Reason.EMPTY, words)
    if isinstance(read, Refusal) and read.reason is Reason.EMPTY and (found := read_bare(said) or _in_place_of(response)):
        return _refused(key, line, found, read.usage)
    return read


def _error_beside(values: dict[str, Any]) -> RowError | None:
    """An error that counts even beside an answer. A member called "status" may be any word ("ARCHIVED")."""
    if error := read_error(values.get("error")) or read_error(values.get("errors")):
        return error
    status = read_error(values.get("status"))
    return status if status is not None and status.is_definite else None


def _in_place_of(response: Any) -> RowError | None:
    """The error in the place of a response: "a response or a status object", says the Batch API page, without showing where."""
    if isinstance(response, dict):
        candidate = as_dict(next(iter(as_list(response.get("candidates"))), None))
        return read_bare(response) or read_error(candidate.get("error"))
    return read_error(response) if isinstance(response, (str, list)) else None


def _judge(key: str, response: dict[str, Any], raw: str, line: bytes) -> Answer | Refusal:
    candidates = as_list(response.get("candidates"))
    candidate = as_dict(candidates[0]) if candidates else {}
    finish_reason = as_text(field(candidate, "finishReason"))
    parts = as_list(as_dict(candidate.get("content")).get("parts"))
    text = "".join([part["text"] for part in parts if isinstance(part, dict) and _is_text(part) and not part.get("thought")])
    embedding = response.get("embedding")
    # Embedding answers report their token count outside of usageMetadata, as an int64 string.
    embedded_tokens = as_count(field(response, "tokenCount")) if embedding else None
    counts = read_counts(as_dict(field(response, "usageMetadata")))
    model_version = as_text(field(response, "modelVersion"))

    def failed(reason: Reason, message: str, status: str | None) -> Refusal:
        """An answer that is not a result has been paid for all the same."""
        return _failed(key, line, reason, message, status, counts.usage(), model_version)

    reason = REASON_BY_FINISH.get(finish_reason or "")
    if reason is not None:
        message = as_text(field(candidate, "finishMessage")) or f"the service ended this answer with {finish_reason}"
        return failed(reason, message, finish_reason)
    if not text and not embedding and not any(_is_other_content(part) for part in parts):
        feedback = as_dict(field(response, "promptFeedback"))
        if block_reason := as_text(field(feedback, "blockReason")):
            message = as_text(field(feedback, "blockReasonMessage")) or f"the service blocked this prompt: {block_reason}"
            return failed(Reason.BLOCKED, message, block_reason)
        return failed(Reason.EMPTY, "an answer without content", finish_reason)

    return Answer(
        key=key,
        response=with_valid_unicode(raw).encode(),
        text=with_valid_unicode(text) or None,
        finish_reason=finish_reason,
        prompt_tokens=embedded_tokens if counts.prompt is None else counts.prompt,
        output_tokens=counts.output,
        thoughts_tokens=counts.thoughts,
        cached_tokens=counts.cached,
        tool_tokens=counts.tool,
        total_tokens=embedded_tokens if counts.total is None else counts.total,
        model_version=model_version,
        response_id=as_text(field(response, "responseId")),
        parts=counts.parts,
    )


def _refused(key: str, line: bytes, error: RowError, usage: Usage | None = None) -> Refusal:
    retryable = is_retryable(Reason.REQUEST_ERROR, error.code, error.status)
    status = status_of(error.code, error.status)
    # "If your request fails with a 400 or 500 error, you won't be charged for the tokens used" (ai.google.dev, billing).
    return Refusal(key, Reason.REQUEST_ERROR, error.code, status, error.message, retryable, line, usage or NOTHING)


def _failed(
    key: str,
    line: bytes,
    reason: Reason,
    message: str,
    status: str | None = None,
    usage: Usage | None = None,
    model_version: str | None = None,
) -> Refusal:
    return Refusal(key, reason, None, status, message, is_retryable(reason), line, usage, model_version)


def _key(members: list[Member]) -> str | None:
    """The row's key: on top in file jobs, in ``metadata`` in inline jobs; None where it is not one string.

    Every key that was sent is a string. A JSON integer is read as its digits, which are exact. Another type cast to text, or one
    of two different keys, could be the key of another row.
    """
    keys = [_key_value(member) for member in members if member.name == "key"]
    for member in members:
        if member.name == "metadata" and isinstance(member.value, dict):
            keys += [_key_value(inner) for inner in read_members(member.text) if inner.name == "key"]
    found = {repr(key): key for key in keys if key is not None}
    key = found.popitem()[1] if len(found) == 1 else None
    # No key that was sent holds a lone surrogate, and replacing it could turn it into one that was.
    return key if isinstance(key, str) and with_valid_unicode(key) == key else None


_INTEGER = re.compile(r"0|-?[1-9][0-9]*")


def _key_value(member: Member) -> Any:
    return member.text if _INTEGER.fullmatch(member.text) else member.value


_HEAD_KEY = re.compile(rb'\s*\{\s*"key"\s*:\s*("(?:[^"\\]|\\.)*")\s*,')
_TAIL_KEY = re.compile(rb',\s*"key"\s*:\s*("(?:[^"\\]|\\.)*")\s*\}\s*')


def _certain_key(line: bytes, tail: bytes | None = None) -> str | None:
    """The key of a line that was not read, whose beginning ``{"key":"…",`` or end ``,"key":"…"}`` is intact.

    Quotes inside of a JSON string are escaped, so text written by the model cannot look like that. A line that shows two
    keys identifies neither. The key is only used for the message of a row that has no other line.

    :param tail: the end of the line, where ``line`` is only its beginning.
    """
    found = set()
    if at_head := _HEAD_KEY.match(line):
        found.add(at_head[1])
    tail = line if tail is None else tail
    start = tail.rfind(b",", 0, max(tail.rfind(b'"key"'), 0))
    if start >= 0 and (at_tail := _TAIL_KEY.fullmatch(tail, start)):
        found.add(at_tail[1])
    if len(found) != 1:
        return None
    try:
        return msgspec.json.decode(found.pop(), type=str)
    except ValueError:
        return None


def _is_text(part: dict[str, Any]) -> bool:
    return isinstance(part.get("text"), str)


#: Members of a part that describe it and are not content themselves.
_NOT_CONTENT = {"text", "thought", "thoughtSignature", "thought_signature", "partMetadata", "part_metadata", "videoMetadata"}


def _is_other_content(part: Any) -> bool:
    """Whether a part holds something other than text: a function call, media, code, or a kind that is not known yet."""
    if not isinstance(part, dict) or part.get("thought"):
        return False
    return any(value is not None for name, value in part.items() if name not in _NOT_CONTENT)
