"""The columns that a run's request adds to the results, between ``text`` and ``finish_reason``.

They follow from the request alone, as the manifest keeps it: all parts of a run have the same ones, whatever is in an answer, and
landing needs nothing but the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from airflow_gemini_batch.engine import columns
from airflow_gemini_batch.engine.embeddings import EmbeddingColumn
from airflow_gemini_batch.engine.responses import Answer
from airflow_gemini_batch.engine.structured import ParsedColumn

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


def extra_columns(request: dict[str, Any]) -> Extras:
    """The extra columns of a run whose manifest holds this request."""
    found: list[ExtraColumn] = []
    if "embed_request" in request:
        found.append(EmbeddingColumn.of(request))
    if "response_schema" in request:
        found.append(ParsedColumn.of(request))
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
