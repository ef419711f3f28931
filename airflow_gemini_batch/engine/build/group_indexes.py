"""What the builders of groups could not see: rows of different groups with the same key, or with the same request.

The indexes of all groups are sorted on the local disk (``BucketSort``), so memory does not grow with the table, only with the
requests that groups have in common: 16 bytes for each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from airflow_gemini_batch.engine.build.set_aside import KEY
from airflow_gemini_batch.engine.errors import CorruptRunError, InputError
from airflow_gemini_batch.engine.run.bucket_sort import BucketSort
from airflow_gemini_batch.engine.run.groups import KEPT_BYTES, BuiltGroup, GroupFiles, Plan
from airflow_gemini_batch.engine.run.repeats import key_of
from airflow_gemini_batch.engine.run.shard_inputs import opened
from airflow_gemini_batch.engine.run.storage import Location
from airflow_gemini_batch.engine.source.keys import MAX_NAMED, MAX_SUSPECTS, short, stable_hash

_READ_BYTES = 1 << 24
_HASH = np.dtype([("w0", np.uint64)])
_FINGERPRINT = np.dtype([("w0", np.uint64), ("w1", np.uint64), ("row", np.int64)])


@dataclass(frozen=True)
class Moves:
    """Rows whose request a row of an earlier group has: they become its duplicates.

    Rows are numbered through the shards of all groups, as they were built.

    :param rows: int64, ascending.
    :param payers: int64, for each the row that pays; none of these is among ``rows``.
    """

    rows: Any
    payers: Any

    def payer_of(self, rows: Any) -> Any:
        """The rows themselves, or the rows that pay for them."""
        places = np.searchsorted(self.rows, rows)
        is_moved = self.are_moved(rows, places)
        paid = rows.copy()
        paid[is_moved] = self.payers[places[is_moved]]
        return paid

    def are_moved(self, rows: Any, places: Any) -> Any:
        inside = places < len(self.rows)
        found = np.zeros(len(rows), bool)
        found[inside] = self.rows[places[inside]] == rows[inside]
        return found

    def number_after(self, rows: Any) -> Any:
        """The numbers of rows that stay, once the others are taken out."""
        return rows - np.searchsorted(self.rows, rows)

    def between(self, first: int, last: int) -> Any:
        """The moved ones among these rows."""
        start, stop = np.searchsorted(self.rows, [first, last])
        return self.rows[start:stop]


def moved_rows(files: GroupFiles, groups: Sequence[BuiltGroup]) -> Moves:
    """The rows that do not pay, because an earlier group asks the same."""
    with BucketSort(_FINGERPRINT, _rows(groups)) as sort:
        first = 0
        for group in groups:
            rows = sum(shard.rows for shard in group.shards)
            _add_fingerprints(sort, files.fingerprints_file(group.group), first, rows)
            first += rows
        moved, payers = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for records in sort.again():
            # Stable, so of equal fingerprints the earliest row comes first.
            records = records[np.lexsort((records["w1"], records["w0"]))]
            again = (records["w0"][1:] == records["w0"][:-1]) & (records["w1"][1:] == records["w1"][:-1])
            begins = np.flatnonzero(np.concatenate([[True], ~again]))
            of_class = np.cumsum(np.concatenate([[0], ~again]))
            is_moved = np.concatenate([[False], again])
            moved.append(records["row"][is_moved])
            payers.append(records["row"][begins][of_class[is_moved]])
    all_moved, paid_by = np.concatenate(moved), np.concatenate(payers)
    order = np.argsort(all_moved)
    return Moves(all_moved[order], paid_by[order])


def _rows(groups: Iterable[BuiltGroup]) -> int:
    return sum(shard.rows for group in groups for shard in group.shards)


def _add_fingerprints(sort: BucketSort, file: Location, first: int, rows: int) -> None:
    done = 0
    for block in _blocks(file):
        words = np.frombuffer(block, np.uint64).reshape(-1, KEPT_BYTES // 8)
        chosen = np.flatnonzero(words[:, 0] | words[:, 1])
        records = np.zeros(len(chosen), _FINGERPRINT)
        records["w0"], records["w1"] = words[chosen, 0], words[chosen, 1]
        records["row"] = first + done + chosen
        sort.add(records)
        done += len(words)
    if done != rows:
        raise CorruptRunError(f"{file} holds {done} rows, and the group has {rows}. Build again with if_exists='replace'.")


def refuse_doubled_keys(files: GroupFiles, plan: Plan, groups: Sequence[BuiltGroup]) -> None:
    """Raise InputError for keys that more than one group has. Within a group they have been compared."""
    suspects = _doubled_hashes(files, groups)
    if not suspects:
        return
    where: dict[str, int] = {}
    named: list[str] = []
    for group in groups:
        for key in _keys(files, group, plan.manifest.repeats):
            if stable_hash(key) in suspects and (first := where.setdefault(key, group.group)) != group.group:
                named.append(f"{short(key)} in {_place(plan, first)} and in {_place(plan, group.group)}")
                if len(named) == MAX_NAMED:
                    _refuse(plan, named, "the first ten are named here")
    if named:
        _refuse(plan, named, "these are all")


def _doubled_hashes(files: GroupFiles, groups: Sequence[BuiltGroup]) -> set[int]:
    found: set[int] = set()
    with BucketSort(_HASH, _rows(groups)) as sort:
        for group in groups:
            for block in _blocks(files.keys_file(group.group)):
                sort.add(np.frombuffer(block, np.int64).view(_HASH))
        for records in sort.again():
            found.update(records["w0"].view(np.int64).tolist())
            if len(found) > MAX_SUSPECTS:
                break
    return found


def _keys(files: GroupFiles, group: BuiltGroup, repeats: int) -> Iterator[str]:
    """All keys of a group, in some order; with repeats, each several times."""
    run = files.run
    for shard in group.shards:
        for batch in _batches(run.inputs_file(shard.id)):
            keys = batch.column(0).to_pylist()
            yield from keys if repeats == 1 else map(key_of, keys)
    if files.duplicates_file(group.group).exists():
        for batch in _batches(files.duplicates_file(group.group)):
            yield from batch.column(KEY).to_pylist()
    for part in group.reused:
        with run.reused_file(part.id).open() as content, pq.ParquetFile(content) as table:
            for number in range(table.num_row_groups):
                yield from table.read_row_group(number, columns=["key"]).column(0).to_pylist()


def _batches(file: Location) -> Iterator[pa.RecordBatch]:
    with opened(file) as reader:
        for number in range(reader.num_record_batches):
            yield reader.get_batch(number)


def _place(plan: Plan, group: int) -> str:
    files = plan.groups[group]
    return f"group {group} ({files[0].uri}{f' and {len(files) - 1} more' if len(files) > 1 else ''})"


def _refuse(plan: Plan, named: Sequence[str], extent: str) -> None:
    raise InputError(
        f"The key column {plan.manifest.key!r} has duplicate keys: {', '.join(named)} ({extent}). A key must be unique in "
        "all groups: drop the repeated rows, or choose another column. Then plan and build again."
    )


def _blocks(file: Location) -> Iterator[bytes]:
    with file.open() as content:
        while block := content.read(_READ_BYTES):
            yield block
