"""The books: every key of the input is in exactly one of the two tables, exactly once.

Checked on what a reader of the tables will see: the keys themselves, in every file of both folders, shard by shard. Counts
that somebody kept along the way are not believed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from airflow_gemini_batch.engine.errors import CorruptRunError
from airflow_gemini_batch.engine.run.layout import Run, Shard, ShardAttempt, attempt_of_part, root_of
from airflow_gemini_batch.engine.run.shard_inputs import open_inputs
from airflow_gemini_batch.engine.run.storage import Location

#: Offenders that a message names; the counts say how many there are.
_NAMED = 10


class Balance(msgspec.Struct, frozen=True):
    """What the two tables hold, counted in the tables themselves.

    :param rows: input rows.
    :param reasons: dead letters by reason.
    :param problem: why the books do not balance, naming the first offenders; empty when they do.
    """

    rows: int
    results: int
    dead_letter: int
    reasons: dict[str, int]
    problem: str = ""

    @property
    def balanced(self) -> bool:
        return not self.problem


def check_run(run: Run, shards: Sequence[Shard]) -> Balance:
    """Hold the run's tables against its inputs.

    :param shards: those of the manifest, in its order, and those that were sent again (attempts above 0).

    Raises CorruptRunError for a part or an inputs file that cannot be read.
    """
    roots = [shard for shard in shards if shard.attempt == 0]
    families: dict[int, list[ShardAttempt]] = defaultdict(list)
    for shard in shards:
        families[root_of(shard.number, len(roots))].append(shard.id)
    results, strange_results = _parts(run.destination / "results")
    dead_letter, strange_letters = _parts(run.destination / "dead_letter")
    strangers = strange_results + strange_letters
    counted = {"results": 0, "dead_letter": 0}
    reasons: Counter[str] = Counter()
    problems: list[str] = []
    for shard in roots:
        keys: list[pa.ChunkedArray] = []
        absent = []
        for part in families[shard.number]:
            for table, parts in (("results", results), ("dead_letter", dead_letter)):
                file = parts.pop(part, None)
                if file is None:
                    absent.append(f"{table}/part-{part}.parquet")
                    continue
                content = _read(run, part, file, ["key"] if table == "results" else ["key", "reason"])
                keys.append(content.column("key"))
                counted[table] += content.num_rows
                if table == "dead_letter":
                    reasons.update(_counts(content.column("reason")))
        if absent:
            problems.append(f"shard {shard.id} has not arrived: {' and '.join(absent)} absent.")
        elif problem := _compare(run, shard, keys):
            problems.append(problem)
    strangers += [*results.values(), *dead_letter.values()]
    if strangers:
        problems.append(
            f"{len(strangers)} files in the table folders are no parts of this run, and readers would take them for some: "
            f"{_some([str(file) for file in strangers])}. Move them elsewhere."
        )
    more = f" And {len(problems) - _NAMED} more shards." if len(problems) > _NAMED else ""
    return Balance(
        rows=sum(shard.rows for shard in roots),
        results=counted["results"],
        dead_letter=counted["dead_letter"],
        reasons=dict(sorted(reasons.items())),
        problem=" ".join(problems[:_NAMED]) + more,
    )


def _parts(folder: Location) -> tuple[dict[ShardAttempt, Location], list[Location]]:
    """The parts in a folder, and what else a reader of the folder would take for one."""
    parts: dict[ShardAttempt, Location] = {}
    strangers = []
    for file in folder.children():
        if file.name.startswith(("_", ".")):
            continue
        if (part := attempt_of_part(file.name)) is None:
            strangers.append(file)
        else:
            parts[part] = file
    return parts, strangers


def _read(run: Run, part: ShardAttempt, file: Location, names: Sequence[str]) -> pa.Table:
    try:
        with file.open() as opened, pq.ParquetFile(opened) as parquet:
            absent = set(names) - set(parquet.schema_arrow.names)
            if not absent:
                return parquet.read(columns=list(names))
        found = f"a table without {', '.join(sorted(absent))}"
    except pa.ArrowInvalid as error:
        found = " ".join(str(error).split())
    except OSError as error:
        if error.errno is not None:  # the storage's own trouble says nothing about the file
            raise
        found = " ".join(str(error).split())
    raise CorruptRunError(
        f"{file} is torn or was written by something else: expected a part of this run, found {found}. Delete it and "
        f"{run.landed_file(part)}, then run the same again: the part is written anew from what the run holds, at no cost."
    )


def _compare(run: Run, shard: Shard, found: Sequence[pa.ChunkedArray]) -> str:
    """Why the keys in the tables are not those of the shard, each once; empty when they are."""
    with open_inputs(run, shard) as inputs:
        expected = pa.chunked_array([batch.column(0) for batch in inputs.batches], type=pa.string())
        keys = pa.chunked_array([chunk.cast(pa.string()) for column in found for chunk in column.chunks], type=pa.string())
        # As many keys as rows, and every row's key among them: each is there once, since the build made the rows' keys unique.
        is_found = pc.is_in(expected, value_set=keys.combine_chunks())
        missing = _false(expected, is_found)
        if len(keys) == len(expected) and not missing:
            return ""
        foreign = _false(keys, pc.is_in(keys, value_set=expected.combine_chunks()))
        doubled = [key for key, count in _counts(keys).items() if count > 1]
    told = [
        f"{len(offenders)} keys {what} ({_some([repr(key) for key in offenders])})"
        for what, offenders in (("missing", missing), ("doubled", doubled), ("unknown", foreign))
        if offenders
    ]
    return (
        f"shard {shard.number:05d}: {', '.join(told)}. Delete {run.landed_file(shard.id)} and run the same again: "
        "its parts are written anew from what the run holds, at no cost."
    )


def _false(keys: pa.ChunkedArray, mask: pa.ChunkedArray) -> list[str]:
    wrong: list[str] = keys.filter(pc.invert(mask)).to_pylist()
    return wrong


def _counts(values: pa.ChunkedArray) -> dict[str, int]:
    counts = values.value_counts()
    return dict(zip(counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True))


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")
