"""The columns of a run's tables that depend on the question: checked before a table is read."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from airflow_gemini_batch.engine.build.carry import Carry, carried_names
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.request.encoding import RequestEncoder
from airflow_gemini_batch.engine.run.repeats import REPEAT
from airflow_gemini_batch.engine.run.tables import RESERVED_COLUMNS, dead_letter_schema, require_parquet, results_schema
from airflow_gemini_batch.engine.shapes.extra_fields import extra_fields
from airflow_gemini_batch.engine.source.open import Source


def table_columns(
    source: Source,
    encoder: RequestEncoder,
    options: BatchOptions,
    *,
    key: str | None,
    carry: Sequence[str],
    repeats: int,
    in_microseconds: Sequence[str] | None = None,
) -> tuple[Sequence[pa.Field], Carry]:
    """The columns that the request adds to the results, and the carried ones. Raises InputError for columns that cannot be used.

    :param in_microseconds: as ``Carry`` takes it.
    """
    extra = extra_fields(encoder.spec, media_as_files=options.media_to == "files")
    taken = RESERVED_COLUMNS.union((field.name for field in extra), () if repeats == 1 else (REPEAT.name,))
    names = carried_names(source.schema, key=key, carry=carry, taken=taken)
    carried = Carry(source, names, repeats, in_microseconds)
    require_parquet(results_schema(carried.schema, extra=extra), dead_letter_schema(carried.schema))
    return extra, carried
