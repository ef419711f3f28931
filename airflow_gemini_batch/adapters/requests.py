"""The requests of common-ai's batch operator, as lines of a Gemini input file.

They go through the one encoder of the engine. That one takes columns and a config that is the same for every row, so requests
that differ in more than their texts are encoded as several tables; the lines may stand in any order, each carries its key.
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

#: What the operator itself decides; a parameter of the same meaning cannot override it.
_MANAGED = frozenset({"system_instruction", "max_output_tokens", "max_tokens"})
_MANAGED_BY_SCHEMA = frozenset({"response_mime_type", "response_schema", "response_json_schema"})

_ROWS_AT_ONCE = 1_000
_SCHEMA = pa.schema([("key", pa.string()), ("prompt", pa.string()), ("system", pa.string())])


@dataclass(frozen=True, slots=True)
class Asked:
    """What holds for every request that does not say otherwise.

    :param directive: the config fields that ask for structured output; empty without it.
    """

    model: str
    key: str
    system_prompt: str = ""
    max_tokens: int = 1024
    params: Mapping[str, Any] | None = None
    directive: Mapping[str, Any] | None = None


def request_lines(requests: Sequence[Mapping[str, Any]], asked: Asked) -> Iterator[bytes]:
    """One line a request, keyed ``<key>-<index>``. Raises InputError for one that cannot be written."""
    numbered = sorted(enumerate(requests), key=lambda item: _kind(item[1], asked))
    for _, alike in itertools.groupby(numbered, key=lambda item: _kind(item[1], asked)):
        yield from _lines(list(alike), asked)


def index_of(line_key: str, key: str) -> int | None:
    """The index in a key that ``request_lines`` wrote; None for any other: a result is never given to a request by guessing."""
    before, _, index = line_key.rpartition("-")
    return int(index) if before == key and index.isascii() and index.isdecimal() else None


def config_of(request: Mapping[str, Any], asked: Asked) -> dict[str, Any]:
    """The config of one request: the operator's parameters, the request's own over them, and over both what is managed."""
    managed = _MANAGED | (_MANAGED_BY_SCHEMA if asked.directive else frozenset())
    params = {_snake(name): value for given in (asked.params, request.get("params")) for name, value in (given or {}).items()}
    return {
        **{name: value for name, value in params.items() if name not in managed},
        "max_output_tokens": request.get("max_tokens") or asked.max_tokens,
        **(asked.directive or {}),
    }


def _lines(alike: Sequence[tuple[int, Mapping[str, Any]]], asked: Asked) -> Iterator[bytes]:
    first = alike[0][1]
    spec = GenerateRequest(
        prompt="${prompt}",
        system_instruction="${system}" if _system(first, asked) else None,
        config=config_of(first, asked),
    )
    encoder = compile_request(spec, _SCHEMA, asked.model)
    for start in range(0, len(alike), _ROWS_AT_ONCE):
        some = alike[start : start + _ROWS_AT_ONCE]
        for (index, _), request in zip(some, encoder.encode(_batch(some, asked)).rows(), strict=True):
            if isinstance(request, InvalidRow):
                raise InputError(f"Request {index}: {request.message}.")
            yield b'{"key":"%b-%d","request":%b}\n' % (asked.key.encode(), index, request)


def _batch(some: Iterable[tuple[int, Mapping[str, Any]]], asked: Asked) -> pa.RecordBatch:
    rows = [(f"{asked.key}-{index}", request["prompt"], _system(request, asked)) for index, request in some]
    try:
        return pa.RecordBatch.from_arrays([pa.array(column, pa.string()) for column in zip(*rows, strict=True)], schema=_SCHEMA)
    except UnicodeEncodeError as error:
        raise InputError(f"A prompt holds what is no Unicode text (a lone surrogate): {error}.") from error


def _kind(request: Mapping[str, Any], asked: Asked) -> tuple[bool, bytes]:
    """Requests of one kind differ in their texts alone."""
    config = config_of(request, asked)
    return bool(_system(request, asked)), msgspec.json.encode(config, order="deterministic", enc_hook=repr)


def _system(request: Mapping[str, Any], asked: Asked) -> str:
    return request.get("system_prompt") or asked.system_prompt


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
