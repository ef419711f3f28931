"""What requests can cost, seen from their bytes alone: the sums over a table, or a part of one.

The high end is a bound for text and output: each request is priced by itself, so that tiers count. Where something cannot be
bounded, ``open`` says so, and there is no high end.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from airflow_gemini_batch.engine.costs.prices import Prices
from airflow_gemini_batch.engine.costs.request_size import RequestSize, Sizer, Unbounded
from airflow_gemini_batch.engine.costs.tariff import PICO, ImpossibleUsageError, Tariff
from airflow_gemini_batch.engine.costs.usage import Usage

_NO_OUTPUT_LIMIT = Unbounded("output", "output without a limit: set max_output_tokens in the request's config")


class CostBounds(msgspec.Struct, frozen=True):
    """What the requests of a shard may cost, in USD.

    :param high: None where nothing bounds it, which ``open`` says in words.
    """

    low: float
    high: float | None
    open: tuple[str, ...] = ()


@dataclass(slots=True)
class Bounds:
    """
    :param low, middle, high: tokens that go in.
    :param output: tokens that may come out at most, thoughts included, of the requests that have a limit.
    :param image_output: the part of ``output`` that may be images.
    :param pico_low, pico_high: their cost, without output and with all of it; ``pico_input`` is the input's part of the latter.
    :param open: what cannot be bounded -> requests with it.
    """

    requests: int = 0
    bytes: int = 0
    low: int = 0
    middle: int = 0
    high: int = 0
    output: int = 0
    image_output: int = 0
    pico_low: int = 0
    pico_input: int = 0
    pico_high: int = 0
    open: Counter[Unbounded] = field(default_factory=Counter)

    @property
    def usd(self) -> CostBounds:
        reasons = (f"{requests:,} of {self.requests:,} requests have {one.what}" for one, requests in sorted(self.open.items()))
        return CostBounds(self.pico_low / PICO, self.high_usd, tuple(reasons))

    def is_open(self, *parts: str) -> bool:
        """Whether something in one of these parts of a request (``Unbounded.part``) cannot be bounded."""
        return any(one.part in parts for one in self.open)

    @property
    def high_usd(self) -> float | None:
        """None where something is open."""
        return None if self.open else self.pico_high / PICO


class Meter:
    """Adds up requests.

    :param prices: of the model; the rates of the day are used.
    """

    def __init__(self, model: str, prices: Prices) -> None:
        self._size = Sizer(model).of_line
        period = prices.at(dt.datetime.now(dt.timezone.utc))
        self.why_no_price = period.why if period.rates is None else ""
        self.tariff = None if period.rates is None else Tariff(period.rates)
        self.bounds = Bounds()

    def add(self, lines: Iterable[bytes | None]) -> None:
        """:param lines: of a requests file; None for rows that have none."""
        for line in lines:
            if line is not None:
                self._add(len(line), self._size(line))

    def taken(self) -> Bounds:
        """What has been added since the last call."""
        bounds, self.bounds = self.bounds, Bounds()
        return bounds

    def _add(self, size: int, request: RequestSize) -> None:
        bounds = self.bounds
        bounds.requests += 1
        bounds.bytes += size
        bounds.low += request.low
        bounds.middle += request.middle
        bounds.high += request.high
        output = request.output or 0
        bounds.output += output
        bounds.open.update(request.unknown)
        if request.output is None:
            bounds.open[_NO_OUTPUT_LIMIT] += 1
        parts = {"input_image": request.images} if request.images else {}
        dearest = None if self.tariff is None else self.tariff.dearest_media_out
        if request.media_out or (request.media_out is None and dearest is not None):  # by default such a model makes media
            bounds.image_output += output
            parts |= {} if dearest is None else {dearest: output}
        if self.tariff is not None:
            try:
                bounds.pico_low += self.tariff.cost(Usage(request.low))
                bounds.pico_input += self.tariff.cost(Usage(request.high))
                bounds.pico_high += self.tariff.cost(Usage(request.high, 0, output, parts or None))
            except ImpossibleUsageError as error:
                bounds.open[Unbounded("price", str(error))] += 1
