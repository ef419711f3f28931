"""What a run cost: all attempts of all shards, also those whose rows were resubmitted."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import msgspec

from airflow_gemini_batch.engine.costs.prices import Prices
from airflow_gemini_batch.engine.costs.shard_cost import ShardCost
from airflow_gemini_batch.engine.rates import Rates

#: Why the cost of a shard is not known that was collected by an earlier version.
NOT_KEPT = "collected before costs were kept"


class Basis(msgspec.Struct, frozen=True):
    """What the costs rest on.

    :param source: ``genai-prices 0.2.3``, ``given``, ``half of genai-prices 0.2.3`` (an assumption of the user) or ``unknown``.
    :param date: when the rates were looked up, which is when the run was built.
    :param matched: the name under which the price list has the model.
    :param rates: USD per million tokens at batch rates that held while the run went on, by their first day (empty: from the
        beginning).
    :param notes: what a reader must know: why no price is known, which requests are left out, that prices changed on the way.
    """

    source: str
    model: str
    date: str = ""
    matched: str | None = None
    rates: dict[str, Rates] = {}
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        known = f"{self.source}, {self.date}" if self.date else self.source
        return f"{known}, as {self.matched}" if self.matched not in (None, self.model) else known


class Cost(msgspec.Struct, frozen=True):
    """What a run cost, in USD at batch rates. Storage of caches and free allowances are not included.

    :param usd: of all requests whose cost is known; None when none is. Includes attempts whose rows were resubmitted.
    :param unpriced: how many requests ``usd`` leaves out, because their cost is not known; ``unpriced_reasons`` says why.
    :param usd_at_end: the same at the rates of the days on which the jobs ended, where prices changed while a job ran.
    :param interactive_usd: what the same would have cost at standard rates; None where that is not known for all of ``usd``.
    :param estimated_usd: what a reused trial said before, of the same requests; None without one.
    :param saved_by_dedupe_usd, saved_by_reuse_usd: None where there is nothing to say.
    :param tokens: of all requests, also those of dead letters, by kind.
    :param searches: queries to Google Search; ``searches_usd`` is their part of ``usd``, at list price.
    """

    usd: float | None
    basis: Basis
    unpriced: int = 0
    unpriced_reasons: dict[str, int] = {}
    usd_at_end: float | None = None
    interactive_usd: float | None = None
    estimated_usd: float | None = None
    saved_by_dedupe_usd: float | None = None
    saved_by_reuse_usd: float | None = None
    tokens: dict[str, int] = {}
    searches: int = 0
    searches_usd: float | None = None

    def __str__(self) -> str:
        if self.usd is None:
            return f"cost unknown ({'; '.join(self.basis.notes)})"
        left_out = f" without {self.unpriced} requests of unknown cost" if self.unpriced else ""
        return f"{in_dollars(self.usd)}{left_out} ({self.basis})"


#: In a summary that an earlier version has written.
NEVER_KEPT = Cost(None, Basis("unknown", "", notes=("the run was finished before costs were kept",)))


def total_cost(model: str, prices: Prices | None, shards: Sequence[ShardCost | None]) -> Cost:
    """The cost of a run.

    :param prices: as frozen in the run; None in a run of an earlier version.
    :param shards: of every shard and attempt; None for one that was collected by an earlier version.
    """
    known = [shard for shard in shards if shard is not None]
    unpriced: Counter[str] = Counter({NOT_KEPT: len(shards) - len(known)})
    tokens: Counter[str] = Counter()
    for shard in known:
        unpriced.update(shard.unpriced)
        tokens.update(shard.tokens)
    left_out = {why: count for why, count in sorted(unpriced.items()) if count}
    priced = sum(shard.priced for shard in known)
    usd = None if left_out and not priced else math.fsum(shard.usd for shard in known)
    changed = usd is not None and any(shard.usd_at_end is not None for shard in known)
    searches = sum(shard.searches for shard in known)
    return Cost(
        usd=usd,
        basis=_basis(model, prices, known, left_out),
        unpriced=sum(left_out.values()),
        unpriced_reasons=left_out,
        usd_at_end=math.fsum(shard.usd if shard.usd_at_end is None else shard.usd_at_end for shard in known) if changed else None,
        interactive_usd=_interactive(known),
        tokens=dict(sorted(tokens.items())),
        searches=searches,
        searches_usd=math.fsum(shard.searches_usd for shard in known) if searches and usd is not None else None,
    )


def in_dollars(usd: float) -> str:
    """``$12.30``, and two digits that say something of less than a cent."""
    return f"${usd:,.2f}" if usd >= 0.1 or not usd else f"${usd:.2g}" if usd >= 1e-4 else f"${usd:.1e}"


def _interactive(shards: Sequence[ShardCost]) -> float | None:
    """None as soon as one shard with requests has no comparison."""
    compared = [shard.standard_usd for shard in shards if shard.priced or shard.unpriced]
    return math.fsum(usd for usd in compared if usd is not None) if compared and None not in compared else None


def _basis(model: str, prices: Prices | None, shards: Sequence[ShardCost], left_out: dict[str, int]) -> Basis:
    notes = [f"{count} requests are left out: {why}" for why, count in left_out.items()]
    if prices is None:
        return Basis("unknown", model, notes=tuple(notes))
    last = max((shard.since for shard in shards if shard.priced), default="")
    spanned = any(shard.usd_at_end is not None for shard in shards)
    rates: dict[str, Rates] = {}
    for period in prices.periods:
        if period.rates is not None and period.rates not in list(rates.values())[-1:] and (spanned or period.since <= last):
            rates[period.since] = period.rates
    days = ", ".join(since for since in rates if since)
    if spanned:
        notes.append(f"prices change on {days}: usd is at the rates when the jobs were created, usd_at_end when they ended")
    elif len({shard.since for shard in shards if shard.priced} & set(rates)) > 1:
        notes.append(f"prices change on {days}: each job costs what held when it was created")
    unknown = sorted({period.why for period in prices.periods if period.why})
    return Basis(prices.source, prices.model, prices.date, prices.matched, rates, (*unknown, *notes))
