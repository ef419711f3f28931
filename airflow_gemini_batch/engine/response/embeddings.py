"""Embeddings: the vector of an answer becomes a row of the ``embedding`` column.

A vector whose length is not the one that the request asked for, or with a value that is not a finite 32-bit float, is not a
result. The ordinary ones are read while a block of lines is, so that their many numbers are walked once.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from airflow_gemini_batch.engine.arrow import columns
from airflow_gemini_batch.engine.json.lenient import as_count
from airflow_gemini_batch.engine.response.answer_columns import SCHEMA, Answers
from airflow_gemini_batch.engine.response.responses import Answer
from airflow_gemini_batch.engine.shapes.dimensions import embedding_type


class _Vector(msgspec.Struct, gc=False):
    values: list[float]


class _Embedded(msgspec.Struct, gc=False):
    embedding: _Vector


class _Ordinary(msgspec.Struct, rename="camel", gc=False):
    """A response that ``classify`` takes for an answer without looking at the numbers; whatever else there is, it decides."""

    embedding: _Vector
    candidates: None = None
    token_count: int | str | None = None
    usage_metadata: None = None
    model_version: str | None = None
    response_id: str | None = None


_decode = msgspec.json.Decoder(_Embedded).decode
_decode_ordinary = msgspec.json.Decoder(_Ordinary).decode


class EmbeddingColumn:
    """The ``embedding`` column of vectors of one length."""

    name = "embedding"

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension
        self.type: pa.DataType = embedding_type(dimension)
        # Takes a third of the time of ``array``. Both make an infinity of a value that is too large for 32 bits.
        packed = struct.Struct(f"@{dimension}f")
        self._pack, self._pack_into = packed.pack, packed.pack_into

    @classmethod
    def of(cls, request: dict[str, Any]) -> EmbeddingColumn:
        """The column for a request as the manifest keeps it."""
        return cls(request["embed_request"]["output_dimensionality"])

    def answers(self, keys: Sequence[str], found: Sequence[re.Match[bytes]]) -> tuple[Answers, Sequence[int]]:
        """The ordinary answers with their vectors, and which of ``found`` they are: an ``AnswersReader``."""
        content = bytearray(4 * self.dimension * len(found))
        kept: list[int] = []
        raws: list[memoryview] = []
        read: list[_Ordinary] = []
        tokens: list[int] = []
        for place, match in enumerate(found):
            raw = memoryview(match.string)[slice(*match.span("response"))]
            try:
                response = _decode_ordinary(raw)
            except (ValueError, RecursionError):
                continue
            count, values = as_count(response.token_count), response.embedding.values
            if count is None or len(values) != self.dimension:
                continue
            self._pack_into(content, 4 * self.dimension * len(kept), *values)
            response.embedding.values = []  # 24 bytes a number, which are not needed again
            kept.append(place)
            raws.append(raw)
            read.append(response)
            tokens.append(count)
        counts = columns.int64s(tokens)
        named = {
            "key": columns.strings([keys[place] for place in kept]),
            "response": columns.utf8(raws),
            "prompt_tokens": counts,
            "total_tokens": counts,
            "model_version": columns.strings([response.model_version or None for response in read]),
            "response_id": columns.strings([response.response_id or None for response in read]),
        }
        made = [named[field.name] if field.name in named else pa.nulls(len(kept), field.type) for field in SCHEMA]
        rows = pa.RecordBatch.from_arrays(made, schema=SCHEMA)
        return Answers(rows, ahead=self._column(content, self._finite(content, len(kept)))), kept

    def read(self, answers: Sequence[Answer]) -> tuple[pa.Array, dict[int, str]]:
        """One vector for each answer, null for those with a problem."""
        problems: dict[int, str] = {}
        rows: list[bytes] = []
        blank = bytes(4 * self.dimension)
        for place, answer in enumerate(answers):
            vector = self._vector(answer)
            if isinstance(vector, str):
                problems[place] = vector
                vector = blank
            rows.append(vector)
        content = b"".join(rows)
        is_good = self._finite(content, len(rows))
        for place in np.flatnonzero(~is_good).tolist():
            problems[place] = "the embedding holds a value beyond the range of a 32-bit float"
        is_good[list(problems)] = False
        return self._column(content, is_good), problems

    def _finite(self, content: bytes | bytearray, rows: int) -> Any:
        """Whether each of the vectors, packed one after the other, has finite values only."""
        values = np.frombuffer(content, np.float32, rows * self.dimension).reshape(rows, self.dimension)
        return np.isfinite(values).all(axis=1)

    def _column(self, content: bytes | bytearray, is_valid: Any) -> pa.Array:
        values = pa.Array.from_buffers(pa.float32(), len(is_valid) * self.dimension, [None, pa.py_buffer(content)])
        valid = None if is_valid.all() else pa.py_buffer(np.packbits(is_valid, bitorder="little"))
        return pa.Array.from_buffers(self.type, len(is_valid), [valid], children=[values])

    def _vector(self, answer: Answer) -> bytes | str:
        """The vector as 32-bit floats, or why there is none."""
        try:
            values = _decode(answer.response).embedding.values
        except (ValueError, RecursionError) as error:  # also for NaN, which is not JSON
            return f"the answer holds no embedding that can be read: {error}"
        if len(values) != self.dimension:
            return f"the embedding has {len(values)} dimensions; {self.dimension} were asked for"
        return self._pack(*values)
