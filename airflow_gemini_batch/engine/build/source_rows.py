"""The table as rows with keys, requests and carried columns, made a few blocks ahead.

Requests, lines and fingerprints are made in threads. The source is read, keys are taken and users' code is called in the
caller's thread, block after block: a stream or a function may belong to it.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import NamedTuple

import pyarrow as pa

from airflow_gemini_batch.engine.build.carry import Carry
from airflow_gemini_batch.engine.build.rows import Rows
from airflow_gemini_batch.engine.request.encoded import Encoded
from airflow_gemini_batch.engine.request.encoding import RequestEncoder
from airflow_gemini_batch.engine.request.fingerprints import Fingerprinter
from airflow_gemini_batch.engine.run.repeats import places_of, repeated
from airflow_gemini_batch.engine.source.keys import KeyIndex, check_key_column, read_keys, refuse_missing_keys
from airflow_gemini_batch.engine.source.open import Source
from airflow_gemini_batch.engine.threads import in_order


def source_rows(
    source: Source,
    encoder: RequestEncoder,
    key: str | None,
    carried: Carry,
    max_bytes: int,
    index: KeyIndex | None,
    fingerprinter: Fingerprinter,
) -> Generator[Rows, None, None]:
    """The whole table, block by block, each row as often as ``carried`` says. Keys go to ``index``, unless they are numbers."""
    check_key_column(key, source.schema)

    def rows_of(piece: _Piece) -> Rows:
        return Rows.of(piece.keys, piece.requests(), piece.carried, max_bytes, fingerprinter, piece.first_row)

    yield from in_order(_pieces(source, encoder, key, carried, index), rows_of)


class _Piece(NamedTuple):
    """What becomes ``Rows``.

    :param requests: makes or has the requests.
    """

    keys: list[str]
    requests: Callable[[], Encoded]
    carried: pa.RecordBatch | None
    first_row: int


def _pieces(source: Source, encoder: RequestEncoder, key: str | None, carried: Carry, index: KeyIndex | None) -> Iterator[_Piece]:
    own_key = () if key is None else (key,)
    needed = tuple(dict.fromkeys((*encoder.columns, *own_key, *carried.names)))
    first_row = 0
    blocks = source.batches(needed)
    for block in blocks:
        keys = read_keys(key, block, first_row)
        if None in keys:
            refuse_missing_keys(key, _numbered(itertools.chain([block], blocks), first_row))
        if index is not None and key is not None:
            index.add(keys)
        encode = functools.partial(encoder.encode, block.select(encoder.columns) if encoder.columns else block)
        of_block = carried.batch(block)
        if carried.repeats == 1:
            yield _Piece(keys, encode if encoder.any_thread else encode().itself, of_block, first_row)
        else:
            encoded = encode()
            for first, of_row, repeat in places_of(block.num_rows, carried.repeats):
                wires, number = repeated(keys, of_row, repeat), first_row * carried.repeats + first
                yield _Piece(wires, functools.partial(encoded.take, of_row), carried.repeated(of_block, of_row, repeat), number)
        first_row += block.num_rows


def plain_rows(
    source: Source,
    encoder: RequestEncoder,
    key: str | None,
    max_bytes: int,
    fingerprinter: Fingerprinter,
    repeats: int = 1,
) -> Iterator[Rows]:
    """The whole table without carried columns."""
    return source_rows(source, encoder, key, Carry(source, (), repeats), max_bytes, None, fingerprinter)


def _numbered(blocks: Iterable[pa.RecordBatch], first_row: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    for block in blocks:
        yield first_row, block
        first_row += block.num_rows
