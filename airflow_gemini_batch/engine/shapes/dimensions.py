"""The number of dimensions of a run's embeddings.

The request fixes it, never an answer: it is always asked for by name, so all parts of a run, and all rows that are resubmitted,
agree.
"""

from __future__ import annotations

import pyarrow as pa

from airflow_gemini_batch.engine.errors import InputError

#: Model -> dimensions of its vectors if the request asks for none. Source: ai.google.dev, "Embeddings". ``embedding-001`` is left
#: out: it cannot be asked for a number (REST reference, ``EmbedContentRequest.outputDimensionality``).
DEFAULT_DIMENSIONS = {
    "gemini-embedding-2": 3072,
    "gemini-embedding-2-preview": 3072,
    "gemini-embedding-001": 3072,
    "text-embedding-004": 768,
}


def default_dimension(model: str) -> int:
    """The model's own number of dimensions. Raises InputError for a model that is not in the table."""
    try:
        return DEFAULT_DIMENSIONS[model.removeprefix("models/")]
    except KeyError:
        raise InputError(
            f"The default number of dimensions of {model} is not known here, and the column's type needs it. State it: "
            "EmbedRequest(…, config={'output_dimensionality': 768}), or RawRequest(…, dimensions=768)."
        ) from None


def dimensions_for(model: str, asked: int | None) -> int:
    """The length of the vectors of a run: ``asked``, or the model's own.

    Raises InputError if ``asked`` is not a positive integer, or is None for a model whose default is not known.
    """
    if asked is None:
        return default_dimension(model)
    if not isinstance(asked, int) or isinstance(asked, bool) or asked < 1:
        raise InputError(f"dimensions is {asked!r}; expected an integer of at least 1.")
    return asked


def embedding_type(dimensions: int) -> pa.DataType:
    """The Arrow type of the ``embedding`` column."""
    return pa.list_(pa.float32(), dimensions)
