"""Synthetic embeddings: unit vectors that depend only on the text, the task type and the model."""

from __future__ import annotations

import hashlib
import math
import struct

from airflow_gemini_batch.emulator.answers.request import MAX_DIMENSIONS, dimension_of, embed_text, tokens_of
from airflow_gemini_batch.emulator.proto_json import Json, get_object, get_text

#: Default dimension of the older text-embedding models. Other models return MAX_DIMENSIONS by default.
_OLDER_DIMENSION = 768


def embed_content(request: Json, model: str, *, in_batch: bool) -> Json:
    """An EmbedContentResponse. In a batch the service adds the token count, as a string."""
    text = embed_text(request)
    config = get_object(request, "embedContentConfig")
    dimension = dimension_of(request)
    task = get_text(request, "taskType") or get_text(config, "taskType")
    if dimension is None:
        dimension = _OLDER_DIMENSION if "text-embedding" in model else MAX_DIMENSIONS
    body: Json = {"embedding": {"values": unit_vector(f"{model}\n{task}\n{text}", dimension)}}
    return {"tokenCount": str(tokens_of(text)), **body} if in_batch else body


def unit_vector(text: str, dimension: int) -> list[float]:
    """A vector of length 1 with `dimension` values, taken from a hash of `text`."""
    digest = hashlib.shake_128(text.encode("utf-8", "surrogatepass")).digest(2 * dimension)
    values = struct.unpack(f"<{dimension}h", digest)
    length = math.sqrt(sum(value * value for value in values)) or 1.0
    return [round(value / length, 9) for value in values]
