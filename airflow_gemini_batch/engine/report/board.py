"""Where a run stands: its shards, how many rows are done, at what rate, until when, for how much.

One listing of the ledger shows which facts there are and when each was written. Opened are the manifest, two hints, the summary,
and the facts that no hint holds (see ``facts``). Nothing is written, and a file that is torn leaves a gap in what is shown and is
not an error.
"""

from __future__ import annotations

import datetime as dt
import logging
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from airflow_gemini_batch.engine.costs.total import Cost, in_dollars, total_cost
from airflow_gemini_batch.engine.errors import GeminiBatchError
from airflow_gemini_batch.engine.finish.summary import Summary, summary_of
from airflow_gemini_batch.engine.report.discarded import discarded_rows
from airflow_gemini_batch.engine.report.facts import FactCache, read_facts
from airflow_gemini_batch.engine.report.rate import Landings, Pace, pace_of
from airflow_gemini_batch.engine.run.job_progress import JobProgress, read_progress
from airflow_gemini_batch.engine.run.layout import Manifest, Run, Shard
from airflow_gemini_batch.engine.run.ledger import Landed
from airflow_gemini_batch.engine.run.snapshot import Snapshot

log = logging.getLogger(__name__)

#: The states of a shard, in the order in which it passes through them. ``waiting``: no job yet; ``submitting``: a try is about to
#: create one; ``pending`` and ``running``: as the service calls the job; ``ended``: not collected yet; ``landed``: both parts are
#: there.
STATES = ("waiting", "submitting", "pending", "running", "ended", "landed")


class ShardState(msgspec.Struct, frozen=True):
    """One shard and attempt. Times in seconds since the epoch, by the storage's clock; None while there is nothing to say.

    :param state: one of ``STATES``.
    :param job_state: how the service calls the state of the job, as far as that is known.
    :param rows: input rows without copies; ``requests`` of them were sent.
    :param done: requests with an answer or an error, ``failed`` of them with an error; ``pending`` the others.
    :param results, dead_letter: rows in the two tables; None until it has landed.
    :param resubmitted: rows that were sent again, in another attempt.
    """

    shard: int
    attempt: int
    state: str
    rows: int
    requests: int
    done: int = 0
    failed: int = 0
    pending: int = 0
    job: str | None = None
    job_state: str = ""
    results: int | None = None
    dead_letter: int | None = None
    resubmitted: int = 0
    reasons: dict[str, int] = {}
    usd: float | None = None
    cancelled: bool = False
    submitted_at: float | None = None
    ended_at: float | None = None
    landed_at: float | None = None

    @property
    def id(self) -> str:
        return f"{self.shard:05d}-{self.attempt}"


class Event(msgspec.Struct, frozen=True):
    """Something that happened to a shard: built, intent, job, cancel, end, landed, redrive, discard, or finished."""

    at: float
    what: str
    shard: str = ""


class Board(msgspec.Struct, frozen=True):
    """A run at one moment.

    :param state: running or finished. The tables of a finished run balance.
    :param rows: input rows of the run; ``done`` of ``asked`` have an answer or are certainly dead letters, the others (copies
        and rows that earlier runs have answered) follow when the run is finished.
    :param results, dead_letter, reasons: of the shards that have landed, without rows that were resubmitted.
    :param discarded: dead letters that somebody has decided not to send again; counted when the board is read.
    :param checked_at: when a job was last checked, in seconds since the epoch.
    :param pace: what was observed; the rate is in rows per second.
    :param cost: of what has landed; ``projected_usd`` is what the whole run will cost if the rest costs as much per request.
    """

    run_id: str
    destination: str
    model: str
    source: str
    labels: dict[str, str]
    owner: str | None
    state: str
    created_at: str
    finished_at: str | None
    rows: int
    asked: int
    done: int
    results: int
    dead_letter: int
    reasons: dict[str, int]
    shards: tuple[ShardState, ...]
    cost: Cost
    projected_usd: float | None
    pace: Pace
    checked_at: float | None
    read_at: float
    events: tuple[Event, ...] = ()
    discarded: int = 0

    @property
    def states(self) -> dict[str, int]:
        """Shards by state, in the order of ``STATES``."""
        counts = Counter(shard.state for shard in self.shards)
        return {state: counts[state] for state in STATES if counts[state]}

    def in_words(self) -> str:
        """``41 of 100 rows done · shards: 17 landed, 3 running · dead letters so far: 12 (BLOCKED 12) · $3.10 so far``"""
        so_far = "" if self.state == "finished" else " so far"
        reasons = ", ".join(f"{reason} {count}" for reason, count in self.reasons.items())
        discarded = f", {self.discarded:,} of them discarded" if self.discarded else ""
        known = [
            f"{self.done:,} of {self.asked:,} rows done",
            "shards: " + ", ".join(f"{count:,} {state}" for state, count in self.states.items()),
            f"dead letters{so_far}: {self.dead_letter:,} ({reasons}){discarded}" if self.dead_letter else "",
            "" if self.cost.usd is None else f"{in_dollars(self.cost.usd)}{so_far}",
        ]
        return " · ".join(filter(None, known))

    @property
    def share(self) -> float:
        """How much is done, from 0 to 1."""
        return 1.0 if self.state == "finished" or not self.asked else min(1.0, self.done / self.asked)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        return {**plain, "states": self.states, "share": self.share}


def read_board(
    run: Run, *, manifest: Manifest | None = None, cache: FactCache | None = None, now: float | None = None
) -> Board | None:
    """Where the run stands, or None while it has not been built (or there is none).

    :param manifest: of the run, from a caller that has just read it; None: it is read here.
    :param cache: facts that were opened before; what is opened now is added.
    :param now: seconds since the epoch; None: now.

    Raises CorruptRunError for a manifest that cannot be read, and what the storage raises.
    """
    manifest = run.manifest() if manifest is None else manifest
    if manifest is None:
        return None
    now = time.time() if now is None else now
    times = run.ledger_folder.times()
    snapshot, counts = read_facts(run, manifest, times, {} if cache is None else cache)
    shards = _shards_of(snapshot)
    progress = read_progress(run)
    states = [_state_of(shard, snapshot, progress, counts.get(str(shard.id)), times) for shard in shards]
    summary = summary_of(run)
    done = sum(state.done if state.results is None else state.results + (state.dead_letter or 0) for state in states)
    done = min(max(0, done - sum(state.resubmitted for state in states)), _asked(manifest))
    cost = summary.cost if summary is not None else _cost(manifest, states, counts)
    pace = Pace() if summary is not None else pace_of(progress, _landings(states), left=_asked(manifest) - done, now=now)
    return Board(
        run_id=manifest.run_id,
        destination=run.destination.uri,
        model=manifest.model,
        source=manifest.source.description,
        labels=manifest.labels,
        owner=manifest.owner,
        state="running" if summary is None else "finished",
        created_at=manifest.created_at,
        finished_at=None if summary is None else summary.finished_at,
        rows=manifest.rows,
        asked=_asked(manifest),
        done=done,
        **_outcome(summary, states),
        shards=tuple(states),
        cost=cost,
        projected_usd=_projected(cost, states),
        pace=pace,
        checked_at=progress.at,
        read_at=now,
        events=tuple(_events(manifest, times, summary)),
        discarded=discarded_rows(run, snapshot, shards, times),
    )


def _landings(states: Sequence[ShardState]) -> Landings | None:
    """What has landed since the first job was created, or None where nothing has."""
    ends = [state.landed_at for state in states if state.landed_at is not None]
    starts = [state.submitted_at for state in states if state.submitted_at is not None]
    rows = sum((state.results or 0) + (state.dead_letter or 0) - state.resubmitted for state in states)
    return Landings(rows, max(ends) - min(starts)) if ends and starts else None


def _asked(manifest: Manifest) -> int:
    return sum(shard.rows for shard in manifest.shards)


def _shards_of(snapshot: Snapshot) -> list[Shard]:
    try:
        return snapshot.shards()
    except GeminiBatchError as torn:
        log.warning("%s Resubmitted shards are not shown.", torn)
        return list(snapshot.manifest.shards)


def _state_of(
    shard: Shard, snapshot: Snapshot, progress: JobProgress, landed: Landed | None, times: Mapping[str, float | None]
) -> ShardState:
    name = landed.job if landed is not None else _job_of(snapshot, shard)
    seen = progress.jobs.get(name or "")
    done, failed = (0, 0) if seen is None else (seen.stats.succeeded + seen.stats.failed, seen.stats.failed)
    if landed is not None:
        done = shard.requests
    return ShardState(
        shard=shard.number,
        attempt=shard.attempt,
        state=_stage(shard, snapshot, None if seen is None else seen.state),
        rows=shard.rows,
        requests=shard.requests,
        done=min(done, shard.requests),
        failed=failed if landed is None else 0,
        pending=max(0, shard.requests - done),
        job=name,
        job_state="" if seen is None else seen.state,
        results=None if landed is None else landed.results,
        dead_letter=None if landed is None else landed.dead_letter,
        resubmitted=_resubmitted(snapshot, shard),
        reasons={} if landed is None else landed.reasons,
        usd=None if landed is None or landed.cost is None or not landed.cost.priced else landed.cost.usd,
        cancelled=snapshot.has(shard.id, "cancel"),
        submitted_at=times.get(f"{shard.id}.job.json"),
        ended_at=times.get(f"{shard.id}.end.json"),
        landed_at=times.get(f"{shard.id}.landed.json"),
    )


def _job_of(snapshot: Snapshot, shard: Shard) -> str | None:
    try:
        return snapshot.job(shard.id)
    except GeminiBatchError:
        return None


def _resubmitted(snapshot: Snapshot, shard: Shard) -> int:
    try:
        return sum(child.rows for child in snapshot.redrive(shard.id) or ())
    except GeminiBatchError:
        return 0


def _stage(shard: Shard, snapshot: Snapshot, job_state: str | None) -> str:
    if snapshot.has(shard.id, "landed"):
        return "landed"
    if snapshot.has(shard.id, "end"):
        return "ended"
    if not snapshot.has(shard.id, "job"):
        return "submitting" if snapshot.has(shard.id, "intent") else "waiting"
    if job_state in (None, "PENDING"):
        return "pending"
    return "running" if job_state in ("RUNNING", "UNKNOWN") else "ended"


def _outcome(summary: Summary | None, states: Iterable[ShardState]) -> dict[str, Any]:
    if summary is not None:
        return {"results": summary.results, "dead_letter": summary.dead_letter, "reasons": summary.reasons}
    landed = [state for state in states if state.results is not None]
    reasons: Counter[str] = Counter()
    for state in landed:
        reasons.update(state.reasons)
    return {
        "results": sum(state.results or 0 for state in landed),
        # Which rows were resubmitted is known by number only, so the reasons may count them until the run is finished.
        "dead_letter": max(0, sum((state.dead_letter or 0) - state.resubmitted for state in landed)),
        "reasons": dict(reasons.most_common()),
    }


def _cost(manifest: Manifest, states: Sequence[ShardState], counts: Mapping[str, Landed]) -> Cost:
    return total_cost(manifest.model, manifest.prices, [counts[state.id].cost for state in states if state.id in counts])


def _projected(cost: Cost, states: Sequence[ShardState]) -> float | None:
    """The cost per request so far, for all requests. None where nothing is known, or nothing is left."""
    landed = sum(state.requests for state in states if state.results is not None)
    requests = sum(state.requests for state in states)
    if cost.usd is None or landed - cost.unpriced <= 0 or landed == requests:
        return None
    return cost.usd / (landed - cost.unpriced) * requests


def _events(manifest: Manifest, times: Mapping[str, float | None], summary: Summary | None) -> list[Event]:
    """What the files of the ledger tell, in order."""
    events = [Event(at, "built") for at in (_epoch(manifest.created_at),) if at is not None]
    for name, at in times.items():
        shard, _, rest = name.partition(".")
        what = rest.partition("-")[0].partition(".")[0]
        if at is not None and what in ("intent", "job", "cancel", "end", "landed", "redrive", "refused", "discard"):
            events.append(Event(at, what, shard))
    if summary is not None and (at := _epoch(summary.finished_at)) is not None:
        events.append(Event(at, "finished"))
    return sorted(events, key=lambda event: (event.at, event.shard))


def _epoch(text: str) -> float | None:
    try:
        return dt.datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None
