"""A config for each row, merged over the run's config.

Every distinct config is checked, and its request written, once, by the SDK; the rows that share it are encoded together. A config
that the SDK refuses affects only its own rows.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import msgspec
import pyarrow as pa
from google import genai

from airflow_gemini_batch.engine.arrow.columns import int64s
from airflow_gemini_batch.engine.arrow.layouts import plain_type
from airflow_gemini_batch.engine.arrow.names import require_columns
from airflow_gemini_batch.engine.arrow.texts import texts, why_no_text
from airflow_gemini_batch.engine.arrow.values import NoText, Text
from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.request import sdk_request
from airflow_gemini_batch.engine.request.config_texts import row_config
from airflow_gemini_batch.engine.request.encoded import Encoded, InvalidRow
from airflow_gemini_batch.engine.run.media_manifest import MediaFile
from airflow_gemini_batch.engine.specs import GenerateRequest

#: Distinct configs whose written requests are kept; writing one takes some milliseconds.
_KEPT = 1024

#: Fields that a run with a response schema fixes for all its rows, because they share the ``parsed`` column.
_OF_THE_SCHEMA = {"response_mime_type", "response_schema", "response_json_schema"}

_Encode = Callable[[pa.RecordBatch], Encoded]


class RowConfigEncoder:
    """Encodes rows by the config in their column; null, or a struct of nulls, means the run's own config.

    :param compile: makes the encoder of a request without a config column.
    """

    any_thread: ClassVar[bool] = False

    def __init__(self, request: GenerateRequest, schema: pa.Schema, compile: Callable[[GenerateRequest], Any]) -> None:
        assert request.config_column is not None
        self._column = request.config_column
        _check(self._column, schema)
        self._request = replace(request, config_column=None)
        self._compile = compile
        run = compile(self._request)
        self._columns: tuple[str, ...] = run.columns
        self.columns = tuple(dict.fromkeys((*run.columns, self._column)))
        self.spec: dict[str, Any] = {**run.spec, "config_column": self._column}
        self._encoder = functools.lru_cache(_KEPT)(self._encoder_of)

    def encode(self, batch: pa.RecordBatch) -> Encoded:
        rows_by_config: dict[str | None, list[int]] = {}
        requests: list[bytes | InvalidRow] = [InvalidRow("")] * batch.num_rows
        media: list[tuple[MediaFile, ...]] = [()] * batch.num_rows
        for row, config in enumerate(_configs(batch.column(self._column))):
            if isinstance(config, NoText):
                requests[row] = self._refused(config.reason)
            else:
                rows_by_config.setdefault(config, []).append(row)
        for config, rows in rows_by_config.items():
            alike = batch if len(rows) == batch.num_rows else batch.take(int64s(rows))
            encode = self._encoder(config)
            encoded = Encoded.of([encode] * len(rows)) if isinstance(encode, InvalidRow) else encode(self._needed(alike))
            for row, request in zip(rows, encoded.rows(), strict=True):
                requests[row] = request
            for row, files in zip(rows, encoded.media, strict=False):
                media[row] = files
        return Encoded.of(requests, media)

    def _needed(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return batch.select(self._columns) if self._columns else batch

    def _encoder_of(self, config: str | None) -> _Encode | InvalidRow:
        try:
            encode: _Encode = self._compile(replace(self._request, config=self._merged(config))).encode
            return encode
        except InputError as error:
            return self._refused(f"cannot be used: {error}")
        except RecursionError:
            return self._refused("cannot be used: it is nested too deeply")

    def _merged(self, config: str | None) -> Any:
        """The run's config, with the fields replaced that the row's config sets."""
        merged = sdk_request.checked_config(self._request.config)
        own = sdk_request.checked_config(row_config(_read(config)))
        if found := sdk_request.unsendable(own):
            raise InputError(
                f"{', '.join(found)}: google-genai {genai.__version__} knows no such value, "
                "and the service refuses a whole file for one."
            )
        fields = {name for name in own.model_fields_set if getattr(own, name) is not None}
        if self._request.response_schema is not None and (taken := sorted(fields & _OF_THE_SCHEMA)):
            raise InputError(f"the request has a response_schema, which decides {', '.join(taken)} for all rows.")
        for name in fields:
            setattr(merged, name, getattr(own, name))
        return merged

    def _refused(self, why: str) -> InvalidRow:
        return InvalidRow(f"config_column {self._column!r} {why}")


def _check(column: str, schema: pa.Schema) -> None:
    require_columns([column], schema, by="config_column")
    type = plain_type(schema.field(column).type)
    kinds = (
        pa.types.is_struct, pa.types.is_map, pa.types.is_null,
        pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view,
    )  # fmt: skip
    if not any(kind(type) for kind in kinds) or why_no_text(schema.field(column)):
        raise InputError(f"config_column {column!r} is of type {type}; expected a struct, a map, or JSON objects as text.")


def _configs(column: pa.Array) -> list[Text]:
    return texts(column)


def _read(config: str | None) -> dict[str, Any]:
    """Raises InputError for anything but a JSON object."""
    if config is None:
        return {}
    try:
        read = msgspec.json.decode(config, type=dict[str, Any] | None) or {}
    except msgspec.MsgspecError as error:
        raise InputError(f"it is not a JSON object: {error}.") from error
    except RecursionError as error:
        raise InputError("it is nested too deeply.") from error
    set_fields: dict[str, Any] = _without_nulls(read)
    return set_fields


def _without_nulls(value: Any) -> Any:
    """A struct column has every field in every row: null means not set."""
    if isinstance(value, dict):
        return {name: _without_nulls(inner) for name, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_without_nulls(inner) for inner in value]
    return value
