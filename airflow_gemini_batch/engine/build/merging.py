"""Built groups become one run: keys and requests are compared across groups, then the manifest is written.

Whatever the order in which the groups were built, and however often, the merge makes the same files and the same manifest. A file
of a group is never changed: a shard that loses rows is written under a number that no group uses. So a merge that was interrupted
is simply begun again; what the groups have left is removed once the manifest exists.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from hashlib import sha256
from itertools import islice
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from airflow_gemini_batch.engine.arrow import columns
from airflow_gemini_batch.engine.build.advice import log_advice
from airflow_gemini_batch.engine.build.budget import expected_usd, meter_of, shards_within, with_bounds
from airflow_gemini_batch.engine.build.carry import Carry
from airflow_gemini_batch.engine.build.duplicates import write_duplicates
from airflow_gemini_batch.engine.build.earlier_answers import found_runs
from airflow_gemini_batch.engine.build.fingerprint_table import MAX_ROWS
from airflow_gemini_batch.engine.build.group_building import planned_encoder
from airflow_gemini_batch.engine.build.group_indexes import Moves, moved_rows, refuse_doubled_keys
from airflow_gemini_batch.engine.build.rows import INPUT_FIELDS, Rows
from airflow_gemini_batch.engine.build.same_run import in_words
from airflow_gemini_batch.engine.build.set_aside import CARRIED, KEY, PLACE, SOURCE_ROW, SetAside
from airflow_gemini_batch.engine.build.shards import ShardWriter
from airflow_gemini_batch.engine.build.table_columns import table_columns
from airflow_gemini_batch.engine.build.trial import Trial, trial_among
from airflow_gemini_batch.engine.costs.bounds import Meter
from airflow_gemini_batch.engine.errors import CorruptRunError, DestinationError
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.request.encoding import RequestEncoder
from airflow_gemini_batch.engine.run.groups import BuiltGroup, GroupFiles, Plan, other_plan, require_plan
from airflow_gemini_batch.engine.run.layout import Manifest, Run, Shard, ShardAttempt, span_of
from airflow_gemini_batch.engine.run.shard_inputs import opened
from airflow_gemini_batch.engine.source.memory import TableSource

log = logging.getLogger(__name__)


def merge_groups(run: Run, run_id: str) -> Manifest:
    """Make one run of the groups that are built, or find it.

    A request that several groups have is paid by the earliest group, as one builder would have it, unless the run was planned
    without ``dedupe``.

    :param run_id: that ``plan_groups`` has returned.

    Raises DestinationError when a group is not built or the destination has another plan, InputError for a key that two groups
    have, BudgetError when the run may cost more than its limit, and CorruptRunError when files of a group have changed.
    """
    there = run.manifest()
    if there is None:
        there = _merge(run, require_plan(run, run_id))
    if there.run_id != run_id:
        raise other_plan(run, run_id, there.run_id)
    _clean_up(run, there)
    return there


def _merge(run: Run, plan: Plan) -> Manifest:
    files = GroupFiles(run, plan.run_id)
    groups = _built_groups(files, plan)
    refuse_doubled_keys(files, plan, groups)
    encoder = planned_encoder(plan, run.locate)
    meter = None if plan.max_cost_usd is None else meter_of(plan.manifest.model, plan.manifest.prices, plan.max_cost_usd)
    built = [shard for group in groups for shard in group.shards]
    digest = None
    if plan.dedupe:
        moves = moved_rows(files, groups)
        with _duplicates(files, plan, encoder, groups, moves) as (aside, carry):
            left = _without_moved(run, built, moves, meter)
            shards = write_duplicates(run, left, aside, carry)
            digest = aside.digest
        log.info("%d rows of one group ask what another group asks.", len(moves.rows))
    else:
        shards = tuple(built)
    _require_files(run, shards)
    reused = [group.reused_sha256 for group in groups if group.reused_sha256 is not None]
    manifest = msgspec.structs.replace(
        plan.manifest,
        shards=_needed(shards),
        duplicates_sha256=digest,
        reused=tuple(part for group in groups for part in group.reused),
        reused_sha256=sha256("".join(reused).encode()).hexdigest() if reused else None,
    )
    manifest = _with_costs(run, plan, manifest, encoder, meter)
    if run.manifest_file.create(msgspec.json.format(msgspec.json.encode(manifest), indent=1)):
        log.info("Built %s from %s, in %d groups.", in_words(manifest), manifest.source.description, len(groups))
        log_advice(manifest)
    return run.built()


def _built_groups(files: GroupFiles, plan: Plan) -> list[BuiltGroup]:
    found = [files.built(group) for group in range(len(plan.groups))]
    groups = [group for group in found if group is not None]
    missing = [str(number) for number, group in enumerate(found) if group is None]
    if missing:
        raise DestinationError(
            f"{len(missing)} of {len(found)} groups of the run at {files.run.destination} are not built: "
            f"{', '.join(missing[:20])}. Run their build tasks, then merge again."
        )
    rows = sum(shard.rows for group in groups for shard in group.shards)
    if rows > MAX_ROWS:
        raise DestinationError(f"A run holds at most {MAX_ROWS:,} distinct requests; the groups have {rows:,}. Split the table.")
    return groups


def _needed(shards: Sequence[Shard]) -> tuple[Shard, ...]:
    """Without those that have no rows; a table without rows is one shard without rows."""
    return tuple(shard for shard in shards if shard.rows) or tuple(shards[:1])


def _require_files(run: Run, shards: Sequence[Shard]) -> None:
    """Raise CorruptRunError where another builder has written over a shard since."""
    for shard in shards:
        file = run.requests_file(shard.id)
        size = file.size() if file.exists() else None
        if size != shard.bytes:
            found = "absent" if size is None else f"a file of {size:,} bytes"
            raise CorruptRunError(
                f"{file} is {found}; its builder wrote {shard.bytes:,}. Another run was built here meanwhile: build again with "
                "if_exists='replace'."
            )


# --- rows that another group pays for


@contextlib.contextmanager
def _duplicates(
    files: GroupFiles, plan: Plan, encoder: RequestEncoder, groups: Sequence[BuiltGroup], moves: Moves
) -> Iterator[tuple[SetAside, Carry]]:
    """All rows that another row pays for, in the order of the groups, each with the number that its payer has in the end."""
    empty = TableSource(pa.Table.from_batches([], plan.schema), "table")  # ``empty_table`` imports pandas
    asked = plan.manifest
    _, carry = table_columns(
        empty, encoder, BatchOptions.of(plan.options), key=asked.key, carry=asked.carry, repeats=1,
        in_microseconds=plan.in_microseconds,
    )  # fmt: skip
    with SetAside(carry.schema) as aside:
        first = 0
        for group in groups:
            start = first
            for shard in group.shards:
                _add_moved(files.run, shard, first, moves, aside)
                first += shard.rows
            _add_own(files, group, start, moves, aside)
        yield aside, carry


def _add_moved(run: Run, shard: Shard, first: int, moves: Moves, aside: SetAside) -> None:
    """The rows of a shard that an earlier group pays for."""
    chosen = moves.between(first, first + shard.rows)
    if not len(chosen):
        return
    places = moves.number_after(moves.payer_of(chosen))
    with opened(run.inputs_file(shard.id)) as reader:
        start = first
        for number in range(reader.num_record_batches):
            batch = reader.get_batch(number)
            begin, end = np.searchsorted(chosen, [start, start + batch.num_rows])
            if begin < end:
                taken = batch.take(columns.from_numpy(chosen[begin:end] - start))
                aside.add_again(places[begin:end], chosen[begin:end], taken.column(0), taken.columns[len(INPUT_FIELDS) :])
            start += batch.num_rows


def _add_own(files: GroupFiles, group: BuiltGroup, first: int, moves: Moves, aside: SetAside) -> None:
    """The rows that a row of their own group pays for, or that it would pay for if it were not moved itself."""
    file = files.duplicates_file(group.group)
    if not file.exists():
        return
    with opened(file) as reader:
        for number in range(reader.num_record_batches):
            batch = reader.get_batch(number)
            places = moves.number_after(moves.payer_of(first + columns.int64_values(batch.column(PLACE))))
            aside.add_again(places, columns.int64_values(batch.column(SOURCE_ROW)), batch.column(KEY), batch.columns[CARRIED:])


def _without_moved(run: Run, shards: Sequence[Shard], moves: Moves, meter: Meter | None) -> list[Shard]:
    """The shards without the rows that an earlier group pays for. Those that lose some are written under new numbers."""
    span = span_of(shards)
    left: list[Shard] = []
    first = 0
    for shard in shards:
        chosen = moves.between(first, first + shard.rows) - first
        if len(chosen) == 0:
            left.append(shard)
        elif len(chosen) < shard.rows:
            left.append(_rewritten(run, shard, shard.number + span, chosen, meter))
        first += shard.rows
    return left


def _rewritten(run: Run, shard: Shard, number: int, dropped: Any, meter: Meter | None) -> Shard:
    """A shard without some of its rows. Its media are those of the whole shard, which costs an upload at most."""
    id = ShardAttempt(number)
    if shard.media:
        run.media_file(id).write(run.media_file(shard.id).read())
    with opened(run.inputs_file(shard.id)) as inputs, run.requests_file(shard.id).open() as lines:
        carried = pa.schema(list(inputs.schema)[len(INPUT_FIELDS) :])
        with ShardWriter(run, id, carried) as writer:
            for rows in _rows_left(inputs, lines, dropped):
                writer.write(rows)
                if meter is not None:
                    meter.add(rows.lines.to_pylist())
    written = msgspec.structs.replace(writer.shard, media=shard.media)
    return written if meter is None else with_bounds(written, meter.taken())


def _rows_left(inputs: Any, lines: Any, dropped: Any) -> Iterator[Rows]:
    first = 0
    for number in range(inputs.num_record_batches):
        batch = inputs.get_batch(number)
        has_line = columns.is_valid(batch.column(1))
        of_batch: list[bytes | None] = [None] * len(has_line)
        for row, line in zip(np.flatnonzero(has_line).tolist(), islice(lines, int(has_line.sum())), strict=True):
            of_batch[row] = line
        begin, end = np.searchsorted(dropped, [first, first + len(has_line)])
        stays = np.ones(len(has_line), bool)
        stays[dropped[begin:end] - first] = False
        chosen = columns.from_numpy(stays)
        yield Rows(columns.large_binaries(of_batch).filter(chosen), batch.filter(chosen))
        first += len(has_line)


# --- costs


def _with_costs(run: Run, plan: Plan, manifest: Manifest, encoder: RequestEncoder, meter: Meter | None) -> Manifest:
    """With what the run may cost. Raises BudgetError where that is above the limit."""
    shards = manifest.shards
    trial = _trial(run, plan, encoder)
    manifest = msgspec.structs.replace(manifest, estimated_usd=expected_usd(shards, trial, manifest.model, manifest.prices))
    if plan.max_cost_usd is None or meter is None:
        return manifest
    measured = [shard if shard.bounds is not None else _measured(run, shard, meter) for shard in shards]
    return msgspec.structs.replace(manifest, shards=shards_within(measured, plan.max_cost_usd, trial, meter))


def _measured(run: Run, shard: Shard, meter: Meter) -> Shard:
    """Of a group that was built when there was no limit."""
    with run.requests_file(shard.id).open() as lines:
        meter.add(lines)
    return with_bounds(shard, meter.taken())


def _trial(run: Run, plan: Plan, encoder: RequestEncoder) -> Trial | None:
    """The trial among the earlier runs whose answers the groups have taken."""
    if not plan.reuse:
        return None
    model, options = plan.manifest.model, BatchOptions.of(plan.options)
    with found_runs(plan.reuse, model, encoder, options, run.locate, own=run) as found:
        return trial_among([earlier.run for earlier in found.runs], model, encoder)


def _clean_up(run: Run, manifest: Manifest) -> None:
    """Remove what the groups have left: their indexes, and the shards that were written without some rows."""
    files = GroupFiles(run, manifest.run_id)
    used = {shard.number for shard in manifest.shards}
    for file in files.folder.children():
        if not file.name.endswith(".json"):
            continue
        group = files.built(int(file.name.removesuffix(".json")))
        if group is None:
            continue
        for shard in group.shards:
            if shard.number not in used:
                for unused in (run.requests_file(shard.id), run.inputs_file(shard.id), run.media_file(shard.id)):
                    unused.delete()
        for index in (files.keys_file, files.fingerprints_file, files.duplicates_file):
            index(group.group).delete()
