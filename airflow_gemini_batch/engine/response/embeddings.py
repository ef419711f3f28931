"""Embeddings: the vector of an answer becomes a row of the ``embedding`` column.

A vector whose length is not the one that the request asked for, or with a value that is not a finite 32-bit float, is not a
result.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from airflow_gemini_batch.engine.arrow import columns
from airflow_gemini_batch.engine.response.responses import Answer
from airflow_gemini_batch.engine.shapes.dimensions import embedding_type


class _Vector(msgspec.Struct, gc=False):
    values: list[float]


class _Embedded(msgspec.Struct, gc=False):
    embedding: _Vector


_decode = msgspec.json.Decoder(_Embedded).decode


class EmbeddingColumn:
    """The ``embedding`` column of vectors of one length."""

    name = "embedding"

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension
        self.type: pa.DataType = embedding_type(dimension)
        # Takes a third of the time of ``array``. Both make an infinity of a value that is too large for 32 bits.
        self._pack = struct.Struct(f"@{dimension}f").pack

    @classmethod
    def of(cls, request: dict[str, Any]) -> EmbeddingColumn:
        """The column for a request as the manifest keeps it."""
        return cls(request["embed_request"]["output_dimensionality"])

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
        finite = np.isfinite(np.frombuffer(content, np.float32).reshape(len(rows), self.dimension)).all(axis=1)
        for place in np.flatnonzero(~finite).tolist():
            problems[place] = "the embedding holds a value beyond the range of a 32-bit float"
        valid = columns.validity([None if place in problems else True for place in range(len(rows))])
        values = pa.Array.from_buffers(pa.float32(), len(rows) * self.dimension, [None, pa.py_buffer(content)])
        return pa.Array.from_buffers(self.type, len(rows), [valid], children=[values]), problems

    def _vector(self, answer: Answer) -> bytes | str:
        """The vector as 32-bit floats, or why there is none."""
        try:
            values = _decode(answer.response).embedding.values
        except (ValueError, RecursionError) as error:  # also for NaN, which is not JSON
            return f"the answer holds no embedding that can be read: {error}"
        if len(values) != self.dimension:
            return f"the embedding has {len(values)} dimensions; {self.dimension} were asked for"
        return self._pack(*values)
