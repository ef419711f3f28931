"""Redriving a finished run: dead letters that its reader chooses are resubmitted into the same tables.

The run is finished no more while this goes on: the summary is deleted first, and written again when the new jobs are collected.
What is resubmitted is written down before, in a plan that names the caller (its token and its selection), so a call that is
repeated after a crash continues, and never resubmits a row twice. A plan's file is named after its attempt and is created
exclusively: of two callers that redrive one run at the same instant, one has it and the other is refused.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from airflow_gemini_batch.engine.build.budget import Budget, require_limit
from airflow_gemini_batch.engine.build.preflight import check_service
from airflow_gemini_batch.engine.build.shards import ShardWriter
from airflow_gemini_batch.engine.finish.plans import Plan, claim_plan, read_plan, require_finished
from airflow_gemini_batch.engine.finish.redrive import dead_letter_batches, rows_to_send
from airflow_gemini_batch.engine.finish.selection import Selection, names_of, payers_of, require_found, without
from airflow_gemini_batch.engine.finish.summary import Summary
from airflow_gemini_batch.engine.gemini.client import GeminiClient
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.run.discards import Discards
from airflow_gemini_batch.engine.run.layout import Manifest, Run, Shard, ShardAttempt, root_of, span_of
from airflow_gemini_batch.engine.run.ledger import Ledger
from airflow_gemini_batch.engine.run.media_manifest import read_media
from airflow_gemini_batch.engine.run.shard_inputs import open_inputs
from airflow_gemini_batch.engine.run.snapshot import Snapshot

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Letters:
    """The dead letters of a run that a redrive resubmits: selected, with a request, not discarded, and within the limit.

    :param limits: of the plan.
    """

    run: Run
    repeats: int
    selection: Selection
    discards: Discards
    limits: dict[str, int]

    def discarded(self, shard: Shard) -> dict[str, int]:
        return {} if self.selection.include_discarded else self.discards.of(shard.id)

    def of(self, shard: Shard, *, whole: bool) -> Iterator[pa.RecordBatch]:
        """Those of a shard and attempt, some at a time, none empty.

        :param whole: with all columns; otherwise with those that select.
        """
        discarded, left = self.discarded(shard), self.limits.get(str(shard.id))
        columns = None if whole else [*self.selection.columns(self.repeats), "request"]
        for batch in dead_letter_batches(self.run, shard, columns):
            rows = without(batch.filter(self.selection.of_batch(batch, self.repeats)), discarded, self.repeats)
            rows = rows.filter(pc.is_valid(rows.column("request"))).slice(0, left)
            if rows.num_rows:
                yield rows
            left = None if left is None else left - rows.num_rows
            if left == 0:
                return


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
    selection, caller = selection.or_retryable(), selection.caller(token)
    manifest = run.built()
    snapshot = Snapshot(run, manifest)
    budget = None if max_cost_usd is None else Budget(run, snapshot, options, max_cost_usd, instead="select fewer dead letters")
    plan = next((plan for file in run.redrives_folder.children() if (plan := read_plan(file)) and plan.caller == caller), None)
    if plan is None:
        summary = require_finished(run)
        plan = _plan(run, manifest, snapshot, selection, caller)
        if not plan.shards:
            return summary
        if client is not None:
            check_service(client, manifest.model)
        plan = claim_plan(run, snapshot, plan, options)
    _carry_out(run, manifest, snapshot, plan, selection.and_keys(plan.payers), options, budget)
    return _in_the_form_of(run, snapshot, options)


def count_letters(run: Run, selection: Selection) -> int:
    """How many dead letters of a finished run ``reopen`` would resubmit. Raises what it raises about run and selection."""
    manifest, selection = run.built(), selection.or_retryable()
    require_finished(run)
    shards = Snapshot(run, manifest).shards()
    payers = payers_of(run, shards, selection)
    letters = _Letters(run, manifest.repeats, selection.and_keys(payers.values()), Discards(run, manifest.run_id), {})
    count = _Counter(letters, selection.limit)
    for shard in shards:
        count.of(shard)
    require_found(run, selection, count.found.union(payers))
    return count.rows


def _plan(run: Run, manifest: Manifest, snapshot: Snapshot, selection: Selection, caller: str) -> Plan:
    shards = snapshot.shards()
    payers = payers_of(run, shards, selection)
    letters = _Letters(run, manifest.repeats, selection.and_keys(payers.values()), Discards(run, manifest.run_id), {})
    count = _Counter(letters, selection.limit)
    numbers: dict[str, int] = {}
    taken: Counter[int] = Counter()
    span = span_of(manifest.shards)
    for shard in shards:
        if count.of(shard):
            root = root_of(shard.number, span)
            numbers[str(shard.id)] = root + taken[root] * span
            taken[root] += 1
    require_found(run, selection, count.found.union(payers))
    if count.unsent:
        log.warning("%d of the selected dead letters never became a request and cannot be resubmitted.", count.unsent)
    if count.discarded:
        log.warning("%d of the selected dead letters were discarded and are left out. To resubmit them too: "
                    "include_discarded=True, or --include-discarded.", count.discarded)  # fmt: skip
    if numbers:
        log.info("%s: %d dead letters of %d shards are resubmitted.", run.destination, count.rows, len(numbers))
    else:
        log.info("No dead letter of %s that can be resubmitted is selected, so nothing is done.", run.destination)
    attempt = max(shard.attempt for shard in shards) + 1 if shards else 0
    return Plan(caller, time.time(), attempt, numbers, tuple(sorted(payers.values())), count.limits)


class _Counter:
    """Counts, shard by shard, what is resubmitted and what is not.

    :ivar rows: letters that are resubmitted; ``unsent`` never became a request, ``discarded`` are left out.
    :ivar found: keys and wire keys of all that are selected, where keys are.
    :ivar limits: part -> how many of its letters are resubmitted, where the limit leaves some out.
    """

    def __init__(self, letters: _Letters, limit: int | None) -> None:
        self._letters = letters
        self._limit = limit
        self.rows = self.unsent = self.discarded = 0
        self.found: set[str] = set()
        self.limits: dict[str, int] = {}

    def of(self, shard: Shard) -> int:
        """The letters of a shard and attempt that are resubmitted."""
        selection, repeats = self._letters.selection, self._letters.repeats
        discarded = self._letters.discarded(shard)
        chosen = 0
        for batch in dead_letter_batches(self._letters.run, shard, [*selection.columns(repeats), "request"]):
            selected = batch.filter(selection.of_batch(batch, repeats))
            if selection.keys is not None:
                self.found |= names_of(selected, repeats)
            kept = without(selected, discarded, repeats)
            unsent = kept.column("request").null_count
            self.discarded += selected.num_rows - kept.num_rows
            self.unsent += unsent
            chosen += kept.num_rows - unsent
        room = chosen if self._limit is None else self._limit - self.rows
        if room < chosen:
            chosen = room
            self.limits |= {str(shard.id): room} if room else {}
        self.rows += chosen
        return chosen


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
    # Read after the plan was claimed: whoever discards a letter looks for plans afterwards (see ``discarding``).
    letters = _Letters(run, manifest.repeats, selection, Discards(run, manifest.run_id), plan.limits)
    pending: list[tuple[Shard, ShardAttempt, tuple[Shard, ...]]] = []
    is_remembered = True
    for shard in snapshot.shards():
        if (piece := plan.piece_of(shard)) is not None:
            redrive = ledger.redrive(shard.id)
            decided = () if redrive is None else redrive.shards
            is_remembered = is_remembered and decided == (snapshot.redrive(shard.id) or ())
            if piece not in {one.id for one in decided} and any(letters.of(shard, whole=False)):
                pending.append((shard, piece, decided))
    if pending or not is_remembered:
        snapshot.forget()
    if not pending:
        return
    written = [(shard, decided, _write(letters, manifest, shard, piece, options)) for shard, piece, decided in pending]
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


def _write(letters: _Letters, manifest: Manifest, shard: Shard, part: ShardAttempt, options: BatchOptions) -> Shard:
    """The letters of one part that are resubmitted, as a shard."""
    with open_inputs(letters.run, shard) as inputs:
        carry = inputs.carry
    media = {file.name: file for file in read_media(letters.run, shard)}
    with ShardWriter(letters.run, part, carry) as writer:
        for chosen in letters.of(shard, whole=True):
            writer.write(rows_to_send(chosen, carry, options, media, manifest))
    return writer.shard


def _in_the_form_of(run: Run, snapshot: Snapshot, options: BatchOptions) -> BatchOptions:
    landed = next((landed for shard in snapshot.shards() if (landed := snapshot.ledger.landed(shard.id)) is not None), None)
    return options if landed is None else replace(options, keep_response=landed.keep_response, media_to=landed.media_to)
