"""Small shards without files: the requests are sent inside the create call, the answers come inside the operation.

Both are converted to the form of the files at once, so one ledger, one parser and one pair of tables serve all jobs. Every token
of an answer stays as the service wrote it; only white space between tokens is removed, because a line holds one answer.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from airflow_gemini_batch.engine.errors import InputError, OutcomeUnknownError
from airflow_gemini_batch.engine.gemini.jobs import parse_job
from airflow_gemini_batch.engine.json.lenient import as_dict, as_list, field, read_any
from airflow_gemini_batch.engine.options import Transport
from airflow_gemini_batch.engine.run.layout import Shard

#: The service takes less than 20 MB inline (Batch API page); keys and brackets around each request need some of it.
MAX_INLINE_BYTES = 18_000_000

#: ``auto`` goes inline up to here: above it, the answers would make every fetch of a finished job expensive.
AUTO_INLINE_BYTES = 2_000_000


def goes_inline(shard: Shard, transport: Transport) -> bool:
    """Whether this shard has no input file. Raises InputError when it should have none and is too large for that."""
    if transport == "inline" and shard.bytes > MAX_INLINE_BYTES:
        raise InputError(
            f"Shard {shard.id} has {shard.bytes / 1e6:.1f} MB of requests; an inline job holds under 20 MB. Nothing was sent. "
            f"Use transport='auto' or 'file', or start over with max_shard_bytes={MAX_INLINE_BYTES}."
        )
    return transport == "inline" or (transport == "auto" and shard.bytes <= AUTO_INLINE_BYTES)


def inline_requests(requests: bytes) -> list[dict[str, Any]]:
    """The lines of a request file as the create call takes them."""
    return [_inlined(json.loads(line)) for line in requests.split(b"\n") if line]


def inline_answers(operation: bytes, job: str, *, ended_well: bool = True, believe_none: bool = False) -> list[bytes]:
    """The answers in a finished operation, each on one line, as in an output file.

    :param job: the job's name, which the operation must have.
    :param ended_well: whether there must be some.
    :param believe_none: whether an operation without answers is believed. It is one JSON object, so it arrived whole; but it must
        say itself that the job has succeeded.

    Raises OutcomeUnknownError when it holds none and must: the service has been seen to give them later than the state.
    """
    answers = _answers(operation, job)
    if not answers and ended_well and not (believe_none and _says_success(operation)):
        raise OutcomeUnknownError(f"{job} has succeeded, but the service does not return its answers.")
    return [_on_one_line(answer) for answer in answers]


def _says_success(operation: bytes) -> bool:
    job = parse_job(as_dict(read_any(operation)))
    return job.ended_well and job.error_code is None


def _inlined(line: dict[str, Any]) -> dict[str, Any]:
    return {"request": line["request"], "metadata": {"key": line["key"]}}


def _on_one_line(answer: bytes) -> bytes:
    if b"\n" not in answer:
        return answer
    try:
        return msgspec.json.format(answer, indent=-1)
    except msgspec.MsgspecError:
        return answer.replace(b"\n", b" ")


class _Rows(msgspec.Struct, rename="camel"):
    inlined_responses: list[msgspec.Raw] = []


class _Output(msgspec.Struct, rename="camel"):
    inlined_responses: _Rows | None = None
    inlined_embed_content_responses: _Rows | None = None


class _Metadata(msgspec.Struct):
    output: _Output | None = None


class _Operation(msgspec.Struct):
    name: str = ""
    metadata: _Metadata | None = None
    response: _Output | None = None


def _answers(operation: bytes, job: str) -> list[bytes]:
    """Both places hold the output; either may be left out."""
    try:
        read = msgspec.json.decode(operation, type=_Operation)
    except (ValueError, RecursionError):
        return _read_leniently(operation, job)
    _require_name(read.name, job)
    for output in (read.metadata.output if read.metadata else None, read.response):
        for rows in (output.inlined_responses, output.inlined_embed_content_responses) if output else ():
            if rows is not None and rows.inlined_responses:
                return [bytes(row) for row in rows.inlined_responses]
    return _read_leniently(operation, job)


def _require_name(found: object, job: str) -> None:
    if found != job:
        raise OutcomeUnknownError(f"The service was asked for {job} and answered with {str(found)[:100] or 'no job'!r}.")


def _read_leniently(operation: bytes, job: str) -> list[bytes]:
    """For what only a lenient parser takes, such as lone surrogates and NaN, and for other spellings."""
    try:
        content = as_dict(read_any(operation))
    except (ValueError, RecursionError) as error:
        raise OutcomeUnknownError(f"The service answered with {len(operation)} bytes that are not readable JSON.") from error
    _require_name(content.get("name"), job)
    for output in (as_dict(as_dict(content.get("metadata")).get("output")), as_dict(content.get("response"))):
        for name in ("inlinedResponses", "inlinedEmbedContentResponses"):
            rows = field(output, name)
            if rows := as_list(field(rows, "inlinedResponses") if isinstance(rows, dict) else rows):
                return [json.dumps(row).encode() for row in rows]
    return []
