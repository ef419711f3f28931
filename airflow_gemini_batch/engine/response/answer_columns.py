"""Answers as columns: what the tables need of many answers, without an object for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from airflow_gemini_batch.engine.arrow import columns
from airflow_gemini_batch.engine.response.parsed_texts import ParsedTexts
from airflow_gemini_batch.engine.response.responses import Answer
from airflow_gemini_batch.engine.run.tables import TOKEN_COLUMNS

#: The members of ``Answer`` that are columns, in its order.
SCHEMA = pa.schema(
    [
        pa.field("key", pa.string()),
        pa.field("response", pa.string()),
        pa.field("text", pa.string()),
        pa.field("finish_reason", pa.string()),
        *(pa.field(name, pa.int64()) for name in TOKEN_COLUMNS),
        pa.field("model_version", pa.string()),
        pa.field("response_id", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class Answers:
    """
    :param rows: of ``SCHEMA``.
    :param parts: row -> ``Answer.parts``, where that is not None.
    :param ahead: the column of vectors or of parsed texts, read with the block of lines; null where reading one answer by itself
        decides. None: nothing was read ahead.
    """

    rows: pa.RecordBatch
    parts: Mapping[int, dict[str, int]] = field(default_factory=dict)
    ahead: pa.Array | None = None

    @classmethod
    def of(cls, answers: Sequence[Answer]) -> Answers:
        made = [
            columns.strings([answer.key for answer in answers]),
            columns.utf8([answer.response for answer in answers]),
            columns.strings([answer.text for answer in answers]),
            columns.strings([answer.finish_reason for answer in answers]),
            *(columns.int64s([getattr(answer, name) for answer in answers]) for name in TOKEN_COLUMNS),
            columns.strings([answer.model_version for answer in answers]),
            columns.strings([answer.response_id for answer in answers]),
        ]
        parts = {row: answer.parts for row, answer in enumerate(answers) if answer.parts is not None}
        return cls(pa.RecordBatch.from_arrays(made, schema=SCHEMA), parts)

    @classmethod
    def joined(cls, pieces: Sequence[Answers]) -> Answers:
        """The rows of one or more, one after the other."""
        if len(pieces) == 1:
            return pieces[0]
        parts, start = {}, 0
        for piece in pieces:
            parts.update({start + row: found for row, found in piece.parts.items()})
            start += len(piece)
        table = pa.Table.from_batches([piece.rows for piece in pieces]).combine_chunks()
        return cls(next(iter(table.to_batches()), pieces[0].rows), parts, _joined(pieces))

    def __len__(self) -> int:
        return int(self.rows.num_rows)

    def __getitem__(self, name: str) -> pa.Array:
        return self.rows.column(SCHEMA.get_field_index(name))

    def sizes(self) -> Any:
        """The bytes of each response."""
        column = self["response"]
        return np.diff(np.frombuffer(column.buffers()[1], np.int32)[column.offset : column.offset + len(column) + 1])

    def together(self) -> bytes:
        """The responses, one after the other."""
        column = self["response"]
        ends = np.frombuffer(column.buffers()[1], np.int32)
        start, stop = int(ends[column.offset]), int(ends[column.offset + len(column)])
        return memoryview(column.buffers()[2])[start:stop].tobytes()

    def take(self, rows: Sequence[int]) -> Answers:
        parts = {place: self.parts[row] for place, row in enumerate(rows) if row in self.parts} if self.parts else {}
        places = columns.int64s(rows)
        return Answers(self.rows.take(places), parts, None if self.ahead is None else self.ahead.take(places))

    def slice(self, start: int, stop: int) -> Answers:
        parts = {row - start: found for row, found in self.parts.items() if start <= row < stop}
        ahead = None if self.ahead is None else self.ahead.slice(start, stop - start)
        return Answers(self.rows.slice(start, stop - start), parts, ahead)

    def with_parsed(self, texts: ParsedTexts) -> Answers:
        return Answers(self.rows, self.parts, texts.column(responses_of(self["text"])))

    def each(self) -> list[Answer]:
        """As objects, for what is read of answers one by one."""
        rows = zip(*(column.to_pylist() for column in self.rows.columns[2:]), strict=True)
        return [
            msgspec.structs.replace(answer, **dict(zip(SCHEMA.names[2:], row, strict=True)), parts=self.parts.get(place))
            for place, (answer, row) in enumerate(zip(self.contents(), rows, strict=True))
        ]

    def contents(self) -> list[Answer]:
        """As objects with key, response and text alone, which is what extra columns read, and takes a quarter of the time."""
        return list(map(Answer, self["key"].to_pylist(), responses_of(self["response"]), self["text"].to_pylist()))


def _joined(pieces: Sequence[Answers]) -> pa.Array | None:
    """What was read ahead of all pieces; None where that is nothing."""
    kind = next((piece.ahead.type for piece in pieces if piece.ahead is not None), None)
    if kind is None:
        return None
    return pa.concat_arrays([pa.nulls(len(piece), kind) if piece.ahead is None else piece.ahead for piece in pieces])


def responses_of(column: pa.Array) -> list[bytes]:
    """The bytes of each text."""
    read: list[bytes] = column.view(pa.binary()).to_pylist()
    return read
