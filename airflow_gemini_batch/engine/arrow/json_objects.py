"""JSON objects, one on each line, as Arrow reads them: outside of Python's lock, straight into columns."""

from __future__ import annotations

from typing import Literal

import pyarrow as pa
import pyarrow.json


def read_objects(lines: bytes, count: int, schema: pa.Schema, *, unexpected: Literal["ignore", "error"]) -> pa.RecordBatch | None:
    """The objects as rows; None where Arrow refuses one, or does not find one on each line.

    :param lines: each begins with ``{``. pyarrow 26 ends the process (SIGSEGV) when all values are null.
    :param count: of the lines.
    :param unexpected: what to do about a member that the schema does not name.
    """
    try:
        read = pyarrow.json.read_json(
            pa.BufferReader(lines),
            read_options=pyarrow.json.ReadOptions(use_threads=False, block_size=len(lines) + 1),
            parse_options=pyarrow.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior=unexpected),
        )
    except pa.ArrowException:
        return None
    batches = read.to_batches()
    # An object ends with its line, or the next line would not be JSON: equal numbers mean one on each.
    if len(batches) != 1 or read.num_rows != count or read.schema != schema:
        return None
    return batches[0]
