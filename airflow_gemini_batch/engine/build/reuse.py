"""Rows that an earlier run has answered: their results are taken over, and nothing is sent for them.

The indexes of all earlier runs are merged into one, sorted by fingerprint, in files on the local disk. While the table is read,
each block of rows is looked up there. When it has been read, the results are copied into the run, each with the row's own key
and carried columns; so the earlier runs are needed until the run is built, and not longer.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import mmap
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from airflow_gemini_batch.engine.arrow.columns import constant_string, from_numpy, from_numpy_with_nan, with_nan
from airflow_gemini_batch.engine.build.answer_index import ORIGIN_FIELDS, write_index
from airflow_gemini_batch.engine.build.carry import Carry
from airflow_gemini_batch.engine.build.earlier_runs import EarlierRun
from airflow_gemini_batch.engine.build.reused_media import MediaCopier
from airflow_gemini_batch.engine.build.rows import Rows
from airflow_gemini_batch.engine.build.set_aside import CARRIED, KEY, PLACE, REQUEST_SHA256, SetAside, rows_at_a_time, rows_in
from airflow_gemini_batch.engine.build.several_answers import Identities, first_answers, first_of_each
from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.run.bucket_sort import WORDS, BucketSort, words_of
from airflow_gemini_batch.engine.run.layout import Manifest, ReusedPart, Run, ShardAttempt
from airflow_gemini_batch.engine.run.repeats import keys_of
from airflow_gemini_batch.engine.run.shard_inputs import RowBatches
from airflow_gemini_batch.engine.run.storage import Location, locate
from airflow_gemini_batch.engine.run.tables import PAID, PartWriter, paid_nothing, part_metadata, results_schema
from airflow_gemini_batch.engine.source.blocks import row_bytes

log = logging.getLogger(__name__)

#: Rows of one part of reused results. More take more memory, fewer read the earlier results more often.
_PART_ROWS = 2_000_000
#: Results that are read, and records of an index that are merged, at a time.
_BATCH_ROWS = 4096
_INDEX_ROWS = 1 << 16
#: Blocks after which the pages of the merged index are given back.
_BLOCKS = 64

#: A record of the merged index: the first half of the fingerprint, which part of all parts, and as in the index of a run.
_RECORD = np.dtype([*WORDS[:2], ("part", np.uint32), ("row", np.uint32), ("answered_at", np.int64), ("cost", np.float64),
                    ("answer", np.uint64)])  # fmt: skip


class Answers:
    """The answers of earlier runs by fingerprint. A context manager, for its files.

    :param runs: the newest first: of several answers to one request the first ones count.
    :param not_before: answers that were given earlier do not count.
    :param repeats: how many answers to one request are kept. They are different answers: one that a run has taken from another
        is the other's.
    """

    def __init__(self, runs: Sequence[EarlierRun], *, not_before: dt.datetime | None = None, repeats: int = 1) -> None:
        self.runs = runs
        self.repeats = repeats
        self._not_before = not_before
        self._stack = contextlib.ExitStack()
        self._blocks = 0
        self.parts: list[tuple[EarlierRun, Location]] = []

    def __enter__(self) -> Answers:
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gemini-batch-reuse-")))
            self._merge(folder)
            self._stack = stack.pop_all()
        log.info("%d answers of %d runs can be reused.", len(self), len(self.runs))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._columns: dict[str, Any] = {}
        self._stack.__exit__(kind, error, trace)

    def __len__(self) -> int:
        return len(self._columns["w0"])

    def _merge(self, folder: Path) -> None:
        files = {name: folder / name for name in _RECORD.names or ()}
        with BucketSort(_RECORD, sum(run.answers for run in self.runs)) as sort, contextlib.ExitStack() as stack:
            for number, run in enumerate(self.runs):
                identities = None if self.repeats == 1 else Identities(run, folder / f"answers-{number}")
                for records in self._records(run, identities):
                    sort.add(records)
            out = {name: stack.enter_context(file.open("wb")) for name, file in files.items()}
            for records in sort.sorted():
                # lexsort is stable, so the newest of equal fingerprints stays the first.
                records = records[np.lexsort((records["w1"], records["w0"]))]
                records = first_of_each(records) if self.repeats == 1 else first_answers(records, self.repeats)
                for name, file in out.items():
                    file.write(np.ascontiguousarray(records[name]).tobytes())
        self._columns = {name: _mapped(file, _RECORD[name]) for name, file in files.items()}

    def _records(self, run: EarlierRun, identities: Identities | None) -> Iterator[Any]:
        numbers: dict[str, int] = {}
        earliest = None if self._not_before is None else pa.scalar(self._not_before, ORIGIN_FIELDS[0].type)
        with run.index() as index:
            for batch in _batches_of(index):
                if earliest is not None:
                    batch = batch.filter(pc.greater_equal(batch.column("answered_at"), earliest))
                for name in batch.column("part").dictionary.to_pylist():
                    if name not in numbers:
                        numbers[name] = len(self.parts)
                        self.parts.append((run, run.part(name)))
                part = batch.column("part")
                of_all = np.array([numbers[name] for name in part.dictionary.to_pylist()], np.uint32)
                words = words_of(b"".join(batch.column("fingerprint").to_pylist()))
                records = np.zeros(batch.num_rows, _RECORD)
                records["w0"], records["w1"] = words[:, 0], words[:, 1]
                records["part"] = of_all[part.indices.to_numpy()]
                records["row"] = batch.column("row").to_numpy()
                records["answered_at"] = batch.column("answered_at").cast(pa.int64()).to_numpy()
                records["cost"] = with_nan(batch.column("cost_usd"))
                if identities is not None:
                    records["answer"] = identities.of(batch, records["answered_at"])
                yield records

    def find(self, words: Any, has_request: Any, repeat: Any = None) -> Any:
        """For each row the number of its answer, or -1.

        :param words: uint64, at least two for each row: the first words of the fingerprint.
        :param has_request: bool for each row.
        :param repeat: which of the answers to its request each row takes; None: the first.
        """
        found = np.full(len(words), -1, np.int64)
        first, second = self._columns["w0"], self._columns["w1"]
        rows = np.flatnonzero(has_request)
        rows = rows[np.argsort(words[rows, 0])]  # neighbours are searched one after the other
        places = np.searchsorted(first, words[rows, 0])
        while len(rows):
            inside = places < len(first)
            rows, places = rows[inside], places[inside]
            meets = first[places] == words[rows, 0]
            rows, places = rows[meets], places[meets]
            equal = second[places] == words[rows, 1]
            found[rows[equal]] = places[equal]
            rows, places = rows[~equal], places[~equal] + 1
        if repeat is not None:
            found = self._later(found, words, repeat)
        self._blocks += 1
        if self._blocks % _BLOCKS == 0:
            for column in (first, second):
                _give_back(column)
        return found

    def _later(self, found: Any, words: Any, repeat: Any) -> Any:
        """The answers that follow the first ones by so many, where these answer the same request."""
        first, second = self._columns["w0"], self._columns["w1"]
        rows = np.flatnonzero(found >= 0)
        places = found[rows] + repeat[rows]
        inside = places < len(first)
        rows, places = rows[inside], places[inside]
        equal = (first[places] == words[rows, 0]) & (second[places] == words[rows, 1])
        later = np.full(len(found), -1, np.int64)
        later[rows[equal]] = places[equal]
        return later

    def columns(self, numbers: Any, *names: str) -> list[Any]:
        """Values of the records with these numbers."""
        return [self._columns[name][numbers] for name in names]


def _batches_of(index: pq.ParquetFile) -> Iterator[pa.RecordBatch]:
    """One row group after the other: asked for all at once, Arrow keeps what it has read of the earlier ones."""
    for group in range(index.num_row_groups):
        yield from index.iter_batches(batch_size=_INDEX_ROWS, row_groups=[group])


def _mapped(file: Path, dtype: Any) -> Any:
    return np.memmap(file, dtype, "r") if file.stat().st_size else np.zeros(0, dtype)


def _give_back(column: Any) -> None:
    """Let go of the pages of a mapped column that have been read, which would count as this process's memory."""
    mapped = getattr(column, "_mmap", None)
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


@contextlib.contextmanager
def taken_before(run: Run, manifest: Manifest) -> Iterator[Answers | None]:
    """What a built run has taken from earlier ones, which may be gone by now; None for a run that was built without reuse."""
    if manifest.reused_sha256 is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="gemini-batch-reused-") as folder:
        index = locate(Path(folder) / "index.parquet")
        reused = run.reused_file(ShardAttempt(0)).parent
        write_index(run, manifest, index, finished_at=manifest.created_at, folder=reused)
        earlier = EarlierRun(run, index, manifest.created_at, manifest.reused_rows, (), has_fingerprints=True, folder=reused)
        with Answers([earlier], repeats=manifest.repeats) as answers:
            yield answers


class Reused:
    """Takes out of a table the rows that earlier runs have answered. A context manager, for its files.

    :param schema: of the carried columns, as ``carry`` has them while the table is read; None: the rows are not kept.
    """

    def __init__(self, answers: Answers, schema: pa.Schema | None) -> None:
        self._answers = answers
        self.rows = SetAside(schema, keep_requests=True)

    def __enter__(self) -> Reused:
        self.rows.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.rows.__exit__(kind, error, trace)

    def without(self, blocks: Iterator[Rows]) -> Iterator[Rows]:
        """The rows that no earlier run has answered."""
        for rows in blocks:
            words = rows.words()
            repeats = self._answers.repeats
            repeat = None if repeats == 1 else rows.source_rows % repeats
            found = self._answers.find(words, rows.has_request(), repeat)
            chosen = np.flatnonzero(found >= 0)
            if len(chosen) == 0:
                yield rows
                continue
            self.rows.add(rows, chosen, found[chosen], words[chosen])
            yield rows.chosen(found < 0)

    def finish(
        self,
        run: Run,
        manifest: Manifest,
        carry: Carry,
        *,
        extra: Sequence[pa.Field],
        keep_response: bool,
        number: Callable[[int], int],
    ) -> tuple[ReusedPart, ...]:
        """Copy the results of the rows into the run.

        :param manifest: for the metadata of the parts.
        :param carry: has seen all rows, so that the types of its columns are decided.
        :param extra: the columns that the run's request adds.
        :param number: of a part, by its place among these parts.
        """
        schema = results_schema(carry.decided(), extra=extra, keep_response=keep_response)
        parts: list[ReusedPart] = []
        with self.rows.opened() as rows:
            for first in range(0, rows.rows, _PART_ROWS):
                numbers = np.concatenate(list(_places(rows, first, min(first + _PART_ROWS, rows.rows))))
                part = ReusedPart(number(len(parts)), len(numbers))
                saved = self._write(run, part, manifest, rows, first, numbers, carry, schema)
                parts.append(ReusedPart(part.number, part.rows, saved))
        return tuple(parts)

    def _write(
        self,
        run: Run,
        part: ReusedPart,
        manifest: Manifest,
        rows: RowBatches,
        first: int,
        numbers: Any,
        carry: Carry,
        schema: pa.Schema,
    ) -> float | None:
        """Write one part. Returns what the answers had cost.

        :param numbers: of the answers, for the rows from ``first`` on.
        """
        part_numbers, places, ages, costs = self._answers.columns(numbers, "part", "row", "answered_at", "cost")
        order = np.lexsort((places, part_numbers))
        copier = MediaCopier(run, part)
        with PartWriter(run.reused_file(part.id), schema, part_metadata(manifest)) as writer:
            bounds = np.flatnonzero(np.diff(part_numbers[order], prepend=-1)).tolist()
            for start, stop in zip(bounds, [*bounds[1:], len(order)], strict=True):
                of_part = order[start:stop]
                earlier, file = self._answers.parts[part_numbers[of_part[0]]]
                done = 0
                for answers in _taken(file, places[of_part], self.rows.row_bytes):
                    chosen = of_part[done : done + len(answers)]
                    own = rows_in(rows, chosen + first)
                    _require_answers(answers, own, earlier, file)
                    writer.write(_joined(answers, own, carry, earlier, schema, copier))
                    done += len(answers)
                if done < len(of_part):
                    _refuse(earlier, file)
        origins = [from_numpy(ages[order]).cast(ORIGIN_FIELDS[0].type), from_numpy_with_nan(costs[order])]
        with run.origins_file(part.id).writing() as out:
            pq.write_table(pa.Table.from_arrays(origins, schema=pa.schema(ORIGIN_FIELDS)), out)
        known = costs[~np.isnan(costs)]
        return float(known.sum()) if len(known) else None


def _places(rows: RowBatches, first: int, last: int) -> Iterator[Any]:
    for start, batch in zip(rows.starts, rows.batches, strict=True):
        if start < last and start + batch.num_rows > first:
            yield batch.column(PLACE).to_numpy()[max(first - start, 0) : last - start]


def _taken(file: Location, rows: Any, own_bytes: int) -> Iterator[pa.RecordBatch]:
    """Rows of a part, given in ascending order, and repeated where one is wanted twice; only their row groups are read.

    :param own_bytes: about what each of the rows takes that they are joined with.
    """
    with file.open() as content, pq.ParquetFile(content) as part:
        sizes = [part.metadata.row_group(number).num_rows for number in range(part.num_row_groups)]
        ends = np.cumsum(sizes)
        groups = np.unique(np.searchsorted(ends, rows, "right"))
        for group in groups[groups < len(sizes)].tolist():
            start = int(ends[group]) - sizes[group]
            for batch in part.iter_batches(batch_size=_BATCH_ROWS, row_groups=[group]):
                wanted = rows[np.searchsorted(rows, start) : np.searchsorted(rows, start + batch.num_rows)]
                if len(wanted):
                    yield from _in_pieces(batch, wanted - start, own_bytes)
                start += batch.num_rows


def _in_pieces(batch: pa.RecordBatch, places: Any, own_bytes: int) -> Iterator[pa.RecordBatch]:
    largest = int(row_bytes(batch)[places].max())
    size = rows_at_a_time(_BATCH_ROWS, largest + own_bytes)
    for start in range(0, len(places), size):
        yield batch.take(from_numpy(places[start : start + size]))


def _require_answers(answers: pa.RecordBatch, own: pa.RecordBatch, earlier: EarlierRun, file: Location) -> None:
    """Results that somebody has written anew, in another order, must not be joined by an index from before.

    The fingerprints in a run of an earlier version are others, and cannot be compared.
    """
    if earlier.has_fingerprints and not answers.column("request_sha256").equals(own.column(REQUEST_SHA256)):
        _refuse(earlier, file)


def _refuse(earlier: EarlierRun, file: Location) -> NoReturn:
    raise InputError(
        f"{file} does not hold the answers that {earlier.index_file} names: one of them was changed after the run was finished. "
        f"Delete {earlier.index_file}, and it is made anew; or leave this run out of reuse."
    )


def _joined(
    answers: pa.RecordBatch, own: pa.RecordBatch, carry: Carry, earlier: EarlierRun, schema: pa.Schema, media: MediaCopier
) -> pa.RecordBatch:
    """Results of an earlier run as results of this one."""
    carried = dict(zip(carry.decided().names, carry.as_decided(own.columns[CARRIED:]), strict=True))
    there = set(answers.schema.names) - set(earlier.carried)
    columns = []
    for field in schema:
        if field.name == "key":
            keys = own.column(KEY) if carry.repeats == 1 else keys_of(own.column(KEY))
            columns.append(keys.cast(field.type))
        elif field.name == "request_sha256":  # in a run of an earlier version it is another
            columns.append(own.column(REQUEST_SHA256))
        elif field.name in carried:
            columns.append(carried[field.name])
        elif field.name in PAID:
            columns.append(paid_nothing(field.type, len(answers)))
        elif field.name == "reused_from":
            columns.append(constant_string(earlier.uri, len(answers)))
        elif field.name in there and field.name != "paid_by":
            column = answers.column(field.name).cast(field.type)
            columns.append(media.copied(column) if field.name == "media" else column)
        else:
            columns.append(pa.nulls(len(answers), field.type))
    return pa.RecordBatch.from_arrays(columns, schema=schema)
