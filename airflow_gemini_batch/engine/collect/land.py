"""A shard's output lines become its part of the two tables.

Answers are streamed once, in any order, and joined by key. Unanswered rows are then written to dead_letter in input order, each
with the request that was sent, so that it can be resubmitted. Two rules must not be relaxed:

a row is in ``results`` or in ``dead_letter``, in one of them, once, whatever the lines contain, and
repeating the landing gives the same parts: it reads only what the run holds.

Memory holds the keys of one shard and some megabytes of lines, never the output.
"""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone

import msgspec
import numpy as np
import pyarrow as pa

from airflow_gemini_batch.engine.arrow import columns
from airflow_gemini_batch.engine.collect.billing import Billing
from airflow_gemini_batch.engine.collect.found import Found, found_answers
from airflow_gemini_batch.engine.costs.usage import NOTHING
from airflow_gemini_batch.engine.options import MediaTo
from airflow_gemini_batch.engine.printable import printable
from airflow_gemini_batch.engine.reasons import Reason, is_retryable
from airflow_gemini_batch.engine.response.answer_columns import responses_of
from airflow_gemini_batch.engine.response.extras import Extras, extra_columns
from airflow_gemini_batch.engine.response.joining import ANSWERED, AWAITED, NOT_SENT, Join
from airflow_gemini_batch.engine.response.lines import LongLine, OutputLines, open_output
from airflow_gemini_batch.engine.response.model_status import warn_of_retirement
from airflow_gemini_batch.engine.response.responses import Answer, Refusal, classify
from airflow_gemini_batch.engine.run.layout import Manifest, Run, Shard
from airflow_gemini_batch.engine.run.ledger import Landed, Ledger
from airflow_gemini_batch.engine.run.repeats import keys_of
from airflow_gemini_batch.engine.run.request_lines import RequestLines
from airflow_gemini_batch.engine.run.shard_inputs import Inputs, open_inputs
from airflow_gemini_batch.engine.run.tables import TOKEN_COLUMNS, PartWriter, dead_letter_schema, part_metadata, results_schema

log = logging.getLogger(__name__)

#: Dead letters are turned into columns once this many bytes have been collected.
_BATCH_BYTES = 8 << 20


class Ending(msgspec.Struct, frozen=True):
    """How a shard's job ended, which decides about the rows that its output does not answer.

    :param job: the job's name; None for a shard without a request, which became no job.
    :param reason: MISSING when the job succeeded, else JOB_FAILED, JOB_EXPIRED or JOB_CANCELLED.
    :param retryable: whether such rows may be resubmitted; None: decided by reason and code.
    :param ended_at: becomes ``failed_at``; None: the current time.
    :param created_at: of the job: the prices of that day count. None: those of the day when the run was built.
    """

    job: str | None
    reason: Reason = Reason.MISSING
    code: int | None = None
    status: str | None = None
    message: str | None = None
    retryable: bool | None = None
    ended_at: datetime | None = None
    created_at: datetime | None = None


def land(
    run: Run,
    shard: Shard,
    ending: Ending,
    *,
    keep_response: bool = True,
    media_to: MediaTo = "column",
    manifest: Manifest | None = None,
    inputs: Inputs | None = None,
    refused: Mapping[str, str] | None = None,
) -> Landed:
    """Write the shard's part of both tables from the output lines that the run holds.

    :param keep_response: whether the results keep each raw answer.
    :param media_to: whether media go into the results, or into files beside them.
    :param manifest, inputs: the run's and the shard's, where they have been read already.
    :param refused: the rows that the service refused to take, with its words. Default: read from the ledger.

    Raises CorruptRunError when the shard's inputs or requests are absent or were changed.
    """
    media_folder = run.media_folder(shard.id)
    manifest = manifest or run.built()
    metadata = part_metadata(manifest)
    extras = extra_columns(manifest.request, media_folder=media_folder if media_to == "files" else None)
    # Its presence means that both parts are whole and belong together, so it goes before they are replaced.
    run.landed_file(shard.id).delete()
    if any(column.name == "media" for column in extras.columns):
        media_folder.delete()
    with _opened(run, shard, inputs) as inputs, open_output(run, shard) as output:
        join = Join(inputs.numbers, inputs.rows)
        billing = Billing.of(manifest, shard, ending.created_at, ending.ended_at)
        origin = _Origin(shard, inputs, manifest.repeats)
        results = _ResultsTable(origin, ending, inputs, extras, keep_response, billing)
        with PartWriter(run.results_part(shard.id), results.schema, metadata) as part:
            for found in found_answers(output, join, inputs, extras):
                part.write(results.batch(found, join))
        dead_letter = _DeadLetterTable(origin, ending, inputs, billing)
        reasons = _Reasons(
            ending, str(run.responses_file(shard.id)), extras, Ledger(run).refused(shard.id) if refused is None else refused
        )
        with (
            PartWriter(run.dead_letter_part(shard.id), dead_letter.schema, metadata) as part,
            RequestLines(run.requests_file(shard.id)) as requests,
        ):
            for batch in _dead_letters(output, join, inputs, requests, reasons):
                part.write(dead_letter.batch(batch))
        _write_aside(run, shard, output, join)
    landed = Landed(
        number=shard.number,
        attempt=shard.attempt,
        job=ending.job,
        rows=results.rows + dead_letter.rows,
        results=results.rows,
        dead_letter=dead_letter.rows,
        reasons=dict(sorted(dead_letter.reasons.items())),
        aside=dict(join.aside),
        tokens=results.tokens,
        keep_response=keep_response,
        media_to=media_to,
        cost=billing.total(),
    )
    run.landed_file(shard.id).write(msgspec.json.encode(landed))
    return landed


def _opened(run: Run, shard: Shard, inputs: Inputs | None) -> contextlib.AbstractContextManager[Inputs]:
    return open_inputs(run, shard) if inputs is None else contextlib.nullcontext(inputs)


# --- deciding about each row ----------------------------------------------------------------------------------------------


class _DeadLetter(msgspec.Struct, gc=False):
    """A row without a result. ``request`` is None when nothing was sent, ``line`` when no line was received."""

    number: int
    refusal: Refusal
    request: bytes | None
    line: bytes | LongLine | None


def _dead_letters(
    output: OutputLines, join: Join, inputs: Inputs, requests: RequestLines, reasons: _Reasons
) -> Iterator[list[_DeadLetter]]:
    """The rows without a result, in input order, some megabytes at a time."""
    for position, (start, batch) in enumerate(zip(inputs.starts, inputs.batches, strict=True)):
        states = join.state[start : start + batch.num_rows]
        left: list[int] = np.flatnonzero(np.frombuffer(states, np.uint8) != ANSWERED).tolist()
        if not left:
            requests.skip(len(states))
            continue
        keys, problems = inputs.keys(position), inputs.problems(position)
        batch_rows: list[_DeadLetter] = []
        size = passed = 0
        for place in left:
            requests.skip(place - passed)
            passed = place + 1
            number, key, state = start + place, keys[place], states[place]
            request = None if state == NOT_SENT else requests.next(key)
            line = output.line(join.line_at[number]) if state not in (NOT_SENT, AWAITED) else None
            row = _DeadLetter(number, reasons.of(state, key, line, problems[place]), request, line)
            weight = len(request or b"") + len(line if isinstance(line, bytes) else b"") + inputs.row_bytes[position]
            if batch_rows and size + weight > _BATCH_BYTES:
                yield batch_rows
                batch_rows, size = [], 0
            batch_rows.append(row)
            size += weight
        requests.skip(len(states) - passed)
        yield batch_rows


@dataclass(frozen=True, slots=True)
class _Reasons:
    """Why a row has no result.

    :param refused: key -> what the service said when it refused to take the row.
    :param output: where the run keeps the output.
    """

    ending: Ending
    output: str
    extras: Extras
    refused: Mapping[str, str]

    def of(self, state: int, key: str, line: bytes | LongLine | None, problem: str | None) -> Refusal:
        """
        :param state: what the join knows of the row.
        :param line: its line of the output, where there is one.
        :param problem: why no request was made of it.
        """
        if state == NOT_SENT:
            return msgspec.structs.replace(_refusal(key, Reason.INVALID_INPUT, problem or ""), usage=NOTHING)
        if line is not None:
            return self._of_line(key, line)
        if key in self.refused:
            return Refusal(key, Reason.INVALID_INPUT, 400, "INVALID_ARGUMENT", self.refused[key], False, b"", NOTHING)
        return self._unanswered(key)

    def _unanswered(self, key: str) -> Refusal:
        ending = self.ending
        retryable = ending.retryable
        if retryable is None:
            retryable = is_retryable(ending.reason, ending.code, ending.status)
        message = ending.message or f"{ending.job} ended without a line for this row"
        return Refusal(key, ending.reason, ending.code, ending.status, message, retryable, b"")

    def _of_line(self, key: str, line: bytes | LongLine) -> Refusal:
        if isinstance(line, LongLine):
            # Not retryable: it was paid for, lies whole in the run, and the next answer would be as long.
            message = f"the line of this row is {line.complaint}; it is kept in {self.output}"
            return Refusal(key, Reason.MALFORMED_LINE, None, None, message, False, b"")
        read = classify(line)
        if isinstance(read, Refusal):
            return read
        if isinstance(read, Answer):
            refusal = _refusal(key, Reason.INVALID_OUTPUT, self.extras.complaint(read) or "", read.finish_reason)
            return msgspec.structs.replace(refusal, usage=read.usage(), model_version=read.model_version)
        return _refusal(key, Reason.MALFORMED_LINE, f"the line of this row is torn: {read.message}")


def _refusal(key: str, reason: Reason, message: str, status: str | None = None) -> Refusal:
    return Refusal(key, reason, None, status, message, is_retryable(reason), b"")


def _write_aside(run: Run, shard: Shard, output: OutputLines, join: Join) -> None:
    """Keep the lines that decide about no row, as received."""
    file = run.aside_file(shard.id)
    if not join.aside_at:
        file.delete()
        return
    with file.writing() as aside:
        for at in join.aside_at:
            output.copy_line(at, aside)


# --- rows as columns ---------------------------------------------------------------------------------------------------


class _ResultsTable:
    """Makes batches of the results table, and counts what it makes."""

    def __init__(
        self, origin: _Origin, ending: Ending, inputs: Inputs, extras: Extras, keep_response: bool, billing: Billing
    ) -> None:
        self.schema = results_schema(inputs.carry, extra=extras.fields, keep_response=keep_response)
        self.rows = 0
        self.tokens = dict.fromkeys(TOKEN_COLUMNS, 0)
        self._origin = origin
        self._job = ending.job
        self._extras = extras
        self._billing = billing

    def batch(self, found: Found, join: Join) -> pa.RecordBatch:
        """The rows of the answers that match what was asked for, such as a schema; the others become dead letters."""
        extra, problems = self._extras.read(found.answers)
        for place in problems:
            join.refuse(found.numbers[place], found.starts[place])
        if problems:
            found = found.without(problems)
        content = found.answers
        if len(content) and self.rows == 0:
            warn_of_retirement(responses_of(content["response"].slice(0, 1))[0])
        own = {
            **extra,
            "paid_by": pa.nulls(len(content), pa.string()),
            "reused_from": pa.nulls(len(content), pa.string()),
            "job": columns.constant_string(self._job, len(content)),
            "cost_usd": self._billing.of_answers(content),
        }
        for name in ("text", "finish_reason", *TOKEN_COLUMNS, "model_version", "response_id", "response"):
            own[name] = content[name]
        for name in TOKEN_COLUMNS:
            if own[name].null_count < len(content):
                self.tokens[name] += sum(filter(None, own[name].to_pylist()))
        self.rows += len(content)
        return self._origin.batch(found.numbers, own, self.schema)


class _DeadLetterTable:
    """Makes batches of the dead-letter table, and counts what it makes."""

    def __init__(self, origin: _Origin, ending: Ending, inputs: Inputs, billing: Billing) -> None:
        self.schema = dead_letter_schema(inputs.carry)
        self._billing = billing
        self.rows = 0
        self.reasons: Counter[str] = Counter()
        self._origin = origin
        self._job = ending.job
        self._failed_at = ending.ended_at or datetime.now(timezone.utc)

    def batch(self, dead_letters: list[_DeadLetter]) -> pa.RecordBatch:
        content = [row.refusal for row in dead_letters]
        own = {
            "reason": columns.strings([refusal.reason.value for refusal in content]),
            "code": columns.int32s([refusal.code for refusal in content]),
            "status": columns.strings([refusal.status and printable(refusal.status) for refusal in content]),
            "message": columns.strings([refusal.message and printable(refusal.message) for refusal in content]),
            "retryable": columns.bools([refusal.retryable for refusal in content]),
            "request": columns.utf8([row.request for row in dead_letters]),
            "response": columns.utf8([_line_text(row.line) for row in dead_letters]),
            "cost_usd": columns.doubles([self._billing.of_refusal(row.refusal, row.line) for row in dead_letters]),
            "paid_by": pa.nulls(len(dead_letters), pa.string()),
            "job": columns.strings([None if row.request is None else self._job for row in dead_letters]),
            "failed_at": columns.constant_time(self._failed_at, len(dead_letters)),
        }
        self.rows += len(dead_letters)
        self.reasons.update(refusal.reason.value for refusal in content)
        return self._origin.batch([row.number for row in dead_letters], own, self.schema)


class _Origin:
    """Adds to a batch the columns of both tables that say where a row came from."""

    def __init__(self, shard: Shard, inputs: Inputs, repeats: int) -> None:
        self._shard = shard
        self._inputs = inputs
        self._repeats = repeats

    def batch(self, numbers: list[int], own: dict[str, pa.Array], schema: pa.Schema) -> pa.RecordBatch:
        """``own`` beside the key and the carried columns of the rows, in the order of ``schema``. ``numbers`` ascend."""
        rows = self._inputs.take(numbers)
        carried = dict(zip(rows.schema.names, rows.columns, strict=True))
        if self._repeats > 1:
            carried["key"] = keys_of(carried["key"])
        placed = {
            "shard": columns.constant_int32(self._shard.number, len(numbers)),
            "attempt": columns.constant_int32(self._shard.attempt, len(numbers)),
        }
        named = {**carried, **placed, **own}
        return pa.RecordBatch.from_arrays([named[name] for name in schema.names], schema=schema)


def _line_text(line: bytes | LongLine | None) -> bytes | None:
    """The line as UTF-8, which Arrow strings must be; the bytes as received stay in the run's responses file, and so does all
    of a line that is too long.
    """
    if isinstance(line, LongLine):
        return None
    if line is None or line.isascii():
        return line
    return line.decode(errors="replace").encode()
