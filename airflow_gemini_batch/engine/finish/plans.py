"""Plans of redrives: who resubmits what of a finished run, written down before anything is changed.

A plan's file is named after its attempt and is created exclusively: of two callers that redrive one run at the same instant, one
has it and the other is refused.
"""

from __future__ import annotations

import time

import msgspec

from airflow_gemini_batch.engine.errors import CorruptRunError, InputError
from airflow_gemini_batch.engine.finish.summary import Summary, summary_of
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.run.layout import Run, Shard, ShardAttempt, read_json
from airflow_gemini_batch.engine.run.ledger import Ledger
from airflow_gemini_batch.engine.run.snapshot import Snapshot
from airflow_gemini_batch.engine.run.storage import Location


class Plan(msgspec.Struct, frozen=True):
    """What one redrive resubmits.

    :param caller: who made the plan (``Selection.caller``).
    :param made_at: Unix time in seconds.
    :param attempt: of all its shards; above all attempts that the run had.
    :param shards: part whose dead letters are resubmitted -> number of the shard that they become.
    :param payers: keys of the rows that pay for a row whose key was selected.
    :param limits: part -> how many of its selected letters are resubmitted, where not all of them are.
    """

    caller: str
    made_at: float
    attempt: int
    shards: dict[str, int]
    payers: tuple[str, ...] = ()
    limits: dict[str, int] = {}

    def piece_of(self, shard: Shard) -> ShardAttempt | None:
        """What the dead letters of a part become; None where none of them is resubmitted."""
        number = self.shards.get(str(shard.id))
        return None if number is None else ShardAttempt(number, self.attempt)


def require_finished(run: Run) -> Summary:
    """The summary of a run whose dead letters are final. Raises InputError for a run that is not finished."""
    summary = summary_of(run)
    if summary is None:
        raise InputError(
            f"{run.destination} is not finished, so its dead letters may still change. Finish it first: repeat the task that "
            "runs it or redrives it, or call collect() or `gemini-batch collect`."
        )
    return summary


def require_no_redrive(run: Run, snapshot: Snapshot, options: BatchOptions) -> frozenset[str]:
    """Raise InputError where a redrive of the finished run has been planned and not begun yet, unless its caller must have
    crashed. Returns the names of all plans: that of a redrive which is planned later is not among them."""
    names = frozenset(file.name for file in run.redrives_folder.children())
    attempt = max((shard.attempt for shard in snapshot.shards()), default=-1) + 1
    file = run.redrive_plan_file(attempt)
    plan = read_plan(file) if file.name in names else None
    if plan is not None and time.time() - plan.made_at <= options.claim_lease:
        raise _being_redriven(run, options)
    return names


def _being_redriven(run: Run, options: BatchOptions) -> InputError:
    return InputError(
        f"{run.destination} is being redriven by another caller, so its dead letters may still change. "
        f"Try again when that redrive is finished; one that crashed before it began is replaced after {options.claim_lease:g} s."
    )


def read_plan(file: Location) -> Plan | None:
    """A plan; None for one that was withdrawn at this moment or torn: whoever made it plans again."""
    try:
        return read_json(file, Plan)
    except CorruptRunError:
        return None


def claim_plan(run: Run, snapshot: Snapshot, plan: Plan, options: BatchOptions) -> Plan:
    """Write the plan where no other caller has one for the same attempt.

    A plan that was never begun, and is so old that its caller must have crashed, is replaced. If that caller comes back, it plans
    again. Otherwise it would take the shards of this redrive for its own.
    """
    file, content = run.redrive_plan_file(plan.attempt), msgspec.json.encode(plan)
    if file.create(content):
        return plan
    there = read_plan(file)
    if there is not None and there.caller == plan.caller:  # another try of the same caller was faster
        return there
    is_old = there is None or plan.made_at - there.made_at > options.claim_lease
    if is_old and not (there is not None and _is_begun(run, snapshot, there)):
        file.delete()
        if file.create(content):
            return plan
    raise _being_redriven(run, options)


def _is_begun(run: Run, snapshot: Snapshot, plan: Plan) -> bool:
    ledger = Ledger(run)
    recorded = ((ledger.redrive(shard.id), plan.piece_of(shard)) for shard in snapshot.shards())
    return any(redrive is not None and piece in {one.id for one in redrive.shards} for redrive, piece in recorded)
