"""AnswerFunction single requests of a job with what the service would write to the output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from airflow_gemini_batch.emulator.answers.embeddings import embed_content
from airflow_gemini_batch.emulator.answers.request import value_error
from airflow_gemini_batch.emulator.answers.response import generate_content
from airflow_gemini_batch.emulator.answers.structured import SchemaRefused
from airflow_gemini_batch.emulator.batches.input_file import InputRow
from airflow_gemini_batch.emulator.batches.jobs import Job, answered_at
from airflow_gemini_batch.emulator.http import refusals
from airflow_gemini_batch.emulator.http.refusals import Refusal
from airflow_gemini_batch.emulator.models.references import References
from airflow_gemini_batch.emulator.proto_json import Json
from airflow_gemini_batch.emulator.service import AnswerFunction

#: gRPC code of a row's error, by the status that the same refusal has in an HTTP answer.
_CODES = {"INVALID_ARGUMENT": 3, "PERMISSION_DENIED": 7, "FAILED_PRECONDITION": 9}


@dataclass(slots=True)
class OutputRow:
    """A row before it is written to the output. Faults may still change it."""

    line: int
    key: str | None
    metadata: Any
    outcome: Json
    """`{"response": …}` or `{"error": …}`, unless a fault has changed it."""


class RowAnswerer:
    """AnswerFunction the requests of one job."""

    def __init__(self, job: Job, references: References, now: int, answers: AnswerFunction) -> None:
        self._job = job
        self._model = job.model
        self._embeds = job.kind in ("embed", "openai-embed")
        self._references = references
        self._now = now
        self._answers = answers

    def answer(self, index: int, row: InputRow) -> OutputRow:
        """`index` is the number of the request in the job, from 0."""
        outcome = self._outcome(row.request, answered_at(self._job, index, self._now), f"{self._job.name} {index}")
        return OutputRow(row.line, row.key, row.metadata, outcome)

    def _outcome(self, request: Json, moment: int, answer: str) -> Json:
        """A well-formed request with an invalid value fails alone, with a gRPC code in its row."""
        complaint = value_error(request, embeds=self._embeds)
        if complaint is not None:
            return _refused(refusals.invalid_argument(complaint))
        refusal = self._references.refusal_for(request, self._job.project, self._model, moment)
        if refusal is not None:
            return _refused(refusal)
        if self._embeds:
            return {"response": embed_content(request, self._model, in_batch=True)}
        try:
            return {"response": generate_content(request, self._model, answer=answer, own=self._answers(request))}
        except SchemaRefused as error:
            return _refused(refusals.invalid_argument(str(error)))


def _refused(refusal: Refusal) -> Json:
    return {"error": {"code": _CODES[refusal.body["error"]["status"]], "message": str(refusal)}}
