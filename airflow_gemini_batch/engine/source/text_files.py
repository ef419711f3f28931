"""CSV as Arrow batches, without guessing what the text means.

CSV has no types: every column holds the strings of the file, so that ``007`` stays ``007`` and ``1.10`` stays ``1.10``; only an
empty field without quotes is a null.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.dataset as ds

from airflow_gemini_batch.engine.run.storage import Location
from airflow_gemini_batch.engine.source.blocks import MAX_BLOCK_ROWS
from airflow_gemini_batch.engine.source.json_lines import refuse_utf16
from airflow_gemini_batch.engine.source.raw_json_lines import uncompressed

#: The longest line that can be read; Arrow needs it whole in one block.
TEXT_BLOCK_BYTES = 16 << 20


class Csv:
    @classmethod
    def schema(cls, location: Location) -> pa.Schema:
        with location.open() as file:
            refuse_utf16(location, uncompressed(location, file).read(4))
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


def _scan(format: ds.FileFormat, location: Location, columns: Sequence[str], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    fragment = format.make_fragment(location.path, location.arrow_fs)
    scanner = fragment.scanner(
        schema=schema, columns=list(columns), batch_size=MAX_BLOCK_ROWS,
        batch_readahead=1, fragment_readahead=1, use_threads=False,
    )  # fmt: skip
    yield from scanner.to_batches()
