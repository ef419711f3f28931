"""The columns that a run's request adds to the results, between ``text`` and ``finish_reason``.

They follow from the request alone, as the manifest keeps it: all parts of a run have the same ones, whatever is in an answer, and
landing needs nothing but the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from airflow_gemini_batch.engine.arrow import columns
from airflow_gemini_batch.engine.response.embeddings import EmbeddingColumn
from airflow_gemini_batch.engine.response.media import MediaColumn
from airflow_gemini_batch.engine.response.responses import Answer
from airflow_gemini_batch.engine.response.structured import ParsedColumn
from airflow_gemini_batch.engine.response.tools import CITATIONS, FUNCTION_CALLS, GROUNDING, THOUGHTS
from airflow_gemini_batch.engine.run.storage import Location

#: Where one of these stands in the manifest's request, what a row asks for is the row's own affair.
_OPEN = {"config_column", "column", "callable"}

#: Position in a batch -> why that answer is no result.
Problems = dict[int, str]


class ExtraColumn(Protocol):
    """One more column of the results."""

    @property
    def name(self) -> str: ...

    @property
    def type(self) -> pa.DataType: ...

    def read(self, answers: Sequence[Answer]) -> tuple[pa.Array, Problems]:
        """One value an answer, null for those with a problem. What it says of an answer depends on no other."""
        ...


def extra_columns(request: dict[str, Any], *, media_folder: Location | None = None) -> Extras:
    """The extra columns of a run whose manifest holds this request, in the order of the table.

    :param media_folder: receives media as files; None: they go into the column.
    """
    if "embed_request" in request:
        return Extras((EmbeddingColumn.of(request),))
    if request.get("format") == "openai":
        return Extras((FUNCTION_CALLS, THOUGHTS))
    found: list[ExtraColumn] = []
    if "response_schema" in request:
        found.append(ParsedColumn.of(request))
    asked = request.get("request", {})
    config = asked.get("generation_config", {})
    tools = [name for tool in asked.get("tools", ()) for name in tool]
    # The columns are there for whatever it may be.
    any_row = not _OPEN.isdisjoint(request)
    if any_row or not {"TEXT", *config.get("response_modalities", ())} <= {"TEXT"}:
        found.append(MediaColumn(media_folder))
    if any_row or any(name != "function_declarations" for name in tools):
        found += [GROUNDING, CITATIONS]
    if any_row or "function_declarations" in tools:
        found.append(FUNCTION_CALLS)
    if any_row or config.get("thinking_config", {}).get("include_thoughts"):
        found.append(THOUGHTS)
    return Extras(tuple(found))


@dataclass(frozen=True, slots=True)
class Extras:
    columns: tuple[ExtraColumn, ...] = ()

    @property
    def fields(self) -> tuple[pa.Field, ...]:
        return tuple(pa.field(column.name, column.type) for column in self.columns)

    def read(self, answers: Sequence[Answer]) -> tuple[dict[str, pa.Array], Problems]:
        """The columns of the answers that have no problem, and the problems of the others."""
        arrays: dict[str, pa.Array] = {}
        problems: Problems = {}
        for column in self.columns:
            arrays[column.name], found = column.read(answers)
            problems = {**found, **problems}
        if problems:
            good = columns.bools([row not in problems for row in range(len(answers))])
            arrays = {name: array.filter(good) for name, array in arrays.items()}
        return arrays, problems

    def complaint(self, answer: Answer) -> str | None:
        """Why one answer is no result; None where it is one."""
        return self.read([answer])[1].get(0)
