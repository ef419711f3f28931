"""What a finished run of a sample says about the whole table.

Each sampled row is priced by itself, over all its attempts, before it stands for others: tiers belong to the request. A row
without known usage is never one that cost nothing: the others stand for it too, and the interval is widened by its share.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow.parquet as pq

from airflow_gemini_batch.engine.build.differences import describe_differences
from airflow_gemini_batch.engine.costs.sampling import Interval, Population, interval_of_total
from airflow_gemini_batch.engine.costs.tariff import PICO, ImpossibleUsageError, Tariff
from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.request.encoding import RequestEncoder
from airflow_gemini_batch.engine.run.layout import PartName, Run
from airflow_gemini_batch.engine.run.samples import DrawnRow, Sample, UsageOfRow, read_sample, read_usages

log = logging.getLogger(__name__)

#: Draws below which an estimate is rough, and those that long-tailed thoughts need.
ENOUGH, ENOUGH_WITH_THOUGHTS = 50, 200


@dataclass(frozen=True, slots=True)
class Totals:
    """Of all requests of a table. ``usd`` is None without a price."""

    input: Interval
    output: Interval
    thoughts: Interval
    images: Interval
    usd: Interval | None


@dataclass(frozen=True, slots=True)
class Trial:
    """
    :param answered: the drawn rows with known usage; ``failed`` draws have none.
    :param results: fingerprints of the drawn rows whose answers can be reused.
    """

    destination: str
    sample: Sample
    answered: tuple[tuple[DrawnRow, UsageOfRow], ...]
    failed: int
    results: frozenset[str] = frozenset()

    @classmethod
    def of(cls, run: Run, model: str, encoder: RequestEncoder) -> Trial:
        """Read a trial. Raises InputError for a run that is none, is not finished, or asked something else."""
        manifest, sample, usages = run.built(), read_sample(run), read_usages(run)
        if sample is None:
            raise InputError(f"trial: {run.destination} is not the run of a sample. Make one with sample=50.")
        if usages is None or not run.summary_file.exists():
            raise InputError(f"trial: {run.destination} is not finished. Finish it first.")
        was = {"model": manifest.model.removeprefix("models/"), "request": manifest.request}
        differs = describe_differences(was, {"model": model.removeprefix("models/"), "request": encoder.spec})
        if differs:
            raise InputError(f"trial: {run.destination} asked something else: {'; '.join(differs)}. Run a new trial.")
        pairs = [(row, usages.get(row.key, UsageOfRow(()))) for row in sample.drawn]
        answered = tuple((row, used) for row, used in pairs if any(usage and usage.input for usage in used.usages))
        return cls(
            run.destination.uri, sample, answered, sum(row.times for row in sample.drawn) - _draws(answered), _results_of(run)
        )

    @property
    def failed_share(self) -> float:
        return self.failed / max(1, self.failed + _draws(self.answered))

    @property
    def thinks(self) -> bool:
        return any(used.thoughts for _, used in self.answered)

    def totals(self, tariff: Tariff | None, now: Population, paid: Collection[str]) -> Totals:
        """What all requests of a table will use and cost.

        :param now: the requests to be paid for, and those of ``paid``.
        :param paid: fingerprints of drawn rows whose answers are taken from the trial: they cost nothing more.

        Raises InputError if too few rows of the trial have known usage.
        """
        if now.requests == len(paid):
            nothing = Interval(0.0, 0.0, 0.0)
            return Totals(nothing, nothing, nothing, nothing, None if tariff is None else nothing)

        def total(value: Callable[[UsageOfRow], float]) -> Interval:
            return self._total(value, now, paid)

        return Totals(
            input=total(lambda used: sum(usage.input for usage in used.usages if usage)),
            output=total(lambda used: sum(usage.output for usage in used.usages if usage)),
            thoughts=total(lambda used: used.thoughts),
            images=total(lambda used: sum((usage.parts or {}).get("output_image", 0) for usage in used.usages if usage)),
            usd=None if tariff is None else total(lambda used: _cost(tariff, used, self.destination)),
        )

    def _total(self, value: Callable[[UsageOfRow], float], now: Population, paid: Collection[str]) -> Interval:
        sample = self.sample
        shares = np.array(
            [value(used) / sample.probability(row) for row, used in self.answered for _ in range(row.times)], np.float64
        )
        is_exact = sample.complete and now == sample.population
        if len(shares) < (1 if is_exact else 2):
            raise InputError(
                f"trial: the usage of {len(shares)} drawn rows of {self.destination} is known, {self.failed} have none; "
                "expected 2 and more. See its dead_letter table, and run a larger trial."
            )
        whole = Interval(*[float(shares.mean())] * 3) if is_exact else interval_of_total(shares)
        scales = (now.requests / sample.population.requests, now.bytes / sample.population.bytes)
        spent = sum(value(used) for row, used in self.answered if row.request_sha256 in paid)
        low = max(whole.low, 0.0) * min(scales) * (1 - self.failed_share)
        high = whole.high * max(scales) * (1 + self.failed_share)
        middle = whole.middle * (scales[0] + scales[1]) / 2
        return Interval(*(max(end - spent, 0.0) for end in (low, middle, high)))


def trial_among(runs: Sequence[Run], model: str, encoder: RequestEncoder) -> Trial | None:
    """The first of the runs that is a trial of the request; None if none is."""
    for run in runs:
        if (manifest := run.manifest()) is not None and manifest.sample is not None:
            try:
                return Trial.of(run, model, encoder)
            except InputError as error:
                log.info("%s", error)
    return None


def _results_of(run: Run) -> frozenset[str]:
    found: set[str] = set()
    for file in (run.destination / "results").children():
        if PartName.of(file.name):
            with file.open() as content:
                found.update(pq.read_table(content, columns=["request_sha256"]).column(0).to_pylist())
    return frozenset(found)


def _draws(answered: Collection[tuple[DrawnRow, UsageOfRow]]) -> int:
    return sum(row.times for row, _ in answered)


def _cost(tariff: Tariff, used: UsageOfRow, destination: str) -> float:
    try:
        return sum(tariff.cost(usage) for usage in used.usages if usage) / PICO
    except ImpossibleUsageError as error:
        raise InputError(f"trial: the cost of a row of {destination} is not known: {error}.") from error
