"""The requests of common-ai's batch operator, as lines of a Gemini input file.

They use the engine's encoder, which takes columns and one config for all rows. So requests that differ in more than their texts
are encoded as several tables. The lines may be in any order, because each has its key.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import pyarrow as pa

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.request.encoded import InvalidRow
from airflow_gemini_batch.engine.request.encoding import compile_request
from airflow_gemini_batch.engine.specs import GenerateRequest

#: Fields that the operator sets. Parameters with these names are ignored.
_MANAGED = frozenset({"system_instruction", "max_output_tokens", "max_tokens"})
_MANAGED_BY_SCHEMA = frozenset({"response_mime_type", "response_schema", "response_json_schema"})

_ROWS_AT_ONCE = 1_000
_SCHEMA = pa.schema([("key", pa.string()), ("prompt", pa.string()), ("system", pa.string())])


@dataclass(frozen=True, slots=True)
class BatchDefaults:
    """Defaults of all requests of a batch.

    :param directive: the config fields that ask for structured output; empty without it.
    """

    model: str
    key: str
    system_prompt: str = ""
    max_tokens: int = 1024
    params: Mapping[str, Any] | None = None
    directive: Mapping[str, Any] | None = None


def request_lines(requests: Sequence[Mapping[str, Any]], defaults: BatchDefaults) -> Iterator[bytes]:
    """One line a request, keyed ``<key>-<index>``. Raises InputError for a request that cannot be encoded."""
    numbered = sorted(enumerate(requests), key=lambda item: _kind(item[1], defaults))
    for _, alike in itertools.groupby(numbered, key=lambda item: _kind(item[1], defaults)):
        yield from _lines(list(alike), defaults)


def index_of(line_key: str, key: str) -> int | None:
    """The index in a key that ``request_lines`` wrote; None for any other key, because results are never matched by guessing."""
    before, _, index = line_key.rpartition("-")
    return int(index) if before == key and index.isascii() and index.isdecimal() else None


def config_of(request: Mapping[str, Any], defaults: BatchDefaults) -> dict[str, Any]:
    """The config of one request. The request's parameters override the operator's, and managed fields override both."""
    managed = _MANAGED | (_MANAGED_BY_SCHEMA if defaults.directive else frozenset())
    params = {_snake(name): value for given in (defaults.params, request.get("params")) for name, value in (given or {}).items()}
    return {
        **{name: value for name, value in params.items() if name not in managed},
        "max_output_tokens": request.get("max_tokens") or defaults.max_tokens,
        **(defaults.directive or {}),
    }


def _lines(alike: Sequence[tuple[int, Mapping[str, Any]]], defaults: BatchDefaults) -> Iterator[bytes]:
    first = alike[0][1]
    spec = GenerateRequest(
        prompt="${prompt}",
        system_instruction="${system}" if _system(first, defaults) else None,
        config=config_of(first, defaults),
    )
    encoder = compile_request(spec, _SCHEMA, defaults.model)
    for start in range(0, len(alike), _ROWS_AT_ONCE):
        some = alike[start : start + _ROWS_AT_ONCE]
        for (index, _), request in zip(some, encoder.encode(_batch(some, defaults)).rows(), strict=True):
            if isinstance(request, InvalidRow):
                raise InputError(f"Request {index}: {request.message}.")
            yield b'{"key":"%b-%d","request":%b}\n' % (defaults.key.encode(), index, request)


def _batch(some: Iterable[tuple[int, Mapping[str, Any]]], defaults: BatchDefaults) -> pa.RecordBatch:
    rows = [(f"{defaults.key}-{index}", request["prompt"], _system(request, defaults)) for index, request in some]
    try:
        return pa.RecordBatch.from_arrays([pa.array(column, pa.string()) for column in zip(*rows, strict=True)], schema=_SCHEMA)
    except UnicodeEncodeError as error:
        raise InputError(f"A prompt is not valid Unicode (it has a lone surrogate): {error}.") from error


def _kind(request: Mapping[str, Any], defaults: BatchDefaults) -> tuple[bool, bytes]:
    """Requests of one kind differ only in their texts."""
    config = config_of(request, defaults)
    return bool(_system(request, defaults)), msgspec.json.encode(config, order="deterministic", enc_hook=repr)


def _system(request: Mapping[str, Any], defaults: BatchDefaults) -> str:
    return request.get("system_prompt") or defaults.system_prompt


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
