"""Reading a job's input: every line is looked at when the job is created, and all bad ones are named at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_gemini_batch.emulator.http import refusals
from airflow_gemini_batch.emulator.http.bodies import TOO_DEEP, from_json
from airflow_gemini_batch.emulator.http.request_fields import line_error, request_of
from airflow_gemini_batch.emulator.proto_json import Json

#: The request message of each kind of job.
REQUEST_MESSAGE = {
    "generate": "GenerateContentRequest", "openai-generate": "GenerateContentRequest",
    "embed": "EmbedContentRequest", "openai-embed": "EmbedContentRequest",
}  # fmt: skip

#: A file of nothing but bad lines is not told about in full: an answer has to stay an answer.
_MAX_ERRORS = 1000

#: Plausible, not true: English text has about four bytes a token.
BYTES_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class InputTotals:
    """What a good input holds."""

    requests: int
    tokens: int


@dataclass(frozen=True, slots=True)
class InputRow:
    """One request of a job. `line` counts all lines of the file from 1, blank ones too."""

    line: int
    key: str | None
    request: Json
    metadata: Any = None


def check(path: Path, kind: str) -> InputTotals:
    """Counts the requests of an input file, or raises the refusal that lists its bad lines."""
    message = REQUEST_MESSAGE[kind]
    errors: list[str] = []
    requests = size = 0
    with path.open("rb") as lines:
        for number, text in enumerate(lines, 1):
            if not (text := text.strip()):
                continue
            problem = _line_error(text, message)
            if problem is not None and len(errors) < _MAX_ERRORS:
                errors.append(f"Error on line {number}: invalid JSON, near column {problem}")
            requests += 1
            size += len(text)
    if errors:
        raise refusals.invalid_argument("\n".join(errors))
    if not requests:
        raise refusals.invalid_argument("The input file has no requests.")
    return InputTotals(requests, size // BYTES_PER_TOKEN)


def read_rows(lines: Iterable[bytes]) -> Iterator[InputRow]:
    """The requests of an input that has been checked."""
    for number, text in enumerate(lines, 1):
        if text := text.strip():
            line = from_json(text)
            metadata = line.get("metadata")
            key = line.get("key", metadata.get("key") if isinstance(metadata, dict) else None)
            yield InputRow(number, key, request_of(line) or {}, metadata)


def _line_error(text: bytes, message: str) -> str | None:
    """`COLUMN: what is wrong` for a bad line, None for a good one."""
    try:
        line = from_json(text)
    except ValueError as error:
        return f"{_column_of(error)}: {error}"
    if not isinstance(line, dict):
        return "1: a line is a JSON object"
    try:
        problem = line_error(line, message)
    except RecursionError:
        problem = TOO_DEEP
    if problem is None:
        return None
    _, quoted, rest = problem.partition(" field")
    field = rest.partition("'")[2].rpartition("'")[0]
    return f"{_column(text, field) if quoted and field else 1}: {problem}"


def _column(text: bytes, field: str) -> int:
    """Just behind the field's name, which is where the service's parser stands when it gives up."""
    name = f'"{field}"'.encode("utf-8", "replace")
    return text.find(name) + len(name) + 1


def _column_of(error: ValueError) -> int:
    return int(getattr(error, "colno", 1))
