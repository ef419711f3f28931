"""The index of a finished run: where in its results the answer to a request is.

    _run/index.parquet    fingerprint (32 bytes) · part (file name) · row (in the part) · answered_at · cost_usd,
                          sorted by fingerprint; the metadata name the run and when it was finished

It holds the results that the run paid for, and those that it took from earlier runs, with the age and the cost of the first
answer. Copies are left out. A run that was finished without an index gets one when it is first needed.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from airflow_gemini_batch.engine.arrow import columns
from airflow_gemini_batch.engine.arrow.columns import TIMESTAMP
from airflow_gemini_batch.engine.errors import CorruptRunError
from airflow_gemini_batch.engine.request.fingerprints import FINGERPRINT_BYTES, Fingerprinter
from airflow_gemini_batch.engine.run.bucket_sort import WORDS, BucketSort, words_of
from airflow_gemini_batch.engine.run.layout import Manifest, PartName, Run, ShardAttempt
from airflow_gemini_batch.engine.run.many_files import batches_of_parts
from airflow_gemini_batch.engine.run.request_lines import read_requests
from airflow_gemini_batch.engine.run.storage import Location

#: When an answer was given first, and what it cost then.
ORIGIN_FIELDS = (pa.field("answered_at", TIMESTAMP, nullable=False), pa.field("cost_usd", pa.float64()))

_SCHEMA = pa.schema(
    [
        pa.field("fingerprint", pa.binary(FINGERPRINT_BYTES), nullable=False),
        pa.field("part", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        *ORIGIN_FIELDS,
    ]
)
#: ``part`` counts the parts of the run, ``answered_at`` is in microseconds since the epoch, and a cost that is not known is NaN.
_RECORD = np.dtype([*WORDS, ("part", np.uint32), ("row", np.uint32), ("answered_at", np.int64), ("cost_usd", np.float64)])

_BATCH_ROWS = 1 << 16

#: Parquet metadata: which run the index is of, and which finish of it.
_OF = b"gemini_batch.index_of"


def write_index(run: Run, manifest: Manifest, file: Location, *, finished_at: str, folder: Location | None = None) -> None:
    """Write the index of a run whose tables are final.

    :param file: where to write it, usually ``run.index_file``.
    :param folder: with the parts; default: the results.
    :param finished_at: when the run was finished (RFC 3339): the age of what it paid for.
    """
    parts = [(name, part) for part in (folder or run.destination / "results").children() if (name := PartName.of(part.name))]
    parts = [(name, part) for name, part in parts if name.kind != "copies-"]
    names = columns.strings([part.name for _, part in parts])
    now = int(dt.datetime.fromisoformat(finished_at).timestamp() * 1e6)
    with BucketSort(_RECORD, sum(shard.rows for shard in manifest.shards) + manifest.reused_rows) as sort:
        largest = max([*(shard.rows for shard in manifest.shards), *(part.rows for part in manifest.reused)], default=0)
        for records in batches_of_parts(
            run.destination,
            enumerate(parts),
            lambda part: _records(part[0], _answers(run, manifest, *part[1], now)),
            rows=largest,
        ):
            sort.add(records)
        schema = _SCHEMA.with_metadata({_OF: _finish_of(manifest, finished_at)})
        with file.writing() as out, pq.ParquetWriter(out, schema, compression="zstd", use_dictionary=["part"]) as writer:
            for records in sort.sorted():
                writer.write_batch(_batch(records, names))


def _records(number: int, answers: Iterator[tuple[pa.Array, Any, Any]]) -> Iterator[Any]:
    """The records of the answers in a part that have a fingerprint, some at a time.

    :param number: of the part.
    """
    first = 0
    for fingerprints, ages, costs in answers:
        records = np.zeros(len(fingerprints), _RECORD)
        records["part"], records["row"] = number, np.arange(first, first + len(records))
        records["answered_at"], records["cost_usd"] = ages, costs
        first += len(records)
        records = records[columns.is_valid(fingerprints)]
        words = words_of(bytes.fromhex("".join(fingerprints.drop_null().to_pylist())))
        for place, (field, _) in enumerate(WORDS):
            records[field] = words[:, place]
        yield records


def is_index_of(found: pq.FileMetaData, manifest: Manifest, finished_at: str) -> bool:
    """Whether an index was made when the run was finished then, and not by another run or another finish."""
    return bool((found.metadata or {}).get(_OF) == _finish_of(manifest, finished_at))


def _finish_of(manifest: Manifest, finished_at: str) -> bytes:
    return f"{manifest.run_id} {finished_at}".encode()


def _batch(records: Any, names: pa.Array) -> pa.RecordBatch:
    content = pa.py_buffer(np.stack([records[name] for name, _ in WORDS], axis=1).astype(">u8").tobytes())
    fingerprints = pa.Array.from_buffers(pa.binary(FINGERPRINT_BYTES), len(records), [None, content])
    part = pa.DictionaryArray.from_arrays(columns.from_numpy(records["part"].astype(np.int32)), names)
    rows = columns.from_numpy(records["row"].astype(np.int64))
    times = columns.from_numpy(records["answered_at"]).cast(TIMESTAMP)
    costs = columns.from_numpy_with_nan(records["cost_usd"])
    return pa.RecordBatch.from_arrays([fingerprints, part, rows, times, costs], schema=_SCHEMA)


def _answers(run: Run, manifest: Manifest, name: PartName, part: Location, now: int) -> Iterator[tuple[pa.Array, Any, Any]]:
    """The fingerprints of a part's rows in hex, with age and cost of each answer, some at a time."""
    old = None if manifest.version >= 2 or name.kind else _recomputed(run, manifest, name.id)
    with part.open() as file, pq.ParquetFile(file) as parquet:
        costs = ["cost_usd"] if "cost_usd" in parquet.schema_arrow.names else []
        names = ["key" if old is not None else "request_sha256", *costs]
        origins = _origins(run, name) if name.kind == "reused-" else None
        for batch in parquet.iter_batches(batch_size=_BATCH_ROWS, columns=names):
            fingerprints = batch.column(names[0])
            if old is not None:
                fingerprints = columns.strings([old.get(key) for key in fingerprints.to_pylist()])
            if origins is not None:
                of_batch = next(origins)
                yield fingerprints, of_batch.column("answered_at").cast(pa.int64()), columns.with_nan(of_batch.column("cost_usd"))
            else:
                yield fingerprints, now, columns.with_nan(batch.column("cost_usd")) if costs else np.nan


def _origins(run: Run, name: PartName) -> Iterator[pa.RecordBatch]:
    origins = run.origins_file(name.id)
    try:
        with origins.open() as file, pq.ParquetFile(file) as parquet:
            yield from parquet.iter_batches(batch_size=_BATCH_ROWS)
    except (FileNotFoundError, pa.ArrowInvalid) as error:
        raise CorruptRunError(
            f"{origins} is {'absent' if isinstance(error, FileNotFoundError) else 'torn'}: the ages of reused answers are there. "
            "Restore it, or start over with if_exists='replace'."
        ) from error


def _recomputed(run: Run, manifest: Manifest, part: ShardAttempt) -> dict[str, str]:
    """Key -> fingerprint, of a run whose ``request_sha256`` does not count the model: from the requests that were sent."""
    fingerprinter = Fingerprinter(manifest.model, manifest.request)
    found: dict[str, str] = {}
    with run.requests_file(part).open() as lines:
        requests = read_requests(lines)
        while some := list(islice(requests, _BATCH_ROWS)):
            made = fingerprinter.of(columns.large_binaries([request for _, request in some])).hex()
            size = 2 * FINGERPRINT_BYTES
            found.update((key, made[place * size : (place + 1) * size]) for place, (key, _) in enumerate(some))
    return found
