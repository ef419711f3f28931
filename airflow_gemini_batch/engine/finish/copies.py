"""Rows that did not pay for themselves: each gets what became of the row that paid, a result or a dead letter.

Copies are made when every part of a run is final, just before its tables are checked, and they are made anew by every finish. So
they need no record of their own: what a try that was killed has left is written over or removed. The results of earlier runs lie
in the run since it was built, and are brought into the table.
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from airflow_gemini_batch.engine.arrow.columns import from_numpy, int64_values
from airflow_gemini_batch.engine.errors import CorruptRunError
from airflow_gemini_batch.engine.run.damage import row_count
from airflow_gemini_batch.engine.run.layout import TABLES, PartName, ReusedPart, Run, Shard, Table, root_of, span_of
from airflow_gemini_batch.engine.run.many_files import parts_at_once
from airflow_gemini_batch.engine.run.shard_inputs import DUPLICATE_FIELDS, RowBatches, open_duplicates, open_inputs
from airflow_gemini_batch.engine.run.storage import BLOCK_BYTES
from airflow_gemini_batch.engine.run.tables import PAID, PartWriter, paid_nothing
from airflow_gemini_batch.engine.source.blocks import row_bytes

#: Rows of a part that are read, and copies that are made, at a time; fewer where rows are large.
_BATCH_ROWS = 4096
_BATCH_BYTES = 8 << 20

#: Copies of one row, or of neighbours: the place of the row in its batch, and the first and last + 1 of its duplicates.
_Range = tuple[int, int, int]
#: The same, with the bytes of one copy.
_Weighed = tuple[int, int, int, int]


def write_copies(run: Run, shards: Sequence[Shard]) -> float | None:
    """Write the copies of a run whose parts are final, and remove those of an earlier finish that are none any more.

    :param shards: those of the manifest, in its order, and the resubmitted ones (attempts above 0).

    Returns what the copies would have cost, in USD, as far as it is known; None where nothing of it is.
    """
    roots = [shard for shard in shards if shard.attempt == 0]
    saved = _Saved()
    families: dict[int, list[Shard]] = defaultdict(list)
    span = span_of(roots)
    for shard in shards:
        families[root_of(shard.number, span)].append(shard)
    kept: set[tuple[Table, str]] = set()
    payers = [root for root in roots if root.duplicates]
    largest = max((root.rows + root.duplicates for root in payers), default=0)
    for written, of_family in parts_at_once(
        run.destination, payers, lambda root: _write_family(run, root, families[root.number]), rows=largest, writes=True
    ):
        kept |= written
        saved.add(of_family.usd)
    _remove_copies(run, kept)
    return saved.usd


def bring_reused(run: Run, parts: Sequence[ReusedPart]) -> None:
    """Put the results that earlier runs have paid for into the table, where they are not there yet.

    Raises CorruptRunError where they are not in the run any more.
    """
    for _ in parts_at_once(run.destination, parts, lambda part: _bring_reused(run, part), rows=0, writes=True):
        pass


def _bring_reused(run: Run, part: ReusedPart) -> None:
    built, target = run.reused_file(part.id), run.reused_part(part.id)
    if (rows := row_count(built)) != part.rows:
        found = f"{'absent or torn' if rows is None else f'a table of {rows} rows'}; {part.rows} rows were built"
        raise CorruptRunError(f"{built} is {found}. Restore it, or start over with if_exists='replace'.")
    if not target.exists() or target.size() != built.size():
        with built.open() as source, target.writing() as file:
            shutil.copyfileobj(source, file, BLOCK_BYTES)


def _remove_copies(run: Run, kept: set[tuple[Table, str]]) -> None:
    """Remove the copies, except those ``kept``: the names of parts by table."""
    for table in TABLES:
        for file in (run.destination / table).children():
            name = PartName.of(file.name)
            if name is not None and name.kind == "copies-" and (table, file.name) not in kept:
                file.delete()


class _Saved:
    """Adds up what the answers that were copied had cost."""

    usd: float | None = None

    def add(self, cost: float | None) -> None:
        if cost is not None:
            self.usd = (self.usd or 0.0) + cost


def _write_family(run: Run, root: Shard, family: Sequence[Shard]) -> tuple[set[tuple[Table, str]], _Saved]:
    """Write the copies for one shard of the manifest, whose rows are in the parts of its family."""
    written: set[tuple[Table, str]] = set()
    saved = _Saved()
    with open_inputs(run, root) as inputs, open_duplicates(run, root) as duplicates:
        payers = np.concatenate([int64_values(batch.column(0)).astype(np.uint32) for batch in duplicates.batches])
        for shard in family:
            for table in TABLES:
                copies = run.copies_part(table, shard.id)
                with run.table_part(table, shard.id).open() as file, pq.ParquetFile(file) as part:
                    batches = _copies(part, inputs.numbers_of_all, payers, duplicates, saved)
                    first = next(batches, None)
                    if first is None:
                        continue
                    with PartWriter(copies, part.schema_arrow) as writer:
                        writer.write(first)
                        for batch in batches:
                            writer.write(batch)
                written.add((table, copies.name))
    return written, saved


def _copies(
    part: pq.ParquetFile, numbers: dict[str, int], payers: Any, duplicates: RowBatches, saved: _Saved
) -> Iterator[pa.RecordBatch]:
    """
    :param numbers: key -> row of the inputs file.
    :param payers: for each duplicate the row that pays for it, ascending.
    """
    own_bytes = max(batch.nbytes // max(batch.num_rows, 1) for batch in duplicates.batches)
    for rows in part.iter_batches(batch_size=_BATCH_ROWS):
        keys = rows.column("key").to_pylist()
        of_row = np.array([numbers[key] for key in keys], np.uint32)
        firsts, lasts = np.searchsorted(payers, of_row, "left"), np.searchsorted(payers, of_row, "right")
        places = np.flatnonzero(lasts > firsts)
        if len(places) == 0:
            continue
        places = places[np.argsort(of_row[places])]
        sizes = row_bytes(rows)[places] + own_bytes
        ranges = zip(places.tolist(), firsts[places].tolist(), lasts[places].tolist(), sizes.tolist(), strict=True)
        for chosen in _some_at_a_time(ranges):
            yield _copied(rows, chosen, duplicates, saved)


def _some_at_a_time(ranges: Iterator[_Weighed]) -> Iterator[list[_Range]]:
    """Ranges that together make so many copies, or so many bytes; a longer one is cut."""
    chosen: list[_Range] = []
    rows, size = _BATCH_ROWS, _BATCH_BYTES
    for place, first, last, weight in ranges:
        while first < last:
            count = min(last - first, rows, size // weight)
            if count == 0 and not chosen:
                count = 1
            if count == 0:
                yield chosen
                chosen, rows, size = [], _BATCH_ROWS, _BATCH_BYTES
                continue
            chosen.append((place, first, first + count))
            first, rows, size = first + count, rows - count, size - count * weight
    if chosen:
        yield chosen


def _copied(rows: pa.RecordBatch, ranges: Sequence[_Range], duplicates: RowBatches, saved: _Saved) -> pa.RecordBatch:
    places = np.repeat([place for place, _, _ in ranges], [last - first for _, first, last in ranges])
    answers = rows.take(from_numpy(places))
    own = duplicates.take([row for _, first, last in ranges for row in range(first, last)])
    names = ["key", *own.schema.names[len(DUPLICATE_FIELDS) :]]  # by position: a carried column may be called payer
    own_columns = dict(zip(names, own.columns[1:], strict=True))
    saved.add(pc.sum(answers.column("cost_usd")).as_py())
    paid_by = answers.column("key")
    columns = []
    for field, answer in zip(answers.schema, answers.columns, strict=True):
        if field.name == "paid_by":
            columns.append(paid_by.cast(field.type))
        elif field.name in own_columns:
            columns.append(own_columns[field.name].cast(field.type))
        elif field.name in PAID:
            columns.append(paid_nothing(field.type, len(answers)))
        else:
            columns.append(answer)
    return pa.RecordBatch.from_arrays(columns, schema=answers.schema)
