"""Redrive: resubmitting retryable dead letters within the same run, as the next attempt of their shard with a job of its own.

What is resubmitted is decided once per shard and attempt, and recorded in the ledger after its request files have been written.
A resubmitted dead letter is removed from the dead-letter table of its attempt when the run is finished (``prune``). Until then
its key may be in two tables, and there is no summary yet.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from airflow_gemini_batch.engine.arrow.columns import large_binaries
from airflow_gemini_batch.engine.build.rows import Rows
from airflow_gemini_batch.engine.build.shards import ShardWriter
from airflow_gemini_batch.engine.errors import BudgetError, CorruptRunError
from airflow_gemini_batch.engine.gemini.jobs import Job, JobState
from airflow_gemini_batch.engine.options import SERVICE_MAX_BYTES, BatchOptions
from airflow_gemini_batch.engine.reasons import Reason
from airflow_gemini_batch.engine.request.encoded import Encoded
from airflow_gemini_batch.engine.request.fingerprints import Fingerprinter
from airflow_gemini_batch.engine.run.layout import Manifest, Run, Shard, ShardAttempt, read_json, span_of
from airflow_gemini_batch.engine.run.ledger import Cancellation, Landed, Ledger, Redrive
from airflow_gemini_batch.engine.run.many_files import parts_at_once
from airflow_gemini_batch.engine.run.media_manifest import MediaFile, files_named, read_media
from airflow_gemini_batch.engine.run.repeats import key_columns, wire_keys_of
from airflow_gemini_batch.engine.run.shard_inputs import open_inputs, opened
from airflow_gemini_batch.engine.run.snapshot import Snapshot
from airflow_gemini_batch.engine.run.tables import PartWriter

log = logging.getLogger(__name__)

#: Dead letters that are read at a time; requests can be large.
_BATCH_ROWS = 1024


@dataclass(frozen=True, slots=True)
class _JobEnd:
    """How a shard's job ended, as far as it decides what is resubmitted.

    :param cancelled_by_us: the rows that it left unfinished do not count toward ``max_redrives``.
    :param too_slow: it expired, or was cancelled because it made no progress: smaller jobs may do better.
    """

    cancelled_by_us: bool
    too_slow: bool

    @classmethod
    def of(cls, job: Job | None, cancellation: Cancellation | None) -> _JobEnd:
        state = None if job is None else job.state
        return cls(
            cancelled_by_us=cancellation is not None and state is JobState.CANCELLED,
            too_slow=state is JobState.EXPIRED or (cancellation is not None and cancellation.why == "stuck"),
        )


def redrive(
    run: Run,
    manifest: Manifest,
    shard: Shard,
    options: BatchOptions,
    *,
    landed: Landed | None = None,
    excess: Callable[[Sequence[Shard]], BudgetError | None] | None = None,
) -> tuple[Shard, ...]:
    """The shards in which the retryable dead letters of a landed shard are resubmitted; decided and recorded once.

    :param excess: says why shards cannot be sent. Then its error is raised and nothing is decided. Default: all can.
    """
    ledger = Ledger(run)
    torn = False
    try:
        if landed is not None and landed.dead_letter == 0:
            return ledger.record_redrive(shard.id, ()).shards
        decided = ledger.redrive(shard.id)
    except CorruptRunError as error:
        log.warning("%s It is rewritten from the request files.", error)
        decided, torn = _recovered(run, manifest, shard), True
        if decided is not None:
            return ledger.record_redrive(shard.id, decided.shards, repair=True).shards
    if decided is not None:
        return decided.shards
    end = _JobEnd.of(ledger.ended(shard.id), ledger.cancellation(shard.id))
    shards = _resubmit(run, manifest, shard, options, end)
    too_much = excess(shards) if excess is not None and shards else None
    if too_much is not None:
        raise too_much
    return ledger.record_redrive(shard.id, shards, repair=torn).shards


def prune(run: Run, snapshot: Snapshot) -> None:
    """Remove the dead letters that were resubmitted from the dead-letter part of the attempt before. May be repeated.

    :param snapshot: of a run whose shards have all landed.
    """
    pieces = {shard: snapshot.redrive(shard.id) or () for shard in snapshot.shards()}
    resubmitted = [shard for shard in pieces if pieces[shard]]
    largest = max((shard.rows for shard in resubmitted), default=0)
    prune_one = parts_at_once(
        run.destination,
        resubmitted,
        lambda shard: _prune_part(run, shard.id, pieces[shard], snapshot.manifest.repeats),
        rows=largest,
        writes=True,
    )
    for _ in prune_one:
        pass


def _prune_part(run: Run, part: ShardAttempt, pieces: Sequence[Shard], repeats: int) -> None:
    keys: list[pa.Array] = []
    for piece in pieces:
        with open_inputs(run, piece) as inputs:
            keys += [pa.array(inputs.keys(batch), pa.string()) for batch in range(len(inputs.batches))]
    if keys:
        _drop(run, part, pa.concat_arrays(keys), repeats)


def _piece(manifest: Manifest, shard: Shard, piece: int) -> ShardAttempt:
    """The first piece keeps the shard's number; a second gets one that no other shard can get (see ``layout.root_of``)."""
    return ShardAttempt(shard.number + piece * span_of(manifest.shards) * 2**shard.attempt, shard.attempt + 1)


def _recovered(run: Run, manifest: Manifest, shard: Shard) -> Redrive | None:
    """What was decided, read from the request files of the next attempt; None when there are none."""
    pieces: list[Shard] = []
    for piece in range(2):
        part = _piece(manifest, shard, piece)
        file = run.requests_file(part)
        if file.exists():
            with opened(run.inputs_file(part)) as reader:
                rows = sum(reader.get_batch(number).num_rows for number in range(reader.num_record_batches))
            media = len(read_json(run.media_file(part), list[MediaFile]) or ()) if shard.media else 0
            pieces.append(Shard(part.shard, rows, rows, file.size(), file.sha256(), part.attempt, shard.redrives + 1, media))
    return Redrive(tuple(pieces)) if pieces else None


def _resubmit(run: Run, manifest: Manifest, shard: Shard, options: BatchOptions, end: _JobEnd) -> tuple[Shard, ...]:
    """Write the request files of what is resubmitted, if anything."""
    counted, uncounted = _count(run, shard, options, cancelled_by_us=end.cancelled_by_us)
    rows = counted + uncounted
    if rows == 0:
        return ()
    pieces = 2 if end.too_slow and rows > 1 else 1
    shards = _write(run, manifest, shard, options, rows=rows, pieces=pieces, cancelled_by_us=end.cancelled_by_us)
    redrives = shard.redrives + (1 if counted else 0)
    shards = tuple(msgspec.structs.replace(piece, redrives=redrives) for piece in shards)
    log.info("Shard %s: resubmitting %d dead letters as %s.", shard.id, rows, ", ".join(str(piece.id) for piece in shards))
    return shards


def _selected(rows: pa.RecordBatch, shard: Shard, options: BatchOptions, *, cancelled_by_us: bool) -> tuple[pa.Array, pa.Array]:
    """Masks of the dead letters to resubmit: those that count toward ``max_redrives``, and those that do not."""
    reason, has_request = rows.column("reason"), pc.is_valid(rows.column("request"))
    uncounted = pc.and_(pc.equal(reason, Reason.JOB_CANCELLED.value), pa.scalar(cancelled_by_us))
    worthwhile = rows.column("retryable")
    if options.redrive_max_output_tokens is not None:
        worthwhile = pc.or_(worthwhile, pc.equal(reason, Reason.TRUNCATED.value))
    if options.redrive_reasons:
        wanted = pa.array(sorted(options.redrive_reasons), pa.string())
        # The status of an answer that is not a result is its finish reason. No finish reason has the name of an error's status.
        for named in (reason, rows.column("status")):
            worthwhile = pc.or_(worthwhile, pc.is_in(named, value_set=wanted))
    worthwhile = pc.and_(worthwhile, pa.scalar(shard.redrives < options.max_redrives))
    return pc.and_(pc.and_not(worthwhile, uncounted), has_request), pc.and_(uncounted, has_request)


def _count(run: Run, shard: Shard, options: BatchOptions, *, cancelled_by_us: bool) -> tuple[int, int]:
    counted = uncounted = 0
    for rows in dead_letter_batches(run, shard, ["reason", "status", "retryable", "request"]):
        masks = _selected(rows, shard, options, cancelled_by_us=cancelled_by_us)
        counted += pc.sum(masks[0]).as_py() or 0
        uncounted += pc.sum(masks[1]).as_py() or 0
    return counted, uncounted


def _write(
    run: Run, manifest: Manifest, shard: Shard, options: BatchOptions, *, rows: int, pieces: int, cancelled_by_us: bool
) -> tuple[Shard, ...]:
    size = -(-rows // pieces)
    with open_inputs(run, shard) as inputs:
        carry = inputs.carry
    writers = [ShardWriter(run, _piece(manifest, shard, piece), carry) for piece in range(pieces)]
    media = {file.name: file for file in read_media(run, shard)}
    written = 0
    with contextlib.ExitStack() as stack:
        for writer in writers:
            stack.enter_context(writer)
        for batch in dead_letter_batches(run, shard, None):
            masks = _selected(batch, shard, options, cancelled_by_us=cancelled_by_us)
            chosen = batch.filter(pc.or_(*masks))
            start = 0
            while start < chosen.num_rows:
                piece = written // size
                count = min(chosen.num_rows - start, (piece + 1) * size - written)
                writers[piece].write(rows_to_send(chosen.slice(start, count), carry, options, media, manifest))
                start += count
                written += count
    return tuple(writer.shard for writer in writers)


def rows_to_send(
    rows: pa.RecordBatch, carry: pa.Schema, options: BatchOptions, media: dict[str, MediaFile], manifest: Manifest
) -> Rows:
    """Dead letters as the rows of a shard, with the requests that were sent before."""
    requests = rows.column("request").cast(pa.large_binary())
    if options.redrive_max_output_tokens is not None:
        requests = large_binaries([_with_limit(request, options.redrive_max_output_tokens) for request in requests.to_pylist()])
    files = [files_named(request, media) for request in requests.to_pylist()] if media else ()
    carried = rows.select(carry.names) if carry.names else None
    fingerprinter = Fingerprinter(manifest.model, manifest.request)
    keys = wire_keys_of(rows, manifest.repeats).to_pylist()
    return Rows.of(keys, Encoded(requests, media=files), carried, SERVICE_MAX_BYTES, fingerprinter)


def _with_limit(request: bytes, max_output_tokens: int) -> bytes:
    """The request with another ``max_output_tokens``, every other value as it was written."""
    fields = msgspec.json.decode(request, type=dict[str, msgspec.Raw])
    name = next((name for name in ("generation_config", "generationConfig") if name in fields), "generation_config")
    config = msgspec.json.decode(fields.get(name, b"{}"), type=dict[str, msgspec.Raw])
    for spelling in ("max_output_tokens", "maxOutputTokens"):
        config.pop(spelling, None)
    config["max_output_tokens"] = msgspec.Raw(str(max_output_tokens).encode())
    fields[name] = msgspec.Raw(msgspec.json.encode(config))
    return msgspec.json.encode(fields)


def dead_letter_batches(run: Run, shard: Shard, names: list[str] | None) -> Iterator[pa.RecordBatch]:
    """The dead letters of a shard and attempt, some at a time; of all columns, or of these."""
    with run.dead_letter_part(shard.id).open() as file, pq.ParquetFile(file) as parquet:
        yield from parquet.iter_batches(batch_size=_BATCH_ROWS, columns=names)


def _drop(run: Run, part: ShardAttempt, keys: pa.Array, repeats: int) -> None:
    """:param keys: wire keys."""
    with run.dead_letter_part(part).open() as file, pq.ParquetFile(file) as parquet:
        if not pc.any(pc.is_in(wire_keys_of(parquet.read(columns=key_columns(repeats)), repeats), value_set=keys)).as_py():
            return
        schema = parquet.schema_arrow
        with PartWriter(run.dead_letter_part(part), schema) as writer:
            for rows in parquet.iter_batches(batch_size=_BATCH_ROWS):
                writer.write(rows.filter(pc.invert(pc.is_in(wire_keys_of(rows, repeats), value_set=keys))))
