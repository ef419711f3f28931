"""Fingerprints of requests: equal where the same model is asked the same.

A fingerprint is the SHA-256 of the model's name and the request. Media are named in a request by a hash of their content
(``run.media_manifest``), so equal files count as equal wherever they lie. Requests that users wrote themselves are put into a
canonical form first: without white space, keys sorted, and numbers that are equal written alike. docs/reuse.md lists what counts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from hashlib import sha256
from itertools import pairwise
from typing import Any

import pyarrow as pa

from airflow_gemini_batch.engine.json.strict import no_constant
from airflow_gemini_batch.engine.request.encoded import content_of, ends_of

#: Bytes of a fingerprint.
FINGERPRINT_BYTES = 32


class Fingerprinter:
    """Makes the fingerprints of a run's requests.

    :param model: with or without ``models/``.
    :param spec: the run's request specification as plain JSON (``RequestEncoder.spec``).
    """

    def __init__(self, model: str, spec: Mapping[str, Any]) -> None:
        self._start = model.removeprefix("models/").encode() + b"\n"
        # A template writes its constant pieces in one order; all other requests may come in any.
        self._form: Callable[[bytes], bytes] | None = None if _is_template(spec) else canonical

    def of(self, requests: pa.Array) -> bytes:
        """The fingerprints of a ``large_binary`` column, one after the other; of nothing where it is null."""
        content, ends = content_of(requests), ends_of(requests)
        start, form = self._start, self._form
        places = pairwise((ends - ends[0]).tolist())
        if form is None:
            return b"".join([sha256(start + content[first:last]).digest() for first, last in places])
        return b"".join([sha256(start + form(bytes(content[first:last]))).digest() for first, last in places])


def _is_template(spec: Mapping[str, Any]) -> bool:
    return ("prompt" in spec or "text" in spec) and not {"config_column", "column", "callable"} & spec.keys()


def canonical(request: bytes) -> bytes:
    """The same JSON in one form. What has none, such as an object that names a key twice, stays as it is."""
    try:
        value = json.loads(request, object_pairs_hook=_object, parse_float=_number, parse_constant=no_constant)
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
    except (ValueError, RecursionError):
        return request
    return text.encode(errors="surrogatepass")


def _object(members: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) != len(members):
        raise ValueError("a key is named twice")
    return found


def _number(text: str) -> int | float:
    """``1.0`` and ``1e0`` are 1. Raises ValueError for a number that a float would change."""
    value = float(text)
    if Decimal(repr(value)) != Decimal(text):
        raise ValueError(f"{text} has more digits than a float")
    return int(value) if value.is_integer() else value
