"""The sums that a landed shard keeps. Apart from ``bill``, which makes them, because tasks and triggers only add them up."""

from __future__ import annotations

import msgspec


class ShardCost(msgspec.Struct, frozen=True):
    """What the requests of one shard and attempt cost, also those whose answers are dead letters.

    :param usd: of the requests with a known cost, at the rates of the day when the job was created.
    :param priced: how many these are; those that were never sent, or refused, are not counted.
    :param unpriced: why a request has no known cost -> how many there are.
    :param usd_at_end: at the rates of the day when the job ended, where those differ.
    :param standard_usd: what the same would have cost without a batch; None where that is not known for all of them.
    :param since: the first day of the period whose prices were used.
    :param tokens: of all requests that report them, by kind. ``cached`` and ``input_audio`` are parts of ``input``, thoughts of
        ``output``.
    :param searches: queries to Google Search; ``searches_usd`` is their part of ``usd``.
    """

    usd: float = 0.0
    priced: int = 0
    unpriced: dict[str, int] = {}
    usd_at_end: float | None = None
    standard_usd: float | None = None
    tokens: dict[str, int] = {}
    searches: int = 0
    searches_usd: float = 0.0
    since: str = ""
