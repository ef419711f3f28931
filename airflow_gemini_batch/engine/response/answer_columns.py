"""Answers as columns: what the tables need of many answers, without an object for each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

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
    :param rows: of ``SCHEMA``, and ``parsed`` where texts were parsed ahead.
    :param parts: row -> ``Answer.parts``, where that is not None.
    :param vectors: those that have been read already, null for the other answers; None: none has been.
    """

    rows: pa.RecordBatch
    parts: Mapping[int, dict[str, int]] = field(default_factory=dict)
    vectors: pa.Array | None = None

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
        return cls(next(iter(table.to_batches()), pieces[0].rows), parts, _vectors_of(pieces))

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
        return Answers(self.rows.take(places), parts, None if self.vectors is None else self.vectors.take(places))

    def slice(self, start: int, stop: int) -> Answers:
        parts = {row - start: found for row, found in self.parts.items() if start <= row < stop}
        vectors = None if self.vectors is None else self.vectors.slice(start, stop - start)
        return Answers(self.rows.slice(start, stop - start), parts, vectors)

    def with_parsed(self, texts: ParsedTexts) -> Answers:
        return Answers(self.rows.append_column("parsed", texts.column(responses_of(self["text"]))), self.parts, self.vectors)

    def each(self) -> list[Answer]:
        """As objects, for what is read of answers one by one."""
        rows = zip(*(column.to_pylist() for column in self.rows.columns[2 : len(SCHEMA)]), strict=True)
        return [
            msgspec.structs.replace(answer, **dict(zip(SCHEMA.names[2:], row, strict=True)), parts=self.parts.get(place))
            for place, (answer, row) in enumerate(zip(self.contents(), rows, strict=True))
        ]

    def contents(self) -> Contents:
        """As objects with key, response and text alone, which is what extra columns read, and takes a quarter of the time."""
        return Contents(self)


class Contents(Sequence[Answer]):
    """Answers as objects with key, response and text alone, which are made when they are first asked for."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._made: list[Answer] | None = None

    @property
    def parsed(self) -> pa.Array | None:
        """What the texts say, null where that is left to a reader of one; None where they were not parsed ahead."""
        rows = self._answers.rows
        return rows.column("parsed") if rows.num_columns > len(SCHEMA) else None

    def __len__(self) -> int:
        return len(self._answers)

    def __iter__(self) -> Iterator[Answer]:
        return iter(self._all())

    @overload
    def __getitem__(self, place: int) -> Answer: ...

    @overload
    def __getitem__(self, place: slice) -> list[Answer]: ...

    def __getitem__(self, place: int | slice) -> Answer | list[Answer]:
        if self._made is not None or isinstance(place, slice):
            return self._all()[place]
        key, response, text = (self._answers[name][place] for name in ("key", "response", "text"))
        return Answer(key.as_py(), response.as_py().encode(), text.as_py())

    def _all(self) -> list[Answer]:
        if self._made is None:
            read = self._answers
            self._made = list(map(Answer, read["key"].to_pylist(), responses_of(read["response"]), read["text"].to_pylist()))
        return self._made


def _vectors_of(pieces: Sequence[Answers]) -> pa.Array | None:
    kind = next((piece.vectors.type for piece in pieces if piece.vectors is not None), None)
    if kind is None:
        return None
    return pa.concat_arrays([pa.nulls(len(piece), kind) if piece.vectors is None else piece.vectors for piece in pieces])


def responses_of(column: pa.Array) -> list[bytes]:
    """The bytes of each text."""
    read: list[bytes] = column.view(pa.binary()).to_pylist()
    return read
