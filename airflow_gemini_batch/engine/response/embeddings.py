"""Embeddings: the vector of an answer becomes a row of the ``embedding`` column.

The dimension is fixed by the request, never by an answer: it is always asked for by name, so all parts of a run, and all rows
that are sent again, agree. A vector of another length, or with a value that is no finite 32-bit float, is no result.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from airflow_gemini_batch.engine.arrow import columns
from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.response.responses import Answer

#: What the models answer when no dimension is asked for. Source: ai.google.dev, "Embeddings". Without ``embedding-001``, which
#: cannot be asked for any (REST reference, ``EmbedContentRequest.outputDimensionality``).
DEFAULT_DIMENSIONS = {
    "gemini-embedding-2": 3072,
    "gemini-embedding-2-preview": 3072,
    "gemini-embedding-001": 3072,
    "text-embedding-004": 768,
}


def default_dimension(model: str) -> int:
    """Raises InputError for a model that is not known here."""
    try:
        return DEFAULT_DIMENSIONS[model.removeprefix("models/")]
    except KeyError:
        raise InputError(
            f"How many dimensions {model} has by default is not known here, and the column's type needs it. Say it: "
            "EmbedRequest(…, config={'output_dimensionality': 768}), or RawRequest(…, dimensions=768)."
        ) from None


def dimensions_for(model: str, asked: int | None) -> int:
    """How long the vectors of a run are. Raises InputError where nobody says it."""
    if asked is None:
        return default_dimension(model)
    if not isinstance(asked, int) or isinstance(asked, bool) or asked < 1:
        raise InputError(f"dimensions is {asked!r}; expected 1 or more.")
    return asked


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
        self.type: pa.DataType = pa.list_(pa.float32(), dimension)

    @classmethod
    def of(cls, request: dict[str, Any]) -> EmbeddingColumn:
        """The column for a request as the manifest keeps it."""
        return cls(request["embed_request"]["output_dimensionality"])

    def read(self, answers: Sequence[Answer]) -> tuple[pa.Array, dict[int, str]]:
        """One vector an answer, null for those that have a problem."""
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
        except (ValueError, RecursionError) as error:  # NaN is one: it is no JSON
            return f"the answer holds no embedding that can be read: {error}"
        if len(values) != self.dimension:
            return f"the embedding has {len(values)} dimensions; {self.dimension} were asked for"
        return array("f", values).tobytes()
