"""Redriving a finished run: dead letters that its reader chooses are resubmitted into the same tables.

The run is finished no more while this goes on: the summary is deleted first, and written again when the new jobs are collected.
What is resubmitted is written down before, under the caller's token, so a call that is repeated after a crash continues, and
never resubmits a row twice.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from airflow_gemini_batch.engine.build.shards import ShardWriter
from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.finish.redrive import dead_letter_batches, rows_to_send
from airflow_gemini_batch.engine.finish.summary import summary_of
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.reasons import Reason
from airflow_gemini_batch.engine.run.layout import Manifest, Run, Shard, ShardAttempt, read_json, root_of
from airflow_gemini_batch.engine.run.ledger import Ledger
from airflow_gemini_batch.engine.run.media_manifest import read_media
from airflow_gemini_batch.engine.run.shard_inputs import open_inputs
from airflow_gemini_batch.engine.run.snapshot import Snapshot

log = logging.getLogger(__name__)

#: Keys that a message names.
_NAMED = 10


@dataclass(frozen=True, slots=True)
class Selection:
    """Which dead letters: those with one of these reasons, and one of these keys; without either, the retryable ones."""

    reasons: frozenset[str] | None
    keys: frozenset[str] | None

    @classmethod
    def of(cls, reasons: Collection[str] | None, keys: Collection[str] | None) -> Selection:
        """Raises InputError for a reason that does not exist."""
        for name, value in (("reasons", reasons), ("keys", keys)):
            if isinstance(value, str) or (value is not None and not all(isinstance(one, str) for one in value)):
                raise InputError(f"{name} is {value!r}; expected a list of texts.")
        known = {reason.value for reason in Reason}
        if unknown := sorted(set(reasons or ()) - known):
            raise InputError(f"reasons holds {', '.join(map(repr, unknown))}; known are {', '.join(sorted(known))}.")
        return cls(None if reasons is None else frozenset(reasons), None if keys is None else frozenset(keys))

    def and_keys(self, keys: Collection[str]) -> Selection:
        """The same, and also these keys, where keys are selected."""
        return self if self.keys is None else replace(self, keys=self.keys.union(keys))

    def of_batch(self, rows: pa.RecordBatch) -> pa.Array:
        """Mask of the rows that are selected, whether or not they have a request."""
        mask = rows.column("retryable") if self.reasons is None and self.keys is None else pa.scalar(True)
        if self.reasons is not None:
            mask = pc.is_in(rows.column("reason"), value_set=pa.array(sorted(self.reasons), pa.string()))
        if self.keys is not None:
            mask = pc.and_(mask, pc.is_in(rows.column("key"), value_set=pa.array(sorted(self.keys), pa.string())))
        return mask


class Plan(msgspec.Struct, frozen=True):
    """What one redrive resubmits.

    :param attempt: of all its shards; above all attempts that the run had.
    :param shards: part whose dead letters are resubmitted -> number of the shard that they become.
    :param payers: keys of the rows that pay for a row whose key was selected.
    """

    attempt: int
    shards: dict[str, int]
    payers: tuple[str, ...] = ()


def reopen(run: Run, selection: Selection, options: BatchOptions, *, token: str) -> BatchOptions:
    """Resubmit dead letters of a finished run: write the shards that ``advance`` then submits and collects.

    :param token: identifies the call: the same for every try of one task instance, so that a try continues what an earlier one
        has begun.

    Returns the options to advance the run with: its tables stay in the form that they have. Raises InputError when the run is not
    finished, or when a key is not a dead letter.
    """
    manifest = run.built()
    snapshot = Snapshot(run, manifest)
    file = run.redrive_plan_file(hashlib.sha256(token.encode()).hexdigest()[:32])
    plan = read_json(file, Plan)
    if plan is None:
        if summary_of(run) is None:
            raise InputError(
                f"{run.destination} is not finished, so its dead letters may still change. Finish it first: repeat its task, or "
                "call collect() or `gemini-batch collect`."
            )
        plan = _plan(run, manifest, snapshot, selection)
        if plan.shards:
            file.create(msgspec.json.encode(plan))
    _carry_out(run, manifest, snapshot, plan, selection.and_keys(plan.payers), options)
    return _in_the_form_of(run, snapshot, options)


def _plan(run: Run, manifest: Manifest, snapshot: Snapshot, selection: Selection) -> Plan:
    shards = snapshot.shards()
    payers = _payers(run, shards, selection)
    named, selection = selection.keys, selection.and_keys(payers.values())
    numbers: dict[str, int] = {}
    taken: Counter[int] = Counter()
    found = set(payers)
    rows = unsent = 0
    for shard in shards:
        chosen = 0
        for batch in dead_letter_batches(run, shard, ["key", "reason", "retryable", "request"]):
            selected = batch.filter(selection.of_batch(batch))
            if selection.keys is not None:
                found.update(selected.column("key").to_pylist())
            unsent += selected.column("request").null_count
            chosen += selected.num_rows - selected.column("request").null_count
        if chosen:
            root = root_of(shard.number, len(manifest.shards))
            numbers[str(shard.id)] = root + taken[root] * len(manifest.shards)
            taken[root] += 1
            rows += chosen
    if named is not None and (absent := sorted(named - found)):
        more = ", …" if len(absent) > _NAMED else ""
        raise InputError(
            f"{len(absent)} keys are not dead letters of {run.destination}{' with these reasons' if selection.reasons else ''}: "
            f"{', '.join(map(repr, absent[:_NAMED]))}{more}."
        )
    if unsent:
        log.warning("%d of the selected dead letters never became a request and cannot be resubmitted.", unsent)
    log.info("%s: %d dead letters of %d shards are resubmitted.", run.destination, rows, len(numbers))
    return Plan(max(shard.attempt for shard in shards) + 1 if shards else 0, numbers, tuple(sorted(payers.values())))


def _payers(run: Run, shards: Sequence[Shard], selection: Selection) -> dict[str, str]:
    """The selected keys of rows that did not pay for themselves, each with the key of the row that did."""
    payers: dict[str, str] = {}
    for shard in shards if selection.keys is not None else ():
        file = run.copies_part("dead_letter", shard.id)
        if file.exists():
            with file.open() as content, pq.ParquetFile(content) as part:
                for batch in part.iter_batches(columns=["key", "reason", "retryable", "paid_by"]):
                    chosen = batch.filter(selection.of_batch(batch))
                    payers.update(zip(chosen.column("key").to_pylist(), chosen.column("paid_by").to_pylist(), strict=True))
    return payers


def _carry_out(run: Run, manifest: Manifest, snapshot: Snapshot, plan: Plan, selection: Selection, options: BatchOptions) -> None:
    """Write what is not written yet. The summary goes first: from here to the end of the new jobs the run is not finished."""
    ledger = Ledger(run)
    pending: list[tuple[Shard, tuple[Shard, ...]]] = []
    for shard in snapshot.shards():
        if str(shard.id) in plan.shards:
            redrive = ledger.redrive(shard.id)
            decided = () if redrive is None else redrive.shards
            if all(piece.id != ShardAttempt(plan.shards[str(shard.id)], plan.attempt) for piece in decided):
                pending.append((shard, decided))
    if not pending:
        return
    run.summary_file.delete()
    for shard, decided in pending:
        piece = _write(run, manifest, shard, ShardAttempt(plan.shards[str(shard.id)], plan.attempt), selection, options)
        if piece is not None:
            ledger.record_redrive(shard.id, (*decided, piece), repair=True)
    snapshot.forget()


def _write(
    run: Run, manifest: Manifest, shard: Shard, part: ShardAttempt, selection: Selection, options: BatchOptions
) -> Shard | None:
    """The selected dead letters of one part as a shard; None when they have become something else since."""
    with open_inputs(run, shard) as inputs:
        carry = inputs.carry
    media = {file.name: file for file in read_media(run, shard)}
    with ShardWriter(run, part, carry) as writer:
        for batch in dead_letter_batches(run, shard, None):
            chosen = batch.filter(pc.and_(selection.of_batch(batch), pc.is_valid(batch.column("request"))))
            if chosen.num_rows:
                writer.write(rows_to_send(chosen, carry, options, media, manifest))
    return writer.shard if writer.shard.rows else None


def _in_the_form_of(run: Run, snapshot: Snapshot, options: BatchOptions) -> BatchOptions:
    landed = next((landed for shard in snapshot.shards() if (landed := snapshot.ledger.landed(shard.id)) is not None), None)
    return options if landed is None else replace(options, keep_response=landed.keep_response, media_to=landed.media_to)
