"""Requests are cut into shards: files that become one batch job each.

Invariants: the same rows make the same bytes, cut at the same rows, however the source hands them out; and no file exceeds a
limit, because it is cut before the row that would. A row without a request is in its shard too: the inputs file holds every row,
so that each is accounted for in the end.

    requests file   {"key":"…","request":{…}}\\n, one line for each row that has a request
    inputs file     Arrow IPC file, uncompressed, so that it can be mapped and read by row; by position:
                    0 key · 1 request_sha256 (null without a request) · 2 problem (null with one) · then the carried columns
"""

from __future__ import annotations

import contextlib
import functools
import heapq
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256
from types import TracebackType
from typing import IO, Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa

from airflow_gemini_batch.engine.arrow.pools import lean_pool
from airflow_gemini_batch.engine.build.budget import with_bounds
from airflow_gemini_batch.engine.build.duplicates import Duplicates
from airflow_gemini_batch.engine.build.group_part import GroupPart
from airflow_gemini_batch.engine.build.reuse import Answers, Reused
from airflow_gemini_batch.engine.build.rows import INPUT_FIELDS, Rows
from airflow_gemini_batch.engine.build.sampling import Sampler
from airflow_gemini_batch.engine.build.source_rows import plain_rows, source_rows
from airflow_gemini_batch.engine.build.table_columns import table_columns
from airflow_gemini_batch.engine.costs.bounds import Meter
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.request.encoding import RequestEncoder
from airflow_gemini_batch.engine.request.fingerprints import Fingerprinter
from airflow_gemini_batch.engine.run.layout import Manifest, ReusedPart, Run, Shard, ShardAttempt
from airflow_gemini_batch.engine.run.media_manifest import MediaFile
from airflow_gemini_batch.engine.run.repeats import key_of
from airflow_gemini_batch.engine.source.blocks import MAX_BLOCK_ROWS
from airflow_gemini_batch.engine.source.keys import KeyIndex, stable_hash, stable_hashes
from airflow_gemini_batch.engine.source.open import Source
from airflow_gemini_batch.engine.threads import ConsumerThread

#: Rows without a request do not count toward a shard's requests; this limits the inputs file of a table with many of them.
_MAX_ROWS_PER_REQUEST = 4

#: Pieces of a shard that may wait to be written.
_WAITING_PIECES = 2


class Built(NamedTuple):
    """
    :param duplicates_sha256: digest of the rows that another row pays for; None without ``dedupe``.
    :param reused: the rows that earlier runs have answered; ``reused_sha256`` is their digest, None without ``reuse``.
    """

    shards: tuple[Shard, ...]
    duplicates_sha256: str | None = None
    reused: tuple[ReusedPart, ...] = ()
    reused_sha256: str | None = None

    @classmethod
    def of(cls, manifest: Manifest) -> Built:
        return cls(manifest.shards, manifest.duplicates_sha256, manifest.reused, manifest.reused_sha256)

    @property
    def digests(self) -> Digests:
        shards = tuple((shard.rows, shard.sha256) for shard in self.shards)
        return Digests(shards, self.duplicates_sha256, self.reused_sha256)


class Digests(NamedTuple):
    """What two builds of the same rows have in common.

    :param shards: rows and sha256 of each requests file.
    :param duplicates: digest of the rows that another row pays for; None without ``dedupe``.
    :param reused: digest of the rows that earlier runs have answered; None without ``reuse``.
    """

    shards: tuple[tuple[int, str], ...]
    duplicates: str | None = None
    reused: str | None = None


def build_shards(
    source: Source,
    encoder: RequestEncoder,
    *,
    run: Run,
    key: str | None,
    carry: Sequence[str],
    options: BatchOptions,
    fingerprinter: Fingerprinter,
    dedupe: bool = False,
    earlier: Answers | None = None,
    manifest: Manifest | None = None,
    sampler: Sampler | None = None,
    meter: Meter | None = None,
    repeats: int = 1,
    part: GroupPart | None = None,
) -> Built:
    """Write the requests and the inputs file of every shard of the table.

    An empty table makes one empty shard, so that all later steps work as usual. Raises InputError for a source, key or carry that
    cannot be used; files written until then are ignored, because there is no manifest.

    :param key: the column that holds each row's key; None: the row's number, counted from 0.
    :param carry: columns that are repeated in the tables that come out.
    :param dedupe: whether rows with equal requests share one.
    :param earlier: what earlier runs have answered, with the ``manifest`` of this one as far as it is known.
    :param sampler: draws the rows that are built; None: all.
    :param meter: measures what each shard may cost; None: that is not needed.
    :param repeats: how often each row is sent.
    :param part: the group that the source is, of a run that is built in groups; None: the source is the whole table.
    """
    decided = None if part is None else part.in_microseconds
    extra, carried = table_columns(source, encoder, options, key=key, carry=carry, repeats=repeats, in_microseconds=decided)
    with lean_pool(), contextlib.ExitStack() as stack:
        index = stack.enter_context(contextlib.closing(KeyIndex() if part is None else KeyIndex(stable_hash, stable_hashes)))
        duplicates = stack.enter_context(Duplicates(carried.schema))
        reused = None if earlier is None else stack.enter_context(Reused(earlier, carried.schema))
        rows: Iterator[Rows] = stack.enter_context(
            contextlib.closing(source_rows(source, encoder, key, carried, options.max_shard_bytes, index, fingerprinter))
        )
        if sampler is not None:
            rows = sampler.chosen(rows, lambda: plain_rows(source, encoder, key, options.max_shard_bytes, fingerprinter))
        if reused is not None:
            rows = reused.without(rows)
        if dedupe and sampler is None:
            rows = duplicates.without(rows)
        number_of: Callable[[int], int] = int
        if part is not None:
            rows, number_of = stack.enter_context(part).watched(rows), part.number
        write = functools.partial(_write_shards, run=run, carried=carried.schema, meter=meter, number_of=number_of)
        with ConsumerThread(write, waiting=_WAITING_PIECES, name="write shards") as writing:
            for piece in _cut(rows, options):
                writing.put(piece)
        shards = writing.result
        aside = [duplicates.rows] if reused is None else [duplicates.rows, reused.rows]
        index.refuse_doubles(
            key,
            lambda: (
                _own_keys(_all_keys(_written_keys(run, shards), *(rows.keys() for rows in aside)), repeats)
                if sampler is None
                else _keys_of(plain_rows(source, encoder, key, options.max_shard_bytes, fingerprinter))
            ),
        )
        carried.finish(run, shards)
        if part is None:
            shards = list(duplicates.finish(run, shards, carried))
        else:  # which rows pay is known when the groups are merged
            part.keep(index, duplicates.rows)
        built = Built(tuple(shards), duplicates.rows.digest if dedupe else None)
        if reused is None or manifest is None:
            return built
        parts = reused.finish(run, manifest, carried, extra=extra, keep_response=options.keep_response, number=number_of)
        return built._replace(reused=parts, reused_sha256=reused.rows.digest)


def _write_shards(
    pieces: Iterator[tuple[int, Rows]],
    *,
    run: Run,
    carried: pa.Schema,
    meter: Meter | None,
    number_of: Callable[[int], int],
) -> list[Shard]:
    shards = []
    for number, of_shard in _grouped(pieces):
        with ShardWriter(run, ShardAttempt(number_of(number)), carried) as writer:
            for piece in of_shard:
                writer.write(piece)
                if meter is not None:
                    meter.add(piece.lines.to_pylist())
        shards.append(writer.shard if meter is None else with_bounds(writer.shard, meter.taken()))
    return shards


def digest_shards(
    source: Source,
    encoder: RequestEncoder,
    *,
    key: str | None,
    cut: Sequence[int],
    max_bytes: int,
    fingerprinter: Fingerprinter,
    dedupe: bool = False,
    earlier: Answers | None = None,
    sampler: Sampler | None = None,
    repeats: int = 1,
) -> Digests:
    """The rows and the sha256 of the requests file of every shard, without writing any.

    :param cut: the rows of each shard of the run to compare with; rows beyond them all make one more shard.
    :param max_bytes: as when that run was built.
    """
    with Duplicates(None) as duplicates, contextlib.ExitStack() as stack:
        rows = plain_rows(source, encoder, key, max_bytes, fingerprinter, repeats)
        reused = None if earlier is None else stack.enter_context(Reused(earlier, None))
        if sampler is not None:
            rows = sampler.chosen(rows, lambda: plain_rows(source, encoder, key, max_bytes, fingerprinter))
        if reused is not None:
            rows = reused.without(rows)
        if dedupe and sampler is None:
            rows = duplicates.without(rows)
        digests = []
        for _, pieces in _grouped(_cut_as(rows, cut)):
            count, digest = 0, sha256()
            for piece in pieces:
                count += len(piece)
                digest.update(piece.content)
            digests.append((count, digest.hexdigest()))
        return Digests(tuple(digests), duplicates.rows.digest if dedupe else None, None if reused is None else reused.rows.digest)


class ShardWriter:
    """Writes the two files of one attempt at one shard. They appear when the block ends well, and not at all when it fails.

    ``shard`` says what was written, once the block has ended.
    """

    shard: Shard

    def __init__(self, run: Run, id: ShardAttempt, carried: pa.Schema) -> None:
        self._run = run
        self._id = id
        self._schema = pa.schema([*INPUT_FIELDS, *carried])
        self._digest = sha256()
        self._rows = self._requests = self._bytes = 0
        self._media: dict[str, MediaFile] = {}
        self._files = contextlib.ExitStack()
        self._requests_file: IO[bytes]
        self._inputs_file: Any

    def __enter__(self) -> ShardWriter:
        with contextlib.ExitStack() as files:
            self._requests_file = files.enter_context(self._run.requests_file(self._id).writing())
            inputs = files.enter_context(self._run.inputs_file(self._id).writing())
            self._inputs_file = files.enter_context(pa.ipc.new_file(inputs, self._schema))
            self._files = files.pop_all()
        return self

    def write(self, rows: Rows) -> None:
        content = rows.content
        self._requests_file.write(content)
        self._digest.update(content)
        self._rows += len(rows)
        self._requests += rows.requests
        self._bytes += len(content)
        for is_sent, files in zip(rows.lines.is_valid(), rows.media, strict=False):
            if is_sent.as_py():
                self._media.update((file.name, file) for file in files if file.name not in self._media)
        for start in range(0, len(rows), MAX_BLOCK_ROWS):
            self._inputs_file.write_batch(rows.inputs.slice(start, MAX_BLOCK_ROWS))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None and self._media:  # before the request file, so that the media of every existing request file are known
            self._run.media_file(self._id).write(msgspec.json.encode(list(self._media.values())))
        self._files.__exit__(kind, error, trace)
        self.shard = Shard(
            number=self._id.shard, rows=self._rows, requests=self._requests, bytes=self._bytes,
            sha256=self._digest.hexdigest(), attempt=self._id.attempt, media=len(self._media),
        )  # fmt: skip


# --- rows


def _keys_of(blocks: Iterable[Rows]) -> Iterator[str]:
    for block in blocks:
        yield from block.inputs.column(0).to_pylist()


def _own_keys(wires: Iterator[str], repeats: int) -> Iterator[str]:
    """The key of each row of the source, from the wire keys of its repeats."""
    return wires if repeats == 1 else map(key_of, itertools.islice(wires, 0, None, repeats))


def _written_keys(run: Run, shards: Sequence[Shard]) -> Iterator[str]:
    for shard in shards:
        with run.inputs_file(shard.id).open() as file, pa.ipc.open_file(file) as inputs:
            for number in range(inputs.num_record_batches):
                yield from inputs.get_batch(number).column(0).to_pylist()


def _all_keys(written: Iterator[str], *aside: Iterator[tuple[int, str]]) -> Iterator[str]:
    """All keys in the order of the source.

    :param written: the keys of the rows in shards, in that order.
    :param aside: the other rows, each with its number in the source, ascending.
    """
    row = 0
    for number, key in heapq.merge(*aside):
        while row < number:
            yield next(written)
            row += 1
        yield key
        row += 1
    yield from written


# --- cutting


def _grouped(pieces: Iterable[tuple[int, Rows]]) -> Iterator[tuple[int, Iterator[Rows]]]:
    """The rows of each shard; a table without rows is one shard without rows."""
    shards = itertools.groupby(pieces, key=lambda piece: piece[0])
    number = -1
    for number, group in shards:
        yield number, (rows for _, rows in group)
    if number == -1:
        yield 0, iter(())


def _cut(blocks: Iterable[Rows], options: BatchOptions) -> Iterator[tuple[int, Rows]]:
    """Rows with the number of their shard. A shard ends before the row that would take it past a limit."""
    number = rows = requests = size = 0
    max_rows = options.max_shard_requests * _MAX_ROWS_PER_REQUEST
    for block in blocks:
        sizes = block.sizes()
        start = 0
        while start < len(block):
            bytes_after = np.cumsum(sizes[start:])
            requests_after = np.cumsum(sizes[start:] > 0)
            count = min(
                len(bytes_after),
                max_rows - rows,
                int(np.searchsorted(bytes_after, options.max_shard_bytes - size, side="right")),
                int(np.searchsorted(requests_after, options.max_shard_requests - requests, side="right")),
            )
            if count == 0:
                number += 1
                rows = requests = size = 0
                continue
            yield number, block.between(start, start + count)
            start += count
            rows += count
            requests += int(requests_after[count - 1])
            size += int(bytes_after[count - 1])


def _cut_as(blocks: Iterable[Rows], cut: Sequence[int]) -> Iterator[tuple[int, Rows]]:
    """Rows with the number of their shard, where shards have the rows that another build gave them."""
    number = 0
    left = cut[0] if cut else 0
    for block in blocks:
        start = 0
        while start < len(block):
            while left == 0 and number < len(cut):
                number += 1
                left = cut[number] if number < len(cut) else 0
            stop = len(block) if number >= len(cut) else min(len(block), start + left)
            yield number, block.between(start, stop)
            left -= stop - start
            start = stop
