"""Reads the columns that a run's request adds to the results; ``shapes.extra_fields`` decides which they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from airflow_gemini_batch.engine.arrow import columns
from airflow_gemini_batch.engine.response.answer_blocks import AnswersReader
from airflow_gemini_batch.engine.response.answer_columns import Answers
from airflow_gemini_batch.engine.response.embeddings import EmbeddingColumn
from airflow_gemini_batch.engine.response.media import GeneratedMediaColumn
from airflow_gemini_batch.engine.response.parsed_texts import ParsedTexts
from airflow_gemini_batch.engine.response.responses import Answer
from airflow_gemini_batch.engine.response.structured import ParsedColumn, Problems
from airflow_gemini_batch.engine.response.tools import (
    CITATIONS,
    CODE_EXECUTION,
    FUNCTION_CALLS,
    GROUNDING,
    THOUGHTS,
    URL_CONTEXT,
)
from airflow_gemini_batch.engine.run.storage import Location
from airflow_gemini_batch.engine.shapes.extra_fields import extra_fields


class ExtraColumn(Protocol):
    """A column that the request adds to the results."""

    @property
    def name(self) -> str: ...

    @property
    def type(self) -> pa.DataType: ...

    def read(self, answers: Sequence[Answer]) -> tuple[pa.Array, Problems]:
        """One value for each answer, null for those with a problem. Each answer is judged independently of the others."""
        ...


#: Column of ``shapes.extra_fields`` -> what makes its reader, from the manifest's request and the folder for media files.
_READERS: dict[str, Callable[[dict[str, Any], Location | None], ExtraColumn]] = {
    "embedding": lambda request, _: EmbeddingColumn.of(request),
    "parsed": lambda request, _: ParsedColumn.of(request),
    "media": lambda _, folder: GeneratedMediaColumn(folder),
    "grounding": lambda *_: GROUNDING,
    "citations": lambda *_: CITATIONS,
    "function_calls": lambda *_: FUNCTION_CALLS,
    "code_execution": lambda *_: CODE_EXECUTION,
    "url_context": lambda *_: URL_CONTEXT,
    "thoughts": lambda *_: THOUGHTS,
}


def extra_columns(request: dict[str, Any], *, media_folder: Location | None = None) -> Extras:
    """The readers of the extra columns of a run, in the order of the table.

    :param request: as the manifest keeps it.
    :param media_folder: receives media as files; None: they go into the column.
    """
    return Extras(tuple(_READERS[field.name](request, media_folder) for field in extra_fields(request)))


@dataclass(frozen=True, slots=True)
class Extras:
    columns: tuple[ExtraColumn, ...] = ()

    @property
    def fields(self) -> tuple[pa.Field, ...]:
        return tuple(pa.field(column.name, column.type) for column in self.columns)

    @property
    def texts(self) -> ParsedTexts | None:
        """What parses the texts of many answers ahead."""
        return next((column.texts for column in self.columns if isinstance(column, ParsedColumn)), None)

    @property
    def vectors(self) -> AnswersReader | None:
        """Reads the answers of a run that asks for vectors, and the vectors with them; None for another run."""
        return next((column.answers for column in self.columns if isinstance(column, EmbeddingColumn)), None)

    def read(self, answers: Answers) -> tuple[dict[str, pa.Array], Problems]:
        """The columns of the answers that have no problem, and the problems of the others."""
        arrays: dict[str, pa.Array] = {}
        problems: Problems = {}
        contents: list[Answer] | None = None
        for column in self.columns:
            if answers.ahead is not None and isinstance(column, (EmbeddingColumn, ParsedColumn)):
                arrays[column.name], found = completed(column, answers)
            else:
                contents = answers.contents() if contents is None else contents
                arrays[column.name], found = column.read(contents)
            problems = {**found, **problems}
        if problems:
            good = columns.bools([row not in problems for row in range(len(answers))])
            arrays = {name: array.filter(good) for name, array in arrays.items()}
        return arrays, problems

    def complaint(self, answer: Answer) -> str | None:
        """Why one answer is not a result; None where it is one."""
        for column in self.columns:
            if (problem := column.read([answer])[1].get(0)) is not None:
                return problem
        return None


def completed(column: ExtraColumn, answers: Answers) -> tuple[pa.Array, Problems]:
    """The values that were read ahead, and those that ``column.read`` makes of the other answers."""
    ahead = answers.ahead
    if ahead is None:
        return column.read(answers.contents())
    if ahead.null_count == 0:
        return ahead, {}
    left = np.flatnonzero(~columns.is_valid(ahead))
    others, problems = column.read(answers.take(left.tolist()).contents())
    if len(problems) < len(left):
        places = np.arange(len(ahead))
        places[left] = len(ahead) + np.arange(len(left))
        ahead = pa.concat_arrays([ahead, others]).take(columns.from_numpy(places))
    return ahead, {int(left[place]): problem for place, problem in problems.items()}
