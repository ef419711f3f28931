"""Reading a job's input file. All lines are checked when the job is created, and one error lists all invalid ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_gemini_batch.emulator.answers.request import BYTES_PER_TOKEN
from airflow_gemini_batch.emulator.http import refusals
from airflow_gemini_batch.emulator.http.bodies import TOO_DEEP, from_json
from airflow_gemini_batch.emulator.http.request_fields import line_error, request_of
from airflow_gemini_batch.emulator.proto_json import Json

#: The request message of each kind of job.
REQUEST_MESSAGE = {
    "generate": "GenerateContentRequest", "openai-generate": "GenerateContentRequest",
    "embed": "EmbedContentRequest", "openai-embed": "EmbedContentRequest",
}  # fmt: skip

#: At most this many invalid lines are listed, so that the error stays small.
_MAX_ERRORS = 1000


@dataclass(frozen=True, slots=True)
class InputTotals:
    """The size of a valid input."""

    requests: int
    tokens: int


@dataclass(frozen=True, slots=True)
class InputRow:
    """One request of a job. `line` is its line number in the file, from 1; blank lines count."""

    line: int
    key: str | None
    request: Json
    metadata: Any = None


def check(path: Path, kind: str) -> InputTotals:
    """Counts the requests and tokens of an input file. Raises a Refusal that lists its invalid lines."""
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
    """The requests of an input that has passed `check`."""
    for number, text in enumerate(lines, 1):
        if text := text.strip():
            line = from_json(text)
            metadata = line.get("metadata")
            key = line.get("key", metadata.get("key") if isinstance(metadata, dict) else None)
            yield InputRow(number, key, request_of(line) or {}, metadata)


def _line_error(text: bytes, message: str) -> str | None:
    """`COLUMN: problem` for an invalid line, None for a valid one."""
    try:
        line = from_json(text)
    except ValueError as error:
        return f"{_column_of(error)}: {error}"
    if not isinstance(line, dict):
        return "1: a line must be a JSON object"
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
    """The column after the field's name, which is the one that the service's parser reports."""
    name = f'"{field}"'.encode("utf-8", "replace")
    return text.find(name) + len(name) + 1


def _column_of(error: ValueError) -> int:
    return int(getattr(error, "colno", 1))
