"""A run never sends what may cost more than its limit.

Compared is the high end: what has been spent, what the jobs in flight may cost, and what is to be sent. A request may cost what
its bytes and its output limit allow; where a trial says less, that counts.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import msgspec

from airflow_gemini_batch.engine.build.trial import Trial
from airflow_gemini_batch.engine.costs.bounds import Bounds, CostBounds, Meter
from airflow_gemini_batch.engine.costs.prices import Prices
from airflow_gemini_batch.engine.costs.sampling import Interval, Population
from airflow_gemini_batch.engine.costs.total import in_dollars
from airflow_gemini_batch.engine.errors import BudgetError, InputError
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.run.layout import Manifest, Run, Shard, ShardAttempt, root_of, span_of
from airflow_gemini_batch.engine.run.ledger import Landed
from airflow_gemini_batch.engine.run.many_files import files_at_once
from airflow_gemini_batch.engine.run.snapshot import Snapshot

log = logging.getLogger(__name__)

_ADVICE = "which narrows the range; lower max_output_tokens; or raise max_cost_usd."


def require_limit(max_cost_usd: Any) -> None:
    """Raise InputError unless it is an amount, or None."""
    is_number = isinstance(max_cost_usd, (int, float)) and not isinstance(max_cost_usd, bool)
    if max_cost_usd is not None and not (is_number and 0 < max_cost_usd < float("inf")):
        raise InputError(f"max_cost_usd is {max_cost_usd!r}; expected an amount above 0 in USD, or None for no limit.")


def meter_of(model: str, prices: Prices | None, max_cost_usd: float) -> Meter:
    """What measures a run with a limit. Raises BudgetError where no price is known."""
    meter = None if prices is None else Meter(model, prices)
    if meter is None or meter.tariff is None:
        why = "the run was built before prices were kept" if meter is None else meter.why_no_price
        name = model.removeprefix("models/")
        raise BudgetError(
            f"max_cost_usd is {in_dollars(max_cost_usd)}, and what {name} costs is not known: {why}. Give its rates in USD per "
            f"million tokens at batch rates, such as options={{'prices': {{{name!r}: {{'input': 0.75, 'output': 4.5}}}}}}. "
            "Nothing was sent."
        )
    return meter


def shards_within(shards: Sequence[Shard], max_cost_usd: float, trial: Trial | None, meter: Meter) -> tuple[Shard, ...]:
    """The measured shards of a new run, with the bounds that a trial gives where these are narrower.

    :param trial: among the runs that are reused.

    Raises BudgetError if they may cost more than the limit, or if nothing bounds what they cost.
    """
    usd = _of_trial(shards, trial, meter)
    bounds = [shard.bounds for shard in shards if shard.bounds is not None]
    open = [reason for one in bounds for reason in one.open]
    low, high = sum(one.low for one in bounds), sum(one.high or 0.0 for one in bounds)
    requests, limit = sum(shard.requests for shard in shards), f"max_cost_usd is {in_dollars(max_cost_usd)}"
    if usd is not None and (open or usd.high < high):
        size = sum(shard.bytes for shard in shards)
        low, high, open, basis = usd.low, usd.high, [], "by the trial that is reused"
        advice = f"Run a larger trial, {_ADVICE}"
        shares = [shard.bytes / max(size, 1) for shard in shards]
        shards = [
            msgspec.structs.replace(shard, bounds=CostBounds(low * share, high * share))
            for shard, share in zip(shards, shares, strict=True)
        ]
    else:
        basis = "by their bytes and the output that they allow, which is a wide range"
        advice = f"Run a trial with sample=50 and name it in reuse, {_ADVICE}"
    if open:
        raise BudgetError(
            f"{limit}, and the cost of {requests:,} requests has no known upper end: in a shard {open[0]}. Run a trial with "
            "sample=50 and name it in reuse, or leave max_cost_usd out. Nothing was sent."
        )
    if _exceeds(high, max_cost_usd):
        raise BudgetError(
            f"{requests:,} requests may cost {in_dollars(low)} to {in_dollars(high)}, {basis}; {limit}. {advice} "
            "Nothing was sent."
        )
    return tuple(shards)


def expected_usd(shards: Sequence[Shard], trial: Trial | None, model: str, prices: Prices | None) -> float | None:
    """What the trial says that the shards will cost, most probably. None without a trial, or a price."""
    usd = None if prices is None else _of_trial(shards, trial, Meter(model, prices))
    return None if usd is None else usd.middle


def _exceeds(usd: float, limit: float) -> bool:
    """Whether an amount is above a limit; sums of the same amounts in another order differ in the last digits."""
    return usd > limit * (1 + 1e-9)


def _of_trial(shards: Sequence[Shard], trial: Trial | None, meter: Meter) -> Interval | None:
    """What the trial says about the requests of the shards."""
    if trial is None:
        return None
    paid = [row for row in trial.sample.drawn if row.request_sha256 in trial.results]
    sent = Population(sum(shard.requests for shard in shards), sum(shard.bytes for shard in shards))
    now = Population(sent.requests + len(paid), sent.bytes + sum(row.size for row in paid))
    try:
        return trial.totals(meter.tariff, now, {row.request_sha256 for row in paid}).usd
    except InputError as error:
        log.warning("%s The trial is left out of account.", error)
        return None


def with_bounds(shard: Shard, bounds: Bounds) -> Shard:
    return msgspec.structs.replace(shard, bounds=bounds.usd)


class Budget:
    """The limit of a run that is built.

    :param snapshot: of this pass.
    :param instead: what a caller can do other than raise the limit, for the error.
    """

    def __init__(
        self,
        run: Run,
        snapshot: Snapshot,
        options: BatchOptions,
        max_cost_usd: float,
        *,
        instead: str = "set max_redrives=0 to finish without resubmitting",
    ) -> None:
        self._run, self._snapshot, self._options, self._limit = run, snapshot, options, max_cost_usd
        self._instead = instead
        self._measured: dict[Shard, float | None] = {}
        self._granted: list[Shard] = []
        self._landed: dict[ShardAttempt, Landed] = {}
        self._roots = {shard.number: shard for shard in snapshot.manifest.shards}

    def excess_of_more(self, pieces: Sequence[Shard]) -> BudgetError | None:
        """As ``excess``, for shards that are about to be written besides those that were allowed before in this pass."""
        excess = self.excess([*self._granted, *pieces])
        if excess is None:
            self._granted += pieces
        return excess

    def excess(self, unsent: Sequence[Shard]) -> BudgetError | None:
        """Why these shards cannot be sent; None if they can.

        :param unsent: shards without a job, also those that are not a part of the run yet.
        """
        planned = {shard.id for shard in unsent}
        others = [shard for shard in self._snapshot.shards() if shard.id not in planned]
        sending = 0.0
        for shard in unsent:
            high = self._high_of(shard)
            if high is None:
                return BudgetError(
                    f"max_cost_usd is {in_dollars(self._limit)}, and the cost of shard {shard.id} has no known upper end. Leave "
                    "max_cost_usd out to send it."
                )
            sending += high
        # Nothing is opened while even the high end of what has been paid for leaves room.
        ends = [self._known_high_of(shard) for shard in others]
        if None not in ends and not _exceeds(sum(end or 0.0 for end in ends) + sending, self._limit):
            return None
        spent, flying = self._spent(others)
        if not _exceeds(spent + flying + sending, self._limit):
            return None
        requests = sum(shard.requests for shard in unsent)
        return BudgetError(
            f"{requests:,} requests are not sent: {in_dollars(spent)} are spent, {in_dollars(flying)} may be due for what is in "
            f"flight or not known, these may cost {in_dollars(sending)}, and max_cost_usd is {in_dollars(self._limit)}. Raise "
            f"it, or {self._instead}. What has been paid for is kept."
        )

    def _spent(self, shards: Sequence[Shard]) -> tuple[float, float]:
        """What has been spent for shards, and what may still be due: for those in flight, and for rows of unknown cost."""
        spent = flying = 0.0
        # Not what the snapshot shows: some have landed in this pass.
        absent = [shard.id for shard in shards if shard.id not in self._landed]
        opened = files_at_once(self._run.destination, absent, self._snapshot.ledger.landed)
        self._landed.update((part, counts) for part, counts in zip(absent, opened, strict=True) if counts is not None)
        for shard in shards:
            landed = self._landed.get(shard.id)
            cost = None if landed is None else landed.cost
            if cost is None:
                flying += self._high_of(shard) or 0.0
                continue
            spent += cost.usd
            if unknown := sum(cost.unpriced.values()):
                flying += (self._high_of(shard) or 0.0) * unknown / max(1, shard.requests)
        return spent, flying

    def _high_of(self, shard: Shard) -> float | None:
        """What a shard may cost; its requests file is read where nothing else says it. None where nothing bounds it."""
        known = self._known_high_of(shard)
        if known is not None or shard.bounds is not None:
            return known
        measured = shard if self._is_of_its_own(shard) else self._root_of(shard)
        if measured not in self._measured:
            self._measured[measured] = self._measure(measured)
        high = self._measured[measured]
        return None if high is None else high * shard.requests / max(1, measured.requests)

    def _known_high_of(self, shard: Shard) -> float | None:
        """The same, as far as it was measured when the run was built."""
        measured = shard if self._is_of_its_own(shard) else self._root_of(shard)
        high = None if measured.bounds is None else measured.bounds.high
        return None if high is None else high * shard.requests / max(1, measured.requests)

    def _is_of_its_own(self, shard: Shard) -> bool:
        """Whether a shard's requests may be dearer than those of the shard that it resubmits a part of."""
        return not shard.attempt or self._options.redrive_max_output_tokens is not None

    def _root_of(self, shard: Shard) -> Shard:
        return self._roots[root_of(shard.number, span_of(self._roots.values()))]

    def _measure(self, shard: Shard) -> float | None:
        manifest: Manifest = self._snapshot.manifest
        meter = meter_of(manifest.model, manifest.prices, self._limit)
        if shard.requests:
            with self._run.requests_file(shard.id).open() as lines:
                meter.add(lines)
        return meter.bounds.high_usd
