"""The two output tables: their columns, and the writer of their parts.

The columns and their order are public; every part of a run has the same ones. What a kind of request adds to the results
(typed columns, embeddings, media) goes between ``text`` and ``finish_reason`` and is decided by the run's request, never by
what happens to be in an answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType

import pyarrow as pa
import pyarrow.parquet as pq

from airflow_gemini_batch import __version__
from airflow_gemini_batch.engine.arrow.columns import TIMESTAMP, doubles
from airflow_gemini_batch.engine.arrow.round_trip import schema_read_back
from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.run.layout import Manifest
from airflow_gemini_batch.engine.run.storage import Location
from airflow_gemini_batch.engine.threads import ConsumerThread

#: A row group ends at either bound: small enough for a reader's memory (and far from the 2 GB of an Arrow string column), large
#: enough to compress well.
ROW_GROUP_ROWS = 1 << 16
ROW_GROUP_BYTES = 32 << 20

#: Bytes of batches that may wait for the writer, and one batch more: enough to keep it busy, few enough to keep memory flat.
_WAITING_BYTES = 8 << 20

#: Long texts that rarely repeat: dictionaries and statistics for them cost time and space without helping readers.
_DISTINCT_TEXTS = {"key", "text", "message", "request", "response", "response_id", "request_sha256", "grounding", "citations",
                   "paid_by", "function_calls", "code_execution", "url_context", "thoughts"}  # fmt: skip

#: Token counts as the service reports them. ``total`` is prompt + output + thoughts + tool; ``cached`` is a part of ``prompt``.
TOKEN_COLUMNS = ("prompt_tokens", "output_tokens", "thoughts_tokens", "cached_tokens", "tool_tokens", "total_tokens")

_KEY = pa.field("key", pa.string())
_RESPONSE = pa.field("response", pa.string())
_ORIGIN = (
    pa.field("request_sha256", pa.string()),
    pa.field("job", pa.string()),
    pa.field("shard", pa.int32()),
    pa.field("attempt", pa.int32()),
)
_TEXT = pa.field("text", pa.string())
#: USD at batch rates: null where it is not known, 0 where nothing was paid.
_COST = pa.field("cost_usd", pa.float64())
#: The key of the row whose answer this is, where the row did not pay itself.
_PAID_BY = pa.field("paid_by", pa.string())
#: The URI of the run that paid for this answer, where it was another.
_REUSED_FROM = pa.field("reused_from", pa.string())
_ANSWER = (
    pa.field("finish_reason", pa.string()),
    *(pa.field(name, pa.int64()) for name in TOKEN_COLUMNS),
    _COST,
    _PAID_BY,
    _REUSED_FROM,
    pa.field("model_version", pa.string()),
    pa.field("response_id", pa.string()),
)
_LETTER = (
    pa.field("reason", pa.string()),
    pa.field("code", pa.int32()),
    pa.field("status", pa.string()),
    pa.field("message", pa.string()),
    pa.field("retryable", pa.bool_()),
    pa.field("request", pa.string()),
    _RESPONSE,
    _COST,
    _PAID_BY,
    *_ORIGIN,
    pa.field("failed_at", TIMESTAMP),
)

#: What a row was billed: nothing where another row, or another run, has paid for its answer.
PAID = frozenset((*TOKEN_COLUMNS, "cost_usd"))

#: Names that a carried column must not have, in either table, besides the columns that the run's request adds.
RESERVED_COLUMNS = frozenset(field.name for field in (_KEY, _TEXT, *_ANSWER, *_LETTER))


def results_schema(carry: pa.Schema, *, extra: Sequence[pa.Field] = (), keep_response: bool = True) -> pa.Schema:
    """:param extra: the columns that the run's request adds."""
    return _schema(carry, (_TEXT, *extra, *_ANSWER, *([_RESPONSE] if keep_response else []), *_ORIGIN))


def dead_letter_schema(carry: pa.Schema) -> pa.Schema:
    return _schema(carry, _LETTER)


def _schema(carry: pa.Schema, own: tuple[pa.Field, ...]) -> pa.Schema:
    if taken := sorted(RESERVED_COLUMNS.union(field.name for field in own) & set(carry.names)):
        raise InputError(
            f"Cannot carry {', '.join(map(repr, taken))}: the tables have columns of these names. "
            "Rename them in the source, or leave them out of carry."
        )
    return pa.schema([_KEY, *(carry.field(position) for position in range(len(carry))), *own])


def part_metadata(manifest: Manifest) -> dict[bytes, bytes]:
    """The Parquet key-value metadata of every part: which run it belongs to, what was asked, and who wrote it.

    ``gemini_batch.owner`` is the DAG, DAG run, task and map index, separated by slashes; a run without Airflow has none.
    """
    known = {
        "run_id": manifest.run_id,
        "model": manifest.model,
        "request_sha256": manifest.question,  # of model, request, key and carry
        "version": __version__,
        "owner": manifest.owner,
    }
    return {f"gemini_batch.{name}".encode(): value.encode() for name, value in known.items() if value is not None}


def require_parquet(*schemas: pa.Schema) -> None:
    """Raise InputError when a table of one of the schemas would not come back from Parquet as it was written.

    Called before anything is created at the service: answers that are paid for must find tables that can be written.
    """
    for schema in schemas:
        found = schema_read_back(schema)
        for field in () if isinstance(found, pa.Schema) and found == schema else schema:
            alone = schema_read_back(pa.schema([field]))
            if not isinstance(alone, pa.Schema) or alone.field(0) != field:
                what = f"comes back as {alone.field(0).type}" if isinstance(alone, pa.Schema) else str(alone)
                raise InputError(
                    f"The column {field.name!r} (type {field.type}) cannot be kept in Parquet: {what}. "
                    "Cast it to another type, for example to text."
                )


def paid_nothing(type: pa.DataType, length: int) -> pa.Array:
    """A column of ``PAID`` for rows that did not pay: no tokens, and a cost of zero, which is known whatever the price."""
    return doubles([0.0] * length) if pa.types.is_floating(type) else pa.nulls(length, type)


class PartWriter:
    """One Parquet part, compressed and written in a thread of its own; whole or absent.

    A context manager: the part appears when the block ends well. What goes wrong in the thread is raised by the next ``write``,
    or at the end of the block.
    """

    def __init__(self, file: Location, schema: pa.Schema, metadata: Mapping[bytes, bytes] | None = None) -> None:
        """:param metadata: of the part. Default: that of the schema, which a part that is written again keeps in this way."""
        self._file = file
        self._schema = schema if metadata is None else schema.with_metadata(metadata)
        self._thread = ConsumerThread(self._write_all, waiting=_WAITING_BYTES, name=f"write {file.name}", weigh=_bytes_of)
        self.rows = 0

    def __enter__(self) -> PartWriter:
        self._thread.__enter__()
        return self

    def write(self, batch: pa.RecordBatch) -> None:
        """Hand over a batch, waiting while the writer is behind. Keep batches to some megabytes."""
        self._thread.put(batch)
        self.rows += batch.num_rows

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._thread.__exit__(kind, error, trace)

    def _write_all(self, batches: Iterator[pa.RecordBatch]) -> None:
        flat = [field.name for field in self._schema if field.name not in _DISTINCT_TEXTS]
        with (
            self._file.writing() as file,
            pq.ParquetWriter(
                file, self._schema, compression="zstd", compression_level=1, use_dictionary=flat, write_statistics=[*flat, "key"]
            ) as parquet,
        ):
            pending: list[pa.RecordBatch] = []
            rows = size = 0
            for batch in batches:
                if pending and (rows + batch.num_rows > ROW_GROUP_ROWS or size + batch.nbytes > ROW_GROUP_BYTES):
                    _write_group(parquet, pending)
                    pending, rows, size = [], 0, 0
                pending.append(batch)
                rows += batch.num_rows
                size += batch.nbytes
            if pending:
                _write_group(parquet, pending)


def _bytes_of(batch: pa.RecordBatch) -> int:
    return max(1, int(batch.nbytes))


def _write_group(parquet: pq.ParquetWriter, batches: list[pa.RecordBatch]) -> None:
    table = pa.Table.from_batches(batches)
    parquet.write_table(table, row_group_size=max(table.num_rows, 1))
    # Return the freed pages to the system: the pool would keep them.
    pa.default_memory_pool().release_unused()
