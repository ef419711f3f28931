"""What the requests of one shard cost, row by row, and in all."""

from __future__ import annotations

import datetime as dt
import logging

import numpy as np
import numpy.typing as npt

from airflow_gemini_batch.engine.costs.prices import Prices
from airflow_gemini_batch.engine.costs.shard_cost import ShardCost
from airflow_gemini_batch.engine.costs.tariff import PICO, Counts, ImpossibleUsageError, Tariff
from airflow_gemini_batch.engine.costs.usage import NOTHING, Usage

log = logging.getLogger(__name__)

#: Why the cost of a request is not known.
NO_PRICE = "no batch price is known"
NO_PRICES_KEPT = "the run was built before prices were kept"
NO_USAGE = "the answer does not report its usage"
NO_ANSWER = "no answer arrived, and what was done is not known"
IMPOSSIBLE = "the usage contradicts itself"
OTHER_MODEL = "answered by another model than the prices are of"


class Bill:
    """Adds up one shard.

    :param prices: as frozen in the run; None in a run that was built before they were.
    :param shard: for messages.
    :param created_at, ended_at: of the job. Prices change at midnight UTC, and it is not documented which of the two counts: the
        first one is used.
    """

    def __init__(self, prices: Prices | None, shard: str, created_at: dt.datetime, ended_at: dt.datetime) -> None:
        self._prices = prices
        self._shard = shard
        period = None if prices is None else prices.at(created_at)
        at_end = None if prices is None else prices.at(ended_at)
        self._since = "" if period is None else period.since
        self.tariff = _tariff(None if period is None else period.rates)
        self._standard = _tariff(None if period is None else period.standard)
        self._at_end = None if at_end is None or period is None or at_end.rates == period.rates else _tariff(at_end.rates)
        self._unknown = NO_PRICES_KEPT if prices is None else NO_PRICE
        self._covered: dict[str | None, bool] = {}
        self._pico = self._pico_standard = self._pico_at_end = self._pico_searches = 0
        self._priced = self._standard_priced = 0
        self._unpriced: dict[str, int] = {}
        self._tokens: dict[str, int] = {}
        self._searches = 0
        self._impossible: tuple[str, Exception] | None = None
        self._others: set[str] = set()

    def add(self, key: str, usage: Usage | None, model_version: str | None = None, *, unknown: str = NO_USAGE) -> float | None:
        """The cost of one request in USD; None where it is not known, 0 where nothing was paid.

        :param usage: None where it is not known, for the reason ``unknown``.
        :param model_version: the model that answered, where it says so.
        """
        if usage is NOTHING:
            return 0.0
        if usage is None:
            self._leave_out(unknown)
            return None
        self._count(usage)
        if not self.covers(model_version):
            self._leave_out(OTHER_MODEL)
            return None
        try:
            if self._standard is not None:
                self._pico_standard += self._standard.cost(usage)
                self._standard_priced += 1
            if self.tariff is None:
                self._leave_out(self._unknown)
                return None
            cost = self.tariff.cost(usage)
            if self._at_end is not None:
                self._pico_at_end += self._at_end.cost(usage)
        except ImpossibleUsageError as error:
            self._impossible = self._impossible or (key, error)
            self._leave_out(IMPOSSIBLE)
            return None
        if usage.queries:
            self._pico_searches += self.tariff.searches(usage)
        self._pico += cost
        self._priced += 1
        return cost / PICO

    def add_texts(self, inputs: Counts, cached: Counts, outputs: Counts) -> npt.NDArray[np.float64] | None:
        """The costs of requests without media and searches in USD, NaN where no price is known, as from ``add`` for each.

        None, and nothing is added, where they have to be added one by one.

        :param inputs, cached, outputs: one count for each request, none negative; ``cached`` is at most ``inputs``.
        """
        tariffs = (self.tariff, self._standard, self._at_end)
        costs, standard, at_end = (
            None if tariff is None else tariff.costs_of_text(inputs, cached, outputs) for tariff in tariffs
        )
        if any(tariff is not None and found is None for tariff, found in zip(tariffs, (costs, standard, at_end), strict=True)):
            return None
        rows = len(inputs)
        for kind, counts in (("input", inputs), ("cached", cached), ("output", outputs)):
            self._tokens[kind] = self._tokens.get(kind, 0) + int(counts.sum())
        if standard is not None:
            self._pico_standard += int(standard.sum())
            self._standard_priced += rows
        if costs is None:
            self._unpriced[self._unknown] = self._unpriced.get(self._unknown, 0) + rows
            return np.full(rows, np.nan)
        if at_end is not None:
            self._pico_at_end += int(at_end.sum())
        self._pico += int(costs.sum())
        self._priced += rows
        return costs / PICO

    def total(self) -> ShardCost:
        """The sums. Logs a warning for what was found on the way, with an example."""
        if self._impossible is not None:
            key, error = self._impossible
            log.warning(
                "Shard %s: the cost of %d rows is not known, because their usage contradicts itself. Row %r: %s.",
                self._shard, self._unpriced[IMPOSSIBLE], key, error,
            )  # fmt: skip
        if self._others:
            log.warning(
                "Shard %s: the cost of %d rows is not known: %s answered, and the prices of the run are of %s.",
                self._shard, self._unpriced[OTHER_MODEL], ", ".join(sorted(self._others)), self._prices and self._prices.matched,
            )  # fmt: skip
        comparable = self._standard is not None and self._standard_priced == self._priced + self._unpriced.get(NO_PRICE, 0)
        return ShardCost(
            usd=self._pico / PICO,
            priced=self._priced,
            unpriced=dict(sorted(self._unpriced.items())),
            usd_at_end=None if self._at_end is None else self._pico_at_end / PICO,
            standard_usd=self._pico_standard / PICO if comparable else None,
            tokens={kind: count for kind, count in sorted(self._tokens.items()) if count},
            searches=self._searches,
            searches_usd=self._pico_searches / PICO,
            since=self._since,
        )

    def _leave_out(self, why: str) -> None:
        self._unpriced[why] = self._unpriced.get(why, 0) + 1

    def _count(self, usage: Usage) -> None:
        tokens = self._tokens
        tokens["input"] = tokens.get("input", 0) + usage.input
        tokens["output"] = tokens.get("output", 0) + usage.output
        if usage.cached:
            tokens["cached"] = tokens.get("cached", 0) + usage.cached
        if usage.parts:
            for kind, count in usage.parts.items():
                tokens[kind] = tokens.get(kind, 0) + count
        self._searches += usage.queries

    def covers(self, model_version: str | None) -> bool:
        """Whether the prices are those of the model that answered; true where there are none."""
        covered = self._covered.get(model_version)
        if covered is None:
            covered = self._prices is None or self.tariff is None or self._prices.covers(model_version)
            self._covered[model_version] = covered
            if not covered and model_version is not None:
                self._others.add(model_version)
        return covered


def _tariff(rates: dict[str, float] | None) -> Tariff | None:
    return None if rates is None else Tariff(rates)
