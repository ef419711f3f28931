"""What a run of a table would cost: from its bytes, from the service's counts, or from a trial.

The whole table is read and its requests are made, so that rows are left out that cost nothing. Nothing is written, and nothing is
paid: countTokens is free.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from airflow_gemini_batch.engine.arrow.columns import from_numpy
from airflow_gemini_batch.engine.build.call import RunSpec, uris_of
from airflow_gemini_batch.engine.build.duplicates import Duplicates
from airflow_gemini_batch.engine.build.earlier_answers import found_runs
from airflow_gemini_batch.engine.build.reuse import Answers, Reused
from airflow_gemini_batch.engine.build.rows import Rows
from airflow_gemini_batch.engine.build.source_rows import plain_rows
from airflow_gemini_batch.engine.build.trial import ENOUGH, ENOUGH_WITH_THOUGHTS, Totals, Trial
from airflow_gemini_batch.engine.costs.bounds import Bounds, Meter
from airflow_gemini_batch.engine.costs.prices import Prices, prices_of
from airflow_gemini_batch.engine.costs.sampling import Interval, Population
from airflow_gemini_batch.engine.costs.tariff import PICO
from airflow_gemini_batch.engine.costs.total import Basis
from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.estimate.counting import counted_input, drawn_lines
from airflow_gemini_batch.engine.estimate.result import Estimate, Range
from airflow_gemini_batch.engine.gemini.client import Endpoint, GeminiClient
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.request.encoding import RequestEncoder, compile_request
from airflow_gemini_batch.engine.request.fingerprints import Fingerprinter
from airflow_gemini_batch.engine.request.named_columns import columns_named
from airflow_gemini_batch.engine.run.layout import Run
from airflow_gemini_batch.engine.run.repeats import require_repeats
from airflow_gemini_batch.engine.run.storage import locate
from airflow_gemini_batch.engine.source.open import Source, open_source
from airflow_gemini_batch.engine.specs import RequestSpec, takes_json_as_text

log = logging.getLogger(__name__)

_BYTES = "the bytes of the requests, without a trial"
_BOUND = "0 to max_output_tokens of each request"

#: Of the rows whose tokens are counted.
_SEED = 20261125


def estimate(
    source: Any,
    request: RequestSpec,
    *,
    model: str,
    trial: str | None = None,
    reuse: str | Sequence[str] | None = None,
    dedupe: bool = True,
    repeats: int = 1,
    count_tokens: int | None = None,
    key: str | None = None,
    options: BatchOptions | Mapping[str, Any] | None = None,
    endpoint: Endpoint | None = None,
    storage_options: dict[str, Any] | None = None,
) -> Estimate:
    """Say what a run of a table would send and cost, before it is paid for. The table is read; nothing is written or sent.

    From bytes alone the answer is a range: how many tokens a text is, and how long the answers will be, cannot be seen. A trial
    (``run_batch(…, sample=50)``) narrows it to an estimate with a 95 % interval.

    :param source: as for ``run_batch``.
    :param request: as for ``run_batch``.
    :param model: as for ``run_batch``.
    :param key: as for ``run_batch``.
    :param trial: destination of a finished run of the same request with ``sample``. Default: none.
    :param reuse: as for ``run_batch``; rows that these runs have answered cost nothing. Name the trial here too if the run will
        reuse it. Default: none.
    :param dedupe: whether rows with equal requests share one, as the run will have it. Default: True.
    :param repeats: how often each row is sent, as the run will have it. A trial of rows that are sent once serves. Default: 1.
    :param count_tokens: how many requests the service is asked to count the input of, one call for each; it is free, and needs
        ``endpoint`` or a key in the environment. 50 know the input to about 5 %. Default: None, no call is made.
    :param options: as for ``run_batch``; ``prices`` and ``schema_field`` matter here.
    :param endpoint, storage_options: as for ``run_batch``.

    Raises InputError for arguments or a source that cannot be used, and for a trial that cannot serve.
    """

    def place(uri: str) -> Any:
        return locate(uri, **(storage_options or {}))

    spec = RunSpec(source, request, model, key, dedupe=dedupe, reuse=uris_of(reuse), locate=place, repeats=repeats)
    return estimate_run(spec, BatchOptions.of(options), trial=trial, count_tokens=count_tokens, endpoint=endpoint)


def estimate_run(
    spec: RunSpec,
    options: BatchOptions,
    *,
    trial: str | None = None,
    count_tokens: int | None = None,
    endpoint: Endpoint | None = None,
) -> Estimate:
    """As ``estimate``, for the specification of a run."""
    if count_tokens is not None and (not isinstance(count_tokens, int) or isinstance(count_tokens, bool) or count_tokens < 2):
        raise InputError(f"count_tokens is {count_tokens!r}; expected a whole number of requests from 2, such as 50, or None.")
    require_repeats(spec.repeats)
    table = _Table.of(spec, options)
    if count_tokens is not None and not table.source.is_repeatable:
        raise InputError(f"count_tokens needs a source that can be read twice, and {table.source.description} can be read once.")
    prices = prices_of(spec.model, options.prices)
    meter = Meter(spec.model, prices)
    known = None if trial is None else Trial.of(Run(spec.locate(trial), spec.locate), spec.model, table.encoder)
    count = _Count(frozenset() if known is None else frozenset(row.request_sha256 for row in known.sample.drawn), spec.repeats)
    found = found_runs(spec.reuse, spec.model, table.encoder, options, spec.locate, own=None)
    with found as runs, runs.answers(None, spec.repeats) as earlier:
        for block in table.rows_to_pay(count, earlier):
            meter.add(block.lines.to_pylist())
            count.add(block)
        bounds = meter.bounds
        counted = None
        if count_tokens is not None:
            counted = _counted(table, count, bounds, count_tokens, endpoint, earlier)
    totals = None if known is None else known.totals(meter.tariff, count.with_paid(known), count.paid)
    return _Writer(spec, table, count, bounds, prices, meter, known, totals, counted, count_tokens).estimate()


@dataclass(frozen=True, slots=True)
class _Table:
    spec: RunSpec
    source: Source
    encoder: RequestEncoder
    max_bytes: int

    @classmethod
    def of(cls, spec: RunSpec, options: BatchOptions) -> _Table:
        columns = columns_named(spec.request, spec.key)
        source = open_source(spec.source, locate=spec.locate, json_as_text=takes_json_as_text(spec.request), columns=columns)
        encoder = compile_request(spec.request, source.schema, spec.model, spec.locate, options.schema_field)
        return cls(spec, source, encoder, options.max_shard_bytes)

    def rows_to_pay(self, count: _Count, earlier: Answers | None) -> Iterator[Rows]:
        fingerprinter = Fingerprinter(self.spec.model, self.encoder.spec)
        with contextlib.ExitStack() as stack:
            spec = self.spec
            rows = count.seen(plain_rows(self.source, self.encoder, spec.key, self.max_bytes, fingerprinter, spec.repeats))
            if earlier is not None:
                rows = count.left(stack.enter_context(Reused(earlier, None)).without(rows))
            if spec.dedupe and spec.repeats == 1:
                rows = stack.enter_context(Duplicates(None)).without(rows)
            yield from rows


@dataclass(slots=True)
class _Count:
    """Rows and requests of the table.

    :param drawn: fingerprints of the trial's rows; ``paid`` are those that an earlier run has answered.
    :param repeats: how often each row is sent; an answer of the trial stands for the first time.
    """

    drawn: frozenset[str]
    repeats: int = 1
    rows: int = 0
    invalid: int = 0
    requests: int = 0
    bytes: int = 0
    reused: int = 0
    uploads: int = 0
    paid: set[str] = field(default_factory=set)

    @property
    def population(self) -> Population:
        return Population(self.requests, self.bytes)

    def with_paid(self, trial: Trial) -> Population:
        """The requests to be paid for, and those that the trial has paid for."""
        paid = [row for row in trial.sample.drawn if row.request_sha256 in self.paid]
        return Population(self.requests + len(paid), self.bytes + sum(row.size for row in paid))

    def seen(self, blocks: Iterator[Rows]) -> Iterator[Rows]:
        """The whole table."""
        for block in blocks:
            self.rows += len(block)
            self.invalid += len(block) - block.requests
            self.paid |= self._drawn_in(block)
            yield block

    def left(self, blocks: Iterator[Rows]) -> Iterator[Rows]:
        """What no earlier run has answered."""
        left = 0
        for block in blocks:
            left += len(block)
            self.paid -= self._drawn_in(block)
            self.reused = self.rows - left
            yield block
        self.reused = self.rows - left

    def add(self, block: Rows) -> None:
        """What is to be paid for."""
        self.requests += block.requests
        self.bytes += int(block.sizes().sum())
        self.uploads += sum(map(bool, block.media))
        self.paid -= self._drawn_in(block)

    def _drawn_in(self, block: Rows) -> set[str]:
        if not self.drawn:
            return set()
        wanted = pa.array(sorted(self.drawn), pa.string())
        column = block.inputs.column(1)
        if self.repeats > 1:
            column = column.filter(from_numpy(block.source_rows % self.repeats == 0))
        return set(column.filter(pc.is_in(column, value_set=wanted)).to_pylist())


def _counted(
    table: _Table, count: _Count, bounds: Bounds, draws: int, endpoint: Endpoint | None, earlier: Answers | None
) -> Interval:
    if count.uploads:
        raise InputError("count_tokens cannot count requests whose media are still to be uploaded. Use a trial instead.")
    population, model = count.population, table.spec.model
    with GeminiClient(endpoint or Endpoint()) as client:

        def ask(request: bytes) -> int:
            return client.count_tokens(model, request)

        lines = drawn_lines(table.rows_to_pay(_Count(frozenset()), earlier), population, draws, _SEED)
        return counted_input(lines, population, draws, bounds.middle, model, ask)


@dataclass(frozen=True, slots=True)
class _Writer:
    """Puts the parts together, and says what they rest on."""

    spec: RunSpec
    table: _Table
    count: _Count
    bounds: Bounds
    prices: Prices
    meter: Meter
    trial: Trial | None
    totals: Totals | None
    counted: Interval | None
    counts: int | None

    def estimate(self) -> Estimate:
        count, totals = self.count, self.totals
        basis = _BYTES if self.trial is None else self._of_trial(self.trial)
        bounds = self.bounds
        if totals is None:
            most = None if bounds.is_open("output") else bounds.output
            output, thoughts = Range(0, None, most, _BOUND), Range(0, None, most, f"{_BOUND}; they cannot be seen from a request")
            images = Range(0, None, bounds.image_output if most is not None else None, _BOUND)
        else:
            output, thoughts, images = (_range(one, basis) for one in (totals.output, totals.thoughts, totals.images))
        return Estimate(
            model=self.spec.model.removeprefix("models/"),
            source=self.table.source.description,
            rows=count.rows,
            requests=count.requests,
            invalid=count.invalid,
            deduplicated=count.rows - count.invalid - count.requests - count.reused,
            reused=count.reused,
            input_tokens=self._input(basis),
            output_tokens=output,
            thoughts_tokens=thoughts,
            image_tokens=images,
            usd=self._usd(basis),
            price=Basis(self.prices.source, self.prices.model, self.prices.date, self.prices.matched),
            failed_share=None if self.trial is None else self.trial.failed_share,
            notes=tuple(self._notes()),
        )

    def _input(self, basis: str) -> Range:
        if self.counted is not None:
            return _range(self.counted, f"countTokens of {min(self.counts or 0, self.count.requests)} draws")
        if self.totals is not None:
            return _range(self.totals.input, basis)
        bounds = self.bounds
        return Range(bounds.low, bounds.middle, None if bounds.is_open("input", "tool") else bounds.high, basis)

    def _usd(self, basis: str) -> Range | None:
        bounds = self.bounds
        if self.meter.tariff is None:
            return None
        if self.totals is not None and self.totals.usd is not None:
            return _range(self.totals.usd, basis, digits=9)
        if self.counted is None:
            return Range(bounds.pico_low / PICO, None, bounds.high_usd, f"{basis}; output {_BOUND}")
        low = bounds.pico_low / PICO * (self.counted.low / bounds.low if bounds.low else 1)
        dearest = bounds.pico_input / PICO * (self.counted.high / bounds.high if bounds.high else 1)
        high = None if bounds.is_open("tool", "output", "price") else dearest + (bounds.pico_high - bounds.pico_input) / PICO
        return Range(low, None, high, f"countTokens for the input; output {_BOUND}")

    def _of_trial(self, trial: Trial) -> str:
        rows = sum(row.times for row in trial.sample.drawn)
        rough = " (rough: 50 are better)" if rows < ENOUGH and not trial.sample.complete else ""
        return f"a trial of {rows} draws{rough}, {trial.destination}"

    def _notes(self) -> Iterator[str]:
        if self.meter.tariff is None:
            yield f"no price is known, so there is no estimate in USD: {self.meter.why_no_price}"
        if self.totals is None:
            for one, requests in sorted(self.bounds.open.items()):
                yield f"{requests} requests have {one.what}, which is not counted"
        if self.trial is not None:
            yield from self._notes_on(self.trial)
        days = [period.since for period in self.prices.periods if period.since]
        if days:
            yield f"prices change on {', '.join(days)}; these are today's"
        yield "searches, the storage of caches and resubmitted requests beyond those of the trial are not included"

    def _notes_on(self, trial: Trial) -> Iterator[str]:
        sample = trial.sample
        if trial.failed:
            yield (
                f"{trial.failed_share:.0%} of the trial's draws have no known usage; the others stand for them, and the interval "
                "is widened by that share"
            )
        if trial.thinks and sample.draws < ENOUGH_WITH_THOUGHTS and not sample.complete:
            yield f"the model thinks: with {ENOUGH_WITH_THOUGHTS} draws the interval would be about half as wide"
        now = self.count.with_paid(trial)
        if now != sample.population:
            yield (
                f"the table or the arguments have changed since the trial: {sample.population.requests} requests of "
                f"{sample.population.bytes} bytes then, {now.requests} of {now.bytes} now; scaled by both"
            )
        if self.count.paid:
            yield f"{len(self.count.paid)} rows of the trial are reused and not paid again"


def _range(interval: Interval, basis: str, *, digits: int = 0) -> Range:
    """Rounded outwards, because the high end may become the limit of the run; whole units stay what they are."""
    unit = 10.0**digits
    low, high = math.floor(interval.low * unit + 1e-6) / unit, math.ceil(interval.high * unit - 1e-6) / unit
    return Range(low, round(interval.middle, digits), high, basis)
