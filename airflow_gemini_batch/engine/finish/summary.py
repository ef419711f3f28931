"""The last step: the tables are checked key by key, then the summary is written. Its presence means that the run is finished."""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import math
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from airflow_gemini_batch.engine.build.answer_index import write_index
from airflow_gemini_batch.engine.collect.download import reland
from airflow_gemini_batch.engine.costs.total import NEVER_KEPT, Cost, total_cost
from airflow_gemini_batch.engine.errors import BalanceError, CorruptRunError, DeadLetterRatioError
from airflow_gemini_batch.engine.finish.balance import Balance, check_run
from airflow_gemini_batch.engine.finish.copies import bring_reused, write_copies
from airflow_gemini_batch.engine.finish.messages import Messages, in_words
from airflow_gemini_batch.engine.finish.redrive import prune
from airflow_gemini_batch.engine.finish.sample_usage import write_usages
from airflow_gemini_batch.engine.gemini.jobs import Job
from airflow_gemini_batch.engine.printable import printable
from airflow_gemini_batch.engine.reasons import Reason
from airflow_gemini_batch.engine.run.damage import find_damage
from airflow_gemini_batch.engine.run.layout import Manifest, Run, Shard, ShardAttempt, read_json
from airflow_gemini_batch.engine.run.ledger import Landed, Ledger
from airflow_gemini_batch.engine.run.many_files import files_at_once
from airflow_gemini_batch.engine.run.snapshot import Snapshot

log = logging.getLogger(__name__)

SUMMARY_VERSION = 1


class JobSummary(msgspec.Struct, frozen=True):
    """One job of the run.

    :param create_time, end_time: as the service wrote them (RFC 3339).
    :param cost_usd: None where nothing is known of it.
    :param results, dead_letter: rows that it brought into the two tables; rows that were resubmitted count as dead letters.
    :param tokens: of all its requests that report them, by kind (``input``, ``output``, ``cached``, …).
    """

    name: str
    shard: int
    attempt: int
    state: str
    requests: int
    create_time: str = ""
    end_time: str = ""
    cost_usd: float | None = None
    results: int = 0
    dead_letter: int = 0
    tokens: dict[str, int] = {}


class Summary(msgspec.Struct, frozen=True):
    """The outcome of a run.

    :param rows: input rows; ``results`` + ``dead_letter``, counted in the tables themselves.
    :param requests: distinct requests that were sent, each counted once however often it was resubmitted.
    :param deduplicated: rows that were answered by another row's request (``paid_by``).
    :param reused: rows that an earlier run had answered (``reused_from``).
    :param reasons: dead letters by reason.
    :param aside: answer lines that belong to no row of this run; kept under ``_run/responses``.
    :param tokens: sums over all results, as the service counted them.
    :param cost: what all its requests cost, also those of dead letters and of earlier attempts.
    :param dead_letter_messages: reason -> its most frequent messages, with the number of rows that have each.
    :param labels: who or what the run is for, as they were given when it was built.
    :param repeats: how often each row was sent; ``rows`` counts each of them.
    :param balanced: every key of the input is in one of the two tables, exactly once; checked key by key.
    """

    run_id: str
    model: str
    source: str
    destination: str
    rows: int
    results: int
    dead_letter: int
    reasons: dict[str, int]
    aside: dict[str, int]
    tokens: dict[str, int]
    jobs: tuple[JobSummary, ...]
    balanced: bool
    started_at: str
    finished_at: str
    version: int = SUMMARY_VERSION
    dead_letter_messages: Messages = {}
    cost: Cost = NEVER_KEPT
    requests: int = 0
    deduplicated: int = 0
    reused: int = 0
    labels: dict[str, str] = {}
    repeats: int = 1

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        return plain


#: Draws a finished run for people. It is called before the summary is written, which ends the run, and may fail.
Draw = Callable[[Run, Manifest, Summary], object]


def summary_of(run: Run) -> Summary | None:
    """The summary of a finished run, or None. A torn summary counts as absent, because it can be rewritten from the run."""
    try:
        return read_json(run.summary_file, Summary)
    except CorruptRunError as torn:
        log.warning("%s It is rewritten.", torn)
        return None


def finish_run(run: Run, *, max_dead_letter_ratio: float | None = None, draw: Draw | None = None) -> Summary:
    """Check that the run's tables balance, and write its summary. A finished run is believed if its parts are
    still there with the rows that the summary counts; otherwise they are rewritten from ``_run/``.

    :param max_dead_letter_ratio: highest accepted share of rows in ``dead_letter``, from 0 to 1. Default (None): a run fails if
        requests were made and none of them has a result. 1 accepts that too.
    :param draw: draws the page beside the summary, whenever the summary is written. Default (None): there is no page.

    Raises BalanceError when a shard has not been collected or the tables do not hold every key exactly once, DestinationError
    when the destination holds no run, CorruptRunError for a file that cannot be read or rewritten, and, after everything has been
    written, DeadLetterRatioError when more rows became dead letters than the caller allows.
    """
    summary = summary_of(run)
    if summary is None:
        summary = _finish(run, run.built(), draw)
    else:
        _prune_finished(run)
        summary = _undamaged(run, summary, draw)
    _check_ratio(run, summary, max_dead_letter_ratio)
    return summary


def _finish(run: Run, manifest: Manifest, draw: Draw | None) -> Summary:
    ledger, snapshot = Ledger(run), Snapshot(run, manifest)
    shards = snapshot.shards()
    # The files decide, not what known.json says of them.
    read = files_at_once(run.destination, shards, lambda shard: (ledger.landed(shard.id), ledger.ended(shard.id)))
    facts = dict(zip((shard.id for shard in shards), read, strict=True))
    counts = _require_landed(run, {shard.id: facts[shard.id][0] or _landed_again(run, snapshot, shard) for shard in shards})
    landed = {ShardAttempt(count.number, count.attempt): count for count in counts}
    for part, count in landed.items():  # for readers: a run in mapped steps has no passes, which would leave them
        snapshot.remember_landed(part, count)
    jobs = tuple(_job(shard, job, landed.get(shard.id)) for shard in shards if (job := facts[shard.id][1]) is not None)
    balance = _balanced(run, snapshot, shards)
    summary = _summarise(run, manifest, counts, jobs, balance)
    write_index(run, manifest, run.index_file, finished_at=summary.finished_at)
    if manifest.sample is not None:
        write_usages(run, shards)
    if draw is not None:
        _draw(run, manifest, summary, draw)
    snapshot.save()
    run.summary_file.write(msgspec.json.format(msgspec.json.encode(summary), indent=1))
    log.info(
        "Finished %s: %d rows, %d results, %d dead letters, %s%s.",
        run.destination,
        summary.rows,
        summary.results,
        summary.dead_letter,
        summary.cost,
        f", for {in_words_of(summary.labels)}" if summary.labels else "",
    )
    if summary.dead_letter:
        log.warning(
            "%d of %d rows are dead letters (%s). Most frequent messages: %s. See %s/dead_letter.",
            summary.dead_letter,
            summary.rows,
            _reasons(summary),
            in_words(summary.dead_letter_messages),
            run.destination,
        )
    if cancelled := summary.reasons.get(Reason.JOB_CANCELLED.value):
        log.warning(
            "%d rows are unanswered because their job was cancelled. To resubmit them into the same tables: "
            "gemini-batch redrive %s --reason JOB_CANCELLED, or a task GeminiBatchRedriveOperator(destination=%r, "
            "reasons=['JOB_CANCELLED']).",
            cancelled,
            shlex.quote(run.destination.uri),
            run.destination.uri,
        )
    return summary


def _draw(run: Run, manifest: Manifest, summary: Summary, draw: Draw) -> None:
    """Draw the page, if it can be drawn: whatever goes wrong with it, the run is finished."""
    try:
        draw(run, manifest, summary)
    except Exception as error:
        log.warning(
            "%s was not drawn (%s: %s). The run is finished without it; gemini-batch report %s draws it.",
            run.summary_page,
            type(error).__name__,
            printable(str(error)),
            shlex.quote(run.destination.uri),
        )
        log.debug("Why the page was not drawn:", exc_info=True)


def _check_ratio(run: Run, summary: Summary, allowed: float | None) -> None:
    ratio = summary.dead_letter / summary.rows if summary.rows else 0.0
    if allowed is None:
        asked = summary.rows - summary.reasons.get(Reason.INVALID_INPUT.value, 0)
        if not asked or summary.results:
            return
        found, rule = f"None of {asked} requests has a result", "Set max_dead_letter_ratio=1.0 if that may be"
    elif ratio > allowed:
        found = f"{summary.dead_letter} of {summary.rows} rows ({ratio:.1%}) are dead letters, {allowed:.1%} allowed"
        rule = "The limit is max_dead_letter_ratio"
    else:
        return
    raise DeadLetterRatioError(
        f"{found}: {_reasons(summary)}. Most frequent messages: {in_words(summary.dead_letter_messages)}. "
        f"All tables are written; see {run.destination}/dead_letter. {rule}."
    )


def _reasons(summary: Summary) -> str:
    """``MISSING 3, BLOCKED 1``"""
    return ", ".join(f"{reason} {count}" for reason, count in sorted(summary.reasons.items(), key=lambda item: -item[1]))


def _undamaged(run: Run, summary: Summary, draw: Draw | None) -> Summary:
    """The summary of a finished run whose tables are whole; otherwise they are rewritten from ``_run/`` first."""
    damage = find_damage(run, results=summary.results, dead_letter=summary.dead_letter)
    if damage is None:
        return summary
    manifest = run.manifest()
    if manifest is None:
        raise BalanceError(
            f"{run.destination} was finished and has changed since: {damage} It cannot be rewritten, because {run.manifest_file} "
            "is absent. Restore the tables from a copy."
        )
    log.warning("%s was finished and has changed since: %s It is checked again.", run.destination, damage)
    return _finish(run, manifest, draw)


def _prune_finished(run: Run) -> None:
    """Prune again: another try may have collected a shard while this run was finished, and restored resubmitted dead letters."""
    manifest = run.manifest()
    if manifest is not None:
        with contextlib.suppress(CorruptRunError):  # a finished run needs only its tables and its summary
            prune(run, Snapshot(run, manifest))


def in_words_of(labels: Mapping[str, str]) -> str:
    """``env=prod, team=search``"""
    return ", ".join(f"{name}={value}" for name, value in sorted(labels.items()))


def _require_landed(run: Run, counts: Mapping[ShardAttempt, Landed | None]) -> list[Landed]:
    """The counts of all shards. Raises BalanceError when one has not been collected."""
    absent = [str(part) for part, count in counts.items() if count is None]
    if absent:
        raise BalanceError(
            f"{run.destination} is not complete: {len(absent)} of {len(counts)} shards have not been collected "
            f"({_some(absent)}). Run the tasks of these shards again, then finish again."
        )
    return [count for count in counts.values() if count is not None]


def _landed_again(run: Run, snapshot: Snapshot, shard: Shard) -> Landed | None:
    """Torn counts are found again by rewriting the parts of the shard; None for a shard that has not landed."""
    return reland(run, shard) if snapshot.has(shard.id, "landed") else None


def _balanced(run: Run, snapshot: Snapshot, shards: Sequence[Shard]) -> Balance:
    """The balance of the tables. If a part is torn or holds other rows, all parts are rewritten once and checked again."""
    try:
        return _pruned_balance(run, snapshot, shards)
    except (BalanceError, CorruptRunError) as problem:
        log.warning("%s Rewriting all parts from the run's files.", problem)
    for shard in shards:
        reland(run, shard)
    return _pruned_balance(run, snapshot, shards)


def _pruned_balance(run: Run, snapshot: Snapshot, shards: Sequence[Shard]) -> Balance:
    prune(run, snapshot)
    saved = write_copies(run, shards)
    bring_reused(run, snapshot.manifest.reused)
    balance = check_run(run, shards, snapshot.manifest.reused, snapshot.manifest.repeats)
    if not balance.balanced:
        raise BalanceError(f"{run.destination} does not balance: {balance.problem} No summary was written.")
    return msgspec.structs.replace(balance, saved_by_dedupe_usd=saved)


def _summarise(run: Run, manifest: Manifest, counts: Sequence[Landed], jobs: tuple[JobSummary, ...], balance: Balance) -> Summary:
    return Summary(
        run_id=manifest.run_id,
        model=manifest.model,
        source=manifest.source.description,
        destination=run.destination.uri,
        rows=balance.rows,
        results=balance.results,
        dead_letter=balance.dead_letter,
        reasons=dict(balance.reasons),
        aside=_sum(count.aside for count in counts),
        tokens=_sum(count.tokens for count in counts),
        labels=manifest.labels,
        repeats=manifest.repeats,
        cost=msgspec.structs.replace(
            total_cost(manifest.model, manifest.prices, [count.cost for count in counts]),
            estimated_usd=manifest.estimated_usd,
            saved_by_dedupe_usd=balance.saved_by_dedupe_usd,
            saved_by_reuse_usd=_sum_of_known(part.saved_usd for part in manifest.reused),
        ),
        jobs=jobs,
        balanced=balance.balanced,
        dead_letter_messages=balance.messages,
        requests=sum(shard.requests for shard in manifest.shards),
        deduplicated=sum(shard.duplicates for shard in manifest.shards),
        reused=manifest.reused_rows,
        started_at=manifest.created_at,
        finished_at=dt.datetime.now(dt.timezone.utc).isoformat(),
    )


def _job(shard: Shard, job: Job, landed: Landed | None) -> JobSummary:
    cost = None if landed is None else landed.cost
    return JobSummary(
        name=job.name,
        shard=shard.number,
        attempt=shard.attempt,
        state=job.state.value,
        requests=shard.requests,
        create_time=job.create_time,
        end_time=job.end_time,
        cost_usd=cost.usd if cost is not None and (cost.priced or not cost.unpriced) else None,
        results=0 if landed is None else landed.results,
        dead_letter=0 if landed is None else landed.dead_letter,
        tokens={} if cost is None else cost.tokens,
    )


def _sum(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)  # update keeps zeros, + would drop them
    return dict(total)


def _sum_of_known(costs: Iterable[float | None]) -> float | None:
    known = [cost for cost in costs if cost is not None]
    return math.fsum(known) if known else None


def _some(names: list[str]) -> str:
    return ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
