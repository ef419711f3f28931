"""The last step: the books are balanced, by content, and the summary says so. Its presence means: finished."""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
from collections import Counter
from collections.abc import Iterable
from typing import Any

import msgspec

from airflow_gemini_batch.engine.collect.download import reland
from airflow_gemini_batch.engine.errors import BalanceError, CorruptRunError, DeadLetterRatioError, GeminiBatchError
from airflow_gemini_batch.engine.finish.balance import Balance, check_run
from airflow_gemini_batch.engine.finish.redrive import prune
from airflow_gemini_batch.engine.gemini.jobs import Job
from airflow_gemini_batch.engine.run.layout import Manifest, Run, Shard, read_json
from airflow_gemini_batch.engine.run.ledger import Landed, Ledger
from airflow_gemini_batch.engine.run.snapshot import Snapshot

log = logging.getLogger(__name__)

SUMMARY_VERSION = 1


class JobSummary(msgspec.Struct, frozen=True):
    """One job of the run. Times as the service wrote them (RFC 3339)."""

    name: str
    shard: int
    attempt: int
    state: str
    requests: int
    create_time: str = ""
    end_time: str = ""


class Summary(msgspec.Struct, frozen=True):
    """What came of a run.

    :param rows: input rows; ``results`` + ``dead_letter``, counted in the tables themselves.
    :param reasons: dead letters by reason.
    :param aside: answer lines that belong to no row of this run; kept under ``_run/responses``.
    :param tokens: sums over all answers, as the service counted them.
    :param cost_usd: None while unknown.
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
    cost_usd: float | None
    jobs: tuple[JobSummary, ...]
    balanced: bool
    started_at: str
    finished_at: str
    version: int = SUMMARY_VERSION

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        return plain


def summary_of(run: Run) -> Summary | None:
    """The summary of a finished run, or None. A torn one is as good as none: it is made anew from the run."""
    try:
        return read_json(run.summary_file, Summary)
    except CorruptRunError as torn:
        log.warning("%s It is written anew.", torn)
        return None


def finish_run(run: Run, *, max_dead_letter_ratio: float = 1.0) -> Summary:
    """Balance the run and write its summary.

    Raises BalanceError when a shard has not been collected or the tables do not hold every key exactly once, and
    DeadLetterRatioError, after everything has been written, when more rows died than the caller allows.
    """
    summary = summary_of(run)
    if summary is not None:
        _tidy(run)
    else:
        manifest = run.built()
        snapshot = Snapshot(run, manifest)
        shards = snapshot.shards()
        counts = _all_landed(run, shards)
        balance = _balanced(run, snapshot, shards)
        summary = _summarise(run, manifest, shards, counts, balance)
        run.summary_file.write(msgspec.json.format(msgspec.json.encode(summary), indent=1))
        log.info(
            "Finished %s: %d rows, %d results, %d dead letters.",
            run.destination,
            summary.rows,
            summary.results,
            summary.dead_letter,
        )
    dead = summary.dead_letter / summary.rows if summary.rows else 0.0
    if dead > max_dead_letter_ratio:
        reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(summary.reasons.items(), key=lambda item: -item[1]))
        raise DeadLetterRatioError(
            f"{summary.dead_letter} of {summary.rows} rows ({dead:.1%}) are dead letters, {max_dead_letter_ratio:.1%} allowed: "
            f"{reasons}. Everything is written; look at {run.destination}/dead_letter."
        )
    return summary


def _tidy(run: Run) -> None:
    """Another try may have been landing a shard while this run was finished, and have put back letters that were sent again."""
    manifest = run.manifest()
    if manifest is not None:
        with contextlib.suppress(CorruptRunError):  # of a finished run only the tables and the summary need still be there
            prune(run, Snapshot(run, manifest))


def _all_landed(run: Run, shards: list[Shard]) -> list[Landed]:
    ledger = Ledger(run)
    counts = [_landed(run, ledger, shard) for shard in shards]
    absent = [str(shard.id) for shard, count in zip(shards, counts, strict=True) if count is None]
    if absent:
        raise BalanceError(
            f"{run.destination} is not complete: {len(absent)} of {len(counts)} shards have not been collected "
            f"({_some(absent)}). Repeat the tasks of these shards, then finish again."
        )
    return [count for count in counts if count is not None]


def _landed(run: Run, ledger: Ledger, shard: Shard) -> Landed | None:
    """The counts of a shard; torn ones are found out again by writing its parts again."""
    landed = ledger.landed(shard.id)
    return reland(run, shard) if landed is None and run.landed_file(shard.id).exists() else landed


def _balanced(run: Run, snapshot: Snapshot, shards: list[Shard]) -> Balance:
    """The balance of the tables. Parts that turn out to be torn, or to hold other rows, are written anew once."""
    for last in (False, True):
        try:
            prune(run, snapshot)
            balance = check_run(run, shards)
            if balance.balanced:
                return balance
            problem: GeminiBatchError = BalanceError(
                f"{run.destination} does not balance: {balance.problem} No summary was written."
            )
        except CorruptRunError as error:
            problem = error
        if last:
            raise problem
        log.warning("%s Writing all parts anew from what the run holds.", problem)
        for shard in shards:
            reland(run, shard)
    raise AssertionError("unreachable")


def _summarise(run: Run, manifest: Manifest, shards: list[Shard], counts: list[Landed], balance: Balance) -> Summary:
    ledger = Ledger(run)
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
        cost_usd=None,
        jobs=tuple(_job(shard, job) for shard in shards if (job := ledger.ended(shard.id)) is not None),
        balanced=balance.balanced,
        started_at=manifest.created_at,
        finished_at=dt.datetime.now(dt.timezone.utc).isoformat(),
    )


def _job(shard: Shard, job: Job) -> JobSummary:
    return JobSummary(
        name=job.name,
        shard=shard.number,
        attempt=shard.attempt,
        state=job.state.value,
        requests=shard.requests,
        create_time=job.create_time,
        end_time=job.end_time,
    )


def _sum(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)  # update keeps zeros, + would drop them
    return dict(total)


def _some(names: list[str]) -> str:
    return ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
