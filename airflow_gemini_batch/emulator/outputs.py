"""One request of a job answered: the line that the service would write for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from airflow_gemini_batch.emulator.answers.embedding import embed_content
from airflow_gemini_batch.emulator.answers.reading import complaint_about_values, file_uris
from airflow_gemini_batch.emulator.answers.response import generate_content
from airflow_gemini_batch.emulator.intake import InputRow
from airflow_gemini_batch.emulator.jobs import Job
from airflow_gemini_batch.emulator.refusals import file_forbidden_message
from airflow_gemini_batch.emulator.spelling import Json

#: gRPC codes of a row's error.
INVALID_ARGUMENT = 3
PERMISSION_DENIED = 7


@dataclass(slots=True)
class OutputRow:
    """A row on its way into the output; faults may still change every part of it."""

    line: int
    key: str | None
    metadata: Any
    outcome: Json
    """`{"response": …}`, `{"error": …}` or whatever a fault made of it."""


class Clerk:
    """Answers the requests of one job."""

    def __init__(self, job: Job, is_readable: Callable[[str], bool]) -> None:
        self._model = job.model
        self._embeds = job.kind in ("embed", "openai-embed")
        self._is_readable = is_readable

    def answer(self, row: InputRow) -> OutputRow:
        return OutputRow(row.line, row.key, row.metadata, self._outcome(row.request))

    def _outcome(self, request: Json) -> Json:
        """A request that is well-formed but makes no sense fails alone, with the gRPC code in its row."""
        complaint = complaint_about_values(request, embeds=self._embeds)
        if complaint is not None:
            return {"error": {"code": INVALID_ARGUMENT, "message": complaint}}
        for uri in file_uris(request):
            if not self._is_readable(uri):
                message = file_forbidden_message(uri.rpartition("files/")[2])
                return {"error": {"code": PERMISSION_DENIED, "message": message}}
        if self._embeds:
            return {"response": embed_content(request, self._model, in_batch=True)}
        return {"response": generate_content(request, self._model)}
