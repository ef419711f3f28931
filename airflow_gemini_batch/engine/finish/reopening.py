"""Redriving a finished run: dead letters that its reader chooses are resubmitted into the same tables.

The run is finished no more while this goes on: the summary is deleted first, and written again when the new jobs are collected.
What is resubmitted is written down before, in a plan that names the caller (its token and its selection), so a call that is
repeated after a crash continues, and never resubmits a row twice. A plan's file is named after its attempt and is created
exclusively: of two callers that redrive one run at the same instant, one has it and the other is refused.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from airflow_gemini_batch.engine.build.budget import Budget, require_limit
from airflow_gemini_batch.engine.build.preflight import check_service
from airflow_gemini_batch.engine.build.shards import ShardWriter
from airflow_gemini_batch.engine.errors import CorruptRunError, InputError
from airflow_gemini_batch.engine.finish.redrive import dead_letter_batches, rows_to_send
from airflow_gemini_batch.engine.finish.summary import Summary, summary_of
from airflow_gemini_batch.engine.gemini.client import GeminiClient
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.reasons import FINISH_REASONS, Reason
from airflow_gemini_batch.engine.run.layout import Manifest, Run, Shard, ShardAttempt, read_json, root_of
from airflow_gemini_batch.engine.run.ledger import Ledger
from airflow_gemini_batch.engine.run.media_manifest import read_media
from airflow_gemini_batch.engine.run.shard_inputs import open_inputs
from airflow_gemini_batch.engine.run.snapshot import Snapshot
from airflow_gemini_batch.engine.run.storage import Location

log = logging.getLogger(__name__)

#: The columns that a selection and a plan are made of.
_SELECTED_BY = ["key", "reason", "status", "retryable", "request"]

#: Keys that a message names.
_NAMED = 10


@dataclass(frozen=True, slots=True)
class Selection:
    """Which dead letters: those with one of these reasons, and one of these keys; without either, the retryable ones.

    :param reasons: dead-letter reasons, or finish reasons such as ``MALFORMED_FUNCTION_CALL``.
    """

    reasons: frozenset[str] | None
    keys: frozenset[str] | None

    @classmethod
    def of(cls, reasons: Collection[str] | None, keys: Collection[str] | None) -> Selection:
        """Raises InputError for a reason that does not exist."""
        for name, value in (("reasons", reasons), ("keys", keys)):
            if isinstance(value, str) or (value is not None and not all(isinstance(one, str) for one in value)):
                raise InputError(f"{name} is {value!r}; expected a list of texts.")
        known = [*(reason.value for reason in Reason), *FINISH_REASONS]
        if unknown := sorted(set(reasons or ()) - set(known)):
            raise InputError(f"reasons holds {', '.join(map(repr, unknown))}; known are {', '.join(known)}.")
        return cls(None if reasons is None else frozenset(reasons), None if keys is None else frozenset(keys))

    def and_keys(self, keys: Collection[str]) -> Selection:
        """The same, and also these keys, where keys are selected."""
        return self if self.keys is None else replace(self, keys=self.keys.union(keys))

    def of_batch(self, rows: pa.RecordBatch) -> pa.Array:
        """Mask of the rows that are selected, whether or not they have a request."""
        mask = rows.column("retryable") if self.reasons is None and self.keys is None else pa.scalar(True)
        if self.reasons is not None:
            wanted = pa.array(sorted(self.reasons), pa.string())
            mask = pc.or_(*(pc.is_in(rows.column(name), value_set=wanted) for name in ("reason", "status")))
        if self.keys is not None:
            mask = pc.and_(mask, pc.is_in(rows.column("key"), value_set=pa.array(sorted(self.keys), pa.string())))
        return mask

    def caller(self, token: str) -> str:
        """Who redrives: the caller's token and what it selects."""
        asked = [None if values is None else sorted(values) for values in (self.reasons, self.keys)]
        return hashlib.sha256(msgspec.json.encode([token, *asked])).hexdigest()[:32]


class Plan(msgspec.Struct, frozen=True):
    """What one redrive resubmits.

    :param caller: who made the plan (``Selection.caller``).
    :param made_at: Unix time in seconds.
    :param attempt: of all its shards; above all attempts that the run had.
    :param shards: part whose dead letters are resubmitted -> number of the shard that they become.
    :param payers: keys of the rows that pay for a row whose key was selected.
    """

    caller: str
    made_at: float
    attempt: int
    shards: dict[str, int]
    payers: tuple[str, ...] = ()

    def piece_of(self, shard: Shard) -> ShardAttempt | None:
        """What the dead letters of a part become; None where none of them is resubmitted."""
        number = self.shards.get(str(shard.id))
        return None if number is None else ShardAttempt(number, self.attempt)


def reopen(
    run: Run,
    selection: Selection,
    options: BatchOptions,
    *,
    token: str,
    client: GeminiClient | None = None,
    max_cost_usd: float | None = None,
) -> BatchOptions | Summary:
    """Resubmit dead letters of a finished run: write the shards that ``advance`` then submits and collects.

    :param token: identifies the caller: the same for every try of one task instance, so that a try continues what an earlier one
        has begun. The same caller with another selection begins another redrive.
    :param client: asks the service whether the key is good and the model still exists, before anything is changed. Default: None,
        which does not ask.
    :param max_cost_usd: as for ``advance``. If too much would be sent, BudgetError is raised and the run stays finished.

    Returns the options to advance the run with (its tables stay in the form that they have), or the run's summary when no dead
    letter is selected, and then nothing has changed. Raises InputError when the run is not finished, when another caller has
    just begun to redrive it, or when a key is not a dead letter; ApiKeyError and NotFoundError as ``check_service``.
    """
    require_limit(max_cost_usd)
    manifest = run.built()
    snapshot = Snapshot(run, manifest)
    budget = None if max_cost_usd is None else Budget(run, snapshot, options, max_cost_usd, instead="select fewer dead letters")
    caller = selection.caller(token)
    plan = next((plan for file in run.redrives_folder.children() if (plan := _read(file)) and plan.caller == caller), None)
    if plan is None:
        summary = summary_of(run)
        if summary is None:
            raise InputError(
                f"{run.destination} is not finished, so its dead letters may still change. Finish it first: repeat the task that "
                "runs it or redrives it, or call collect() or `gemini-batch collect`."
            )
        plan = _plan(run, manifest, snapshot, selection, caller)
        if not plan.shards:
            return summary
        if client is not None:
            check_service(client, manifest.model)
        plan = _claim(run, snapshot, plan, options)
    _carry_out(run, manifest, snapshot, plan, selection.and_keys(plan.payers), options, budget)
    return _in_the_form_of(run, snapshot, options)


def _read(file: Location) -> Plan | None:
    """A plan; None for one that was withdrawn at this moment or torn: whoever made it plans again."""
    try:
        return read_json(file, Plan)
    except CorruptRunError:
        return None


def _claim(run: Run, snapshot: Snapshot, plan: Plan, options: BatchOptions) -> Plan:
    """Write the plan where no other caller has one for the same attempt.

    A plan that was never begun, and is so old that its caller must have crashed, is replaced. If that caller comes back, it plans
    again. Otherwise it would take the shards of this redrive for its own.
    """
    file, content = run.redrive_plan_file(plan.attempt), msgspec.json.encode(plan)
    if file.create(content):
        return plan
    there = _read(file)
    if there is not None and there.caller == plan.caller:  # another try of the same caller was faster
        return there
    is_old = there is None or plan.made_at - there.made_at > options.claim_lease
    if is_old and not (there is not None and _is_begun(run, snapshot, there)):
        file.delete()
        if file.create(content):
            return plan
    raise InputError(
        f"{run.destination} is being redriven by another caller, so its dead letters may still change. "
        f"Try again when that redrive is finished; one that crashed before it began is replaced after {options.claim_lease:g} s."
    )


def _is_begun(run: Run, snapshot: Snapshot, plan: Plan) -> bool:
    ledger = Ledger(run)
    recorded = ((ledger.redrive(shard.id), plan.piece_of(shard)) for shard in snapshot.shards())
    return any(redrive is not None and piece in {one.id for one in redrive.shards} for redrive, piece in recorded)


def _plan(run: Run, manifest: Manifest, snapshot: Snapshot, selection: Selection, caller: str) -> Plan:
    shards = snapshot.shards()
    payers = _payers(run, shards, selection)
    named, selection = selection.keys, selection.and_keys(payers.values())
    numbers: dict[str, int] = {}
    taken: Counter[int] = Counter()
    found = set(payers)
    rows = unsent = 0
    for shard in shards:
        chosen = 0
        for batch in dead_letter_batches(run, shard, _SELECTED_BY):
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
    if rows:
        log.info("%s: %d dead letters of %d shards are resubmitted.", run.destination, rows, len(numbers))
    else:
        log.info("No dead letter of %s that can be resubmitted is selected, so nothing is done.", run.destination)
    attempt = max(shard.attempt for shard in shards) + 1 if shards else 0
    return Plan(caller, time.time(), attempt, numbers, tuple(sorted(payers.values())))


def _payers(run: Run, shards: Sequence[Shard], selection: Selection) -> dict[str, str]:
    """The selected keys of rows that did not pay for themselves, each with the key of the row that did."""
    payers: dict[str, str] = {}
    for shard in shards if selection.keys is not None else ():
        file = run.copies_part("dead_letter", shard.id)
        if file.exists():
            with file.open() as content, pq.ParquetFile(content) as part:
                for batch in part.iter_batches(columns=["key", "reason", "status", "retryable", "paid_by"]):
                    chosen = batch.filter(selection.of_batch(batch))
                    payers.update(zip(chosen.column("key").to_pylist(), chosen.column("paid_by").to_pylist(), strict=True))
    return payers


def _carry_out(
    run: Run,
    manifest: Manifest,
    snapshot: Snapshot,
    plan: Plan,
    selection: Selection,
    options: BatchOptions,
    budget: Budget | None,
) -> None:
    """Write what is not written yet: the shards, which say what they may cost, then the records that make them a part of the run.

    Before the first record the summary goes: from there to the end of the new jobs the run is not finished.

    So does what earlier passes have remembered of the records that are rewritten. A crash may leave it, or another try may
    save it once more, so it is compared with the records each time.
    """
    ledger = Ledger(run)
    pending: list[tuple[Shard, ShardAttempt, tuple[Shard, ...]]] = []
    is_remembered = True
    for shard in snapshot.shards():
        if (piece := plan.piece_of(shard)) is not None:
            redrive = ledger.redrive(shard.id)
            decided = () if redrive is None else redrive.shards
            is_remembered = is_remembered and decided == (snapshot.redrive(shard.id) or ())
            if piece not in {one.id for one in decided} and _has_selected(run, shard, selection):
                pending.append((shard, piece, decided))
    if pending or not is_remembered:
        snapshot.forget()
    if not pending:
        return
    written = [(shard, decided, _write(run, manifest, shard, piece, selection, options)) for shard, piece, decided in pending]
    excess = None if budget is None else budget.excess([shard for _, _, shard in written])
    if excess is not None:
        if len(written) == len(plan.shards):  # nothing of the plan was begun, so others may make theirs
            _take_back(run, plan, [shard.id for _, _, shard in written])
        raise excess
    for shard in snapshot.shards():
        # A run in steps has decided nothing. Left open, its other retryable rows would be resubmitted too.
        if snapshot.redrive(shard.id) is None:
            ledger.record_redrive(shard.id, ())
    run.summary_file.delete()
    run.summary_page.delete()
    for shard, decided, resubmitted in written:
        ledger.record_redrive(shard.id, (*decided, resubmitted), repair=True)
    snapshot.forget()


def _take_back(run: Run, plan: Plan, pieces: Sequence[ShardAttempt]) -> None:
    for piece in pieces:
        for file in (run.requests_file(piece), run.inputs_file(piece), run.media_file(piece)):
            file.delete()
    run.redrive_plan_file(plan.attempt).delete()


def _to_send(selection: Selection, rows: pa.RecordBatch) -> pa.RecordBatch:
    return rows.filter(pc.and_(selection.of_batch(rows), pc.is_valid(rows.column("request"))))


def _has_selected(run: Run, shard: Shard, selection: Selection) -> bool:
    """Whether a part still has selected dead letters; another redrive may have made something else of them since."""
    return any(_to_send(selection, batch).num_rows for batch in dead_letter_batches(run, shard, _SELECTED_BY))


def _write(run: Run, manifest: Manifest, shard: Shard, part: ShardAttempt, selection: Selection, options: BatchOptions) -> Shard:
    """The selected dead letters of one part as a shard."""
    with open_inputs(run, shard) as inputs:
        carry = inputs.carry
    media = {file.name: file for file in read_media(run, shard)}
    with ShardWriter(run, part, carry) as writer:
        for batch in dead_letter_batches(run, shard, None):
            chosen = _to_send(selection, batch)
            if chosen.num_rows:
                writer.write(rows_to_send(chosen, carry, options, media, manifest))
    return writer.shard


def _in_the_form_of(run: Run, snapshot: Snapshot, options: BatchOptions) -> BatchOptions:
    landed = next((landed for shard in snapshot.shards() if (landed := snapshot.ledger.landed(shard.id)) is not None), None)
    return options if landed is None else replace(options, keep_response=landed.keep_response, media_to=landed.media_to)
