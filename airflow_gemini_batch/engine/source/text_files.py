"""CSV and JSON Lines as Arrow batches, without guessing what the text means.

CSV has no types: every column holds the strings of the file, so that ``007`` stays ``007`` and ``1.10`` stays
``1.10``; only an empty field without quotes is a null. JSON has types of its own, and a string stays a string even
where it looks like a time; a column of integers and fractions is of doubles, and an integer that no double holds is refused.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.dataset as ds
import pyarrow.json as pa_json

from airflow_gemini_batch.engine.run.storage import Location
from airflow_gemini_batch.engine.source.blocks import MAX_BLOCK_ROWS
from airflow_gemini_batch.engine.source.raw_json_lines import no_object, refuse_rounded, uncompressed

#: The longest line that can be read; Arrow needs it whole in one block.
TEXT_BLOCK_BYTES = 16 << 20


class Csv:
    @classmethod
    def schema(cls, location: Location) -> pa.Schema:
        found = cls._format(location, []).inspect(location.path, location.arrow_fs)
        return pa.schema([(name, pa.string()) for name in found.names])

    @classmethod
    def read(cls, location: Location, columns: Sequence[str], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        return _scan(cls._format(location, schema.names), location, columns, schema)

    @staticmethod
    def _format(location: Location, names: Sequence[str]) -> ds.CsvFileFormat:
        tabs = os.path.splitext(location.name.lower().removesuffix(".gz"))[1] == ".tsv"
        return ds.CsvFileFormat(
            parse_options=pa_csv.ParseOptions(delimiter="\t" if tabs else ",", newlines_in_values=True),
            read_options=pa_csv.ReadOptions(block_size=TEXT_BLOCK_BYTES),
            convert_options=pa_csv.ConvertOptions(
                column_types={name: pa.string() for name in names},
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                check_utf8=False,  # one bad row must not affect the others; the encoder names it
            ),
        )


class JsonLines:
    @classmethod
    def schema(cls, location: Location) -> pa.Schema:
        schema = cls._format().inspect(location.path, location.arrow_fs)
        return pa.schema([pa.field(field.name, _without_guesses(field.type)) for field in schema])

    @classmethod
    def read(cls, location: Location, columns: Sequence[str], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        # Not through a dataset, which reads a file whose only line lacks a newline as a row of nulls (seen in pyarrow 26).
        wanted = pa.schema([schema.field(name) for name in columns])
        parsing = pa_json.ParseOptions(explicit_schema=wanted, unexpected_field_behavior="ignore")
        reading = pa_json.ReadOptions(use_threads=False, block_size=TEXT_BLOCK_BYTES)
        _require_exact(location, wanted)
        with location.open() as file:
            plain = pa.PythonFile(uncompressed(location, file), "r")
            for batch in pa_json.open_json(plain, read_options=reading, parse_options=parsing):
                yield batch.select(list(columns))

    @staticmethod
    def _format() -> ds.JsonFileFormat:
        return ds.JsonFileFormat(read_options=pa_json.ReadOptions(block_size=TEXT_BLOCK_BYTES))


# --- integers that Arrow would round

#: Integers of fewer digits fit into a double. Digits after a decimal point do not count.
_LONG_INTEGER = re.compile(rb"(?<![.\d])\d{16}")


def _require_exact(location: Location, wanted: pa.Schema) -> None:
    """Arrow reads integers beyond 64 bits, and integers beside fractions, as doubles and rounds those that do not fit."""
    fields = [field for field in wanted if _holds_doubles(field.type)]
    if not fields:
        return
    with location.open() as file:
        for number, line in enumerate(uncompressed(location, file), 1):
            if not _LONG_INTEGER.search(line):
                continue
            try:
                found = json.loads(line.decode("utf-8", "surrogateescape"))
            except (ValueError, RecursionError) as error:
                raise no_object(location, number, error) from error
            for field in fields if isinstance(found, dict) else ():
                refuse_rounded(_integers(found.get(field.name), field.type), location, field.name)


def _holds_doubles(type: pa.DataType) -> bool:
    return pa.types.is_float64(type) or any(_holds_doubles(type.field(index).type) for index in range(type.num_fields))


def _integers(value: Any, type: pa.DataType) -> Iterator[int]:
    """The integers at places whose type is a double."""
    if isinstance(value, list) and pa.types.is_list(type):
        for item in value:
            yield from _integers(item, type.value_type)
    elif isinstance(value, dict) and pa.types.is_struct(type):
        for field in type:
            yield from _integers(value.get(field.name), field.type)
    elif isinstance(value, int) and pa.types.is_float64(type):
        yield value


def _without_guesses(type: pa.DataType) -> pa.DataType:
    """Arrow reads a JSON string that looks like a time as a time; here it stays a string."""
    if pa.types.is_timestamp(type):
        return pa.string()
    if pa.types.is_list(type):
        return pa.list_(_without_guesses(type.value_type))
    if pa.types.is_struct(type):
        return pa.struct([pa.field(type.field(i).name, _without_guesses(type.field(i).type)) for i in range(type.num_fields)])
    return type


def _scan(format: ds.FileFormat, location: Location, columns: Sequence[str], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    fragment = format.make_fragment(location.path, location.arrow_fs)
    scanner = fragment.scanner(
        schema=schema, columns=list(columns), batch_size=MAX_BLOCK_ROWS,
        batch_readahead=1, fragment_readahead=1, use_threads=False,
    )  # fmt: skip
    yield from scanner.to_batches()
