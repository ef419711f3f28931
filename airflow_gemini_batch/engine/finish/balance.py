"""The balance check: every key of the input is in exactly one of the two tables, exactly once.

It reads what a reader of the tables will see: the keys themselves, in every file of both folders, shard by shard. Counts that
were recorded along the way are not used.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from airflow_gemini_batch.engine.errors import CorruptRunError
from airflow_gemini_batch.engine.finish.messages import MessageCounter, Messages
from airflow_gemini_batch.engine.run.layout import (
    TABLES,
    Kind,
    PartName,
    ReusedPart,
    Run,
    Shard,
    ShardAttempt,
    Table,
    root_of,
    span_of,
)
from airflow_gemini_batch.engine.run.many_files import parts_at_once
from airflow_gemini_batch.engine.run.repeats import REPEAT, wire_keys_of
from airflow_gemini_batch.engine.run.shard_inputs import open_duplicates, open_inputs
from airflow_gemini_batch.engine.run.storage import Location

#: Most keys, files or problems that a message names; it gives the number of all.
_NAMED = 10


class Balance(msgspec.Struct, frozen=True):
    """What the two tables hold, counted in the tables themselves.

    :param rows: input rows.
    :param reasons: dead letters by reason.
    :param messages: the most frequent messages of the dead letters, by reason.
    :param problem: why the tables do not balance, with the first keys or files; empty when they do.
    :param saved_by_dedupe_usd: what the rows that did not pay themselves would have cost; None where that is not known.
    """

    rows: int
    results: int
    dead_letter: int
    reasons: dict[str, int]
    messages: Messages = {}
    problem: str = ""
    saved_by_dedupe_usd: float | None = None

    @property
    def balanced(self) -> bool:
        return not self.problem


#: Messages that are read at a time.
_MESSAGE_ROWS = 8192

#: What is read of each table.
_COLUMNS = {"results": ("key",), "dead_letter": ("key", "reason")}

_Parts = dict[PartName, Location]

#: The parts that a shard and attempt may have in a table.
_KINDS: tuple[Kind, ...] = ("", "copies-")


def check_run(run: Run, shards: Sequence[Shard], reused: Sequence[ReusedPart] = (), repeats: int = 1) -> Balance:
    """Compare the keys in the run's tables with the keys of its inputs.

    :param shards: those of the manifest, in its order, and the resubmitted ones (attempts above 0).
    :param reused: the parts that earlier runs have answered.
    :param repeats: how often each row was sent; above 1 it is key and repeat together that are compared.

    Raises CorruptRunError for a part or an inputs file that cannot be read.
    """
    roots = [shard for shard in shards if shard.attempt == 0]
    tables, unexpected = _list_tables(run)
    counts = _Counts(repeats)
    families = _families(roots, shards, tables)
    largest = max([*(root.rows + root.duplicates for root in roots), *(part.rows for part in reused)], default=0)
    checked = parts_at_once(run.destination, families, lambda family: _check_family(run, family, repeats), rows=largest)
    problems = counts.add_all(checked)
    parts = ((part, tables["results"].pop(PartName(part.id, "reused-"), None)) for part in reused)
    checked = parts_at_once(run.destination, parts, lambda part: _check_reused(run, *part, repeats), rows=largest)
    problems += counts.add_all(checked)
    # The parts of every shard have been taken out by now.
    unexpected += [file for parts in tables.values() for file in parts.values()]
    if unexpected:
        problems.append(_describe_unexpected(unexpected))
    return Balance(
        rows=sum(shard.rows + shard.duplicates for shard in roots) + sum(part.rows for part in reused),
        results=counts.rows["results"],
        dead_letter=counts.rows["dead_letter"],
        reasons=dict(sorted(counts.reasons.items())),
        messages=counts.messages.most_frequent(),
        problem=_join(problems),
    )


@dataclass(slots=True)
class _Counts:
    """Rows by table, and dead letters by reason and by message."""

    repeats: int = 1
    rows: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    messages: MessageCounter = field(default_factory=MessageCounter)

    @property
    def own_columns(self) -> tuple[str, ...]:
        """What tells rows apart besides their key."""
        return () if self.repeats == 1 else (REPEAT.name,)

    def add_all(self, checked: Iterable[tuple[_Counts, str]]) -> list[str]:
        """Add the counts of some parts after the other, and return the problems that were found."""
        problems: list[str] = []
        for counts, problem in checked:
            self.rows.update(counts.rows)
            self.reasons.update(counts.reasons)
            self.messages.merge(counts.messages)
            problems += [problem] if problem else []
        return problems


@dataclass(frozen=True, slots=True)
class _Family:
    """A shard of the manifest, and the parts of it and of its resubmitted shards.

    :param absent: the parts that should be there.
    """

    root: Shard
    parts: Sequence[tuple[PartName, Table, Location]]
    absent: Sequence[str]


def _families(roots: Sequence[Shard], shards: Sequence[Shard], tables: Mapping[str, _Parts]) -> Iterator[_Family]:
    """What is checked together. The parts are taken out of ``tables``."""
    members: dict[int, list[ShardAttempt]] = defaultdict(list)
    span = span_of(roots)
    for shard in shards:
        members[root_of(shard.number, span)].append(shard.id)
    for root in roots:
        parts: list[tuple[PartName, Table, Location]] = []
        absent: list[str] = []
        names = [PartName(part, kind) for part, kind in itertools.product(members[root.number], _KINDS)]
        for name, table in itertools.product(names, TABLES):
            file = tables[table].pop(name, None)
            if file is not None:
                parts.append((name, table, file))
            elif not name.kind:
                absent.append(f"{table}/{name}")
        yield _Family(root, parts, absent)


def _check_family(run: Run, family: _Family, repeats: int) -> tuple[_Counts, str]:
    """Count the parts of one shard of the manifest and of its resubmitted shards; and why they do not balance, or nothing."""
    counts = _Counts(repeats)
    keys: list[pa.ChunkedArray] = []
    for name, table, file in family.parts:
        named = (*_COLUMNS[table], *counts.own_columns)
        content = _read(run, name.id, file, named, counts.messages if table == "dead_letter" else None)
        keys.append(wire_keys_of(content, counts.repeats))
        counts.rows[table] += content.num_rows
        if table == "dead_letter":
            counts.reasons.update(_counts(content.column("reason")))
    if family.absent:
        return counts, f"shard {family.root.id} has not been collected: {' and '.join(family.absent)} absent."
    return counts, _compare(run, family.root, keys)


def _check_reused(run: Run, part: ReusedPart, file: Location | None, repeats: int) -> tuple[_Counts, str]:
    """Count a part of reused results; and why it does not hold the rows that were built for it, or nothing."""
    counts, name = _Counts(repeats), PartName(part.id, "reused-")
    if file is None:
        return counts, f"results/{name} is absent."
    found = _read(run, part.id, file, ("key", *counts.own_columns))
    counts.rows["results"] += found.num_rows
    built = _read(run, part.id, run.reused_file(part.id), ("key", *counts.own_columns))
    if found.num_rows == part.rows and found.equals(built):
        return counts, ""
    return counts, f"results/{name} does not hold the {part.rows} rows of {run.reused_file(part.id)}. Delete it and call again."


def _list_tables(run: Run) -> tuple[dict[str, _Parts], list[Location]]:
    """The parts of each table, and the other files that readers of the folders would read as parts."""
    tables: dict[str, _Parts] = {table: {} for table in _COLUMNS}
    unexpected: list[Location] = []
    for table, parts in tables.items():
        for file in (run.destination / table).children():
            if file.name.startswith(("_", ".")):
                continue
            if (part := PartName.of(file.name)) is None:
                unexpected.append(file)
            else:
                parts[part] = file
    return tables, unexpected


def _describe_unexpected(files: Sequence[Location]) -> str:
    return (
        f"{len(files)} files in the table folders are not parts of this run, but readers would read them: "
        f"{_some([str(file) for file in files])}. Move them elsewhere."
    )


def _join(problems: Sequence[str]) -> str:
    more = f" And {len(problems) - _NAMED} more problems." if len(problems) > _NAMED else ""
    return " ".join(problems[:_NAMED]) + more


def _read(run: Run, part: ShardAttempt, file: Location, names: Sequence[str], messages: MessageCounter | None = None) -> pa.Table:
    """Some columns of a part.

    :param messages: counts the messages of dead letters, some at a time: they are long.
    """
    try:
        with file.open() as opened, pq.ParquetFile(opened) as parquet:
            absent = set(names) - set(parquet.schema_arrow.names)
            if not absent:
                if messages is not None:
                    for batch in parquet.iter_batches(batch_size=_MESSAGE_ROWS, columns=["reason", "message"]):
                        messages.add(batch)
                return parquet.read(columns=list(names))
        found = f"a table without {', '.join(sorted(absent))}"
    except pa.ArrowInvalid as error:
        found = " ".join(str(error).split())
    except OSError as error:
        if error.errno is not None:  # an error of the storage says nothing about the file
            raise
        found = " ".join(str(error).split())
    raise CorruptRunError(
        f"{file} is torn or was written by something else: expected a part of this run, found {found}. Delete it and "
        f"{run.landed_file(part)}, then call again with the same arguments: it is rewritten from the run's files, at no cost."
    )


def _compare(run: Run, shard: Shard, found: Sequence[pa.ChunkedArray]) -> str:
    """Why the keys in the tables are not exactly those of the shard, each once; empty when they are."""
    with open_inputs(run, shard) as inputs, open_duplicates(run, shard) as duplicates:
        expected = pa.chunked_array(
            [*(batch.column(0) for batch in inputs.batches), *(batch.column(1) for batch in duplicates.batches)], type=pa.string()
        )
        keys = pa.chunked_array([chunk.cast(pa.string()) for column in found for chunk in column.chunks], type=pa.string())
        # The build made the keys unique. So as many keys as rows, with every row's key among them, means that each is there once.
        is_found = pc.is_in(expected, value_set=keys.combine_chunks())
        missing = _false(expected, is_found)
        if len(keys) == len(expected) and not missing:
            return ""
        unknown = _false(keys, pc.is_in(keys, value_set=expected.combine_chunks()))
        repeated = [key for key, count in _counts(keys).items() if count > 1]
    found_wrong = [
        f"{len(wrong)} keys {what} ({_some([repr(key) for key in wrong])})"
        for what, wrong in (("missing", missing), ("repeated", repeated), ("unknown", unknown))
        if wrong
    ]
    return (
        f"shard {shard.number:05d}: {', '.join(found_wrong)}. Delete {run.landed_file(shard.id)} and call again with the same "
        "arguments: its parts are rewritten from the run's files, at no cost."
    )


def _false(keys: pa.ChunkedArray, mask: pa.ChunkedArray) -> list[str]:
    wrong: list[str] = keys.filter(pc.invert(mask)).to_pylist()
    return wrong


def _counts(values: pa.ChunkedArray) -> dict[str, int]:
    counts = values.value_counts()
    return dict(zip(counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True))


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")
