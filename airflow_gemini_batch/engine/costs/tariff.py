"""Rates applied to the usage of one request.

Exact: a rate of USD per million tokens is a whole number of pico-USD (1e-12) per token, so costs are whole numbers and sums do
not drift. The kinds overlap (cached audio is audio, cached, and input), so each token is priced once, at the rate of the most
specific kind that has one. The tier is chosen for each request by its own input: above it, all tokens of the request cost the
higher rate. A test compares all this with genai-prices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from airflow_gemini_batch.engine.costs.usage import Usage
from airflow_gemini_batch.engine.rates import MODALITIES, SEARCH_KINDS, Rates, kind_and_tier

#: Pico-USD per USD.
PICO = 10**12


#: Thousands of such costs can be added in 64 bits, and each is exact as a double.
_MOST_PICO = 2**50

#: Whole numbers, one for each request.
Counts: TypeAlias = npt.NDArray[np.int64]


class ImpossibleUsageError(ValueError):
    """The usage contradicts itself, or does not say what the price depends on. The message says how, with the figures."""


@dataclass(frozen=True, slots=True)
class _InputPart:
    """A modality with a rate of its own: its kinds and their rates in pico-USD per token."""

    kind: str
    cached_kind: str
    fresh: int
    cached: int


@dataclass(frozen=True, slots=True)
class _OutputPart:
    kind: str
    rate: int


@dataclass(frozen=True, slots=True)
class _Step:
    """The rates of one tier, in pico-USD per token. ``output`` is None where the model has no price for output."""

    above: int
    fresh: int
    cached: int
    output: int | None
    inputs: tuple[_InputPart, ...]
    outputs: tuple[_OutputPart, ...]


class Tariff:
    """The rates of one model at one time.

    :param rates: see ``rates.Rates``; ``input`` must be one of them.
    """

    def __init__(self, rates: Rates) -> None:
        tiers = sorted({kind_and_tier(name)[1] for name in rates} | {0})
        self._steps = tuple(_step(rates, tier) for tier in reversed(tiers))
        self._base = self._steps[-1]
        self._caches = any(kind_and_tier(name)[0].startswith("cached") for name in rates)
        per_query, per_prompt = (rates.get(kind, 0.0) for kind in SEARCH_KINDS)
        self._query, self._grounded = round(per_query * PICO / 1000), round(per_prompt * PICO / 1000)
        self.has_searches = bool(per_query or per_prompt)
        #: Whether the price depends on how much of the output is media.
        self.splits_output = bool(self._base.outputs)

    @property
    def dearest_media_out(self) -> str | None:
        """The kind of media with the highest rate, such as ``output_image``; None where output has one rate."""
        return max(self._base.outputs, key=lambda part: part.rate).kind if self._base.outputs else None

    def cost(self, usage: Usage) -> int:
        """What the request cost, in pico-USD. Raises ImpossibleUsageError."""
        tokens, cached, output, parts = usage.input, usage.cached, usage.output, usage.parts
        step = self._base
        if tokens > self._steps[0].above > 0:
            step = self._steps[0]
        elif len(self._steps) > 2:
            step = next(step for step in self._steps if tokens > step.above or step is self._base)
        if cached > tokens or cached < 0 or output < 0:
            raise _impossible(usage)
        if output and step.output is None:
            raise ImpossibleUsageError(f"{output} output tokens, and no rate for output is known")
        if parts or usage.unsplit:
            total = self._inputs(step, usage, parts or {}) + _outputs(step, usage, parts or {})
        else:
            total = (tokens - cached) * step.fresh + cached * step.cached + output * (step.output or 0)
        return total + self.searches(usage) if usage.queries else total

    def costs_of_text(self, inputs: Counts, cached: Counts, outputs: Counts) -> Counts | None:
        """What requests without media and searches cost, in pico-USD. None where ``cost`` must be asked for each of them.

        :param inputs, cached, outputs: one count for each request; the cached tokens are a part of its input.
        """
        highest = max(max(step.fresh, step.cached, step.output or 0) for step in self._steps)
        if (int(inputs.max(initial=0)) + int(outputs.max(initial=0))) * highest > _MOST_PICO:
            return None
        if self._base.output is None and outputs.any():
            return None
        total = _text(self._base, inputs, cached, outputs)
        for step in reversed(self._steps[:-1]):
            above = inputs > step.above
            if above.any():
                total[above] = _text(step, inputs[above], cached[above], outputs[above])
        return total

    def searches(self, usage: Usage) -> int:
        """The part of the cost that is searches, in pico-USD."""
        return usage.queries * self._query + (self._grounded if usage.queries else 0)

    def _inputs(self, step: _Step, usage: Usage, parts: dict[str, int]) -> int:
        all_cached = usage.cached if self._caches else 0
        fresh, cached, total = usage.input - all_cached, all_cached, 0
        for part in step.inputs:
            tokens = parts.get(part.kind, 0)
            of_it = parts.get(part.cached_kind)
            if of_it is None:
                if tokens and all_cached:
                    raise ImpossibleUsageError(
                        f"{part.kind} is {tokens} and cached {usage.cached}, and the usage does not say how many tokens are both"
                    )
                of_it = 0
            if not 0 <= of_it <= tokens:
                raise ImpossibleUsageError(f"{part.cached_kind} ({of_it}) is not a part of {part.kind} ({tokens})")
            if not self._caches:
                of_it = 0
            fresh, cached = fresh - (tokens - of_it), cached - of_it
            total += (tokens - of_it) * part.fresh + of_it * part.cached
        if fresh < 0 or cached < 0:
            raise ImpossibleUsageError(
                f"the parts exceed the whole: input is {usage.input}, cached {usage.cached}, parts {parts}"
            )
        return total + fresh * step.fresh + cached * step.cached


def _text(step: _Step, inputs: Counts, cached: Counts, outputs: Counts) -> Counts:
    return (inputs - cached) * step.fresh + cached * step.cached + outputs * (step.output or 0)


def _outputs(step: _Step, usage: Usage, parts: dict[str, int]) -> int:
    text, total = usage.output, 0
    if usage.unsplit and step.outputs:
        raise ImpossibleUsageError(
            f"the answer holds media, and the usage does not say how many of the {text} output tokens they are"
        )
    for part in step.outputs:
        tokens = parts.get(part.kind, 0)
        if not 0 <= tokens <= text:
            raise ImpossibleUsageError(f"{part.kind} ({tokens}) is not a part of output ({usage.output}), parts {parts}")
        text -= tokens
        total += tokens * part.rate
    return total + text * (step.output or 0)


def _impossible(usage: Usage) -> ImpossibleUsageError:
    if min(usage.input, usage.cached, usage.output) < 0:
        return ImpossibleUsageError(f"a count is negative: input {usage.input}, cached {usage.cached}, output {usage.output}")
    return ImpossibleUsageError(f"cached ({usage.cached}) exceeds input ({usage.input})")


def _step(rates: Rates, above: int) -> _Step:
    """The rates for requests with more input than ``above``, as far as they differ there."""

    named_rates = [(*kind_and_tier(name), value) for name, value in rates.items()]

    def rate(*kinds: str) -> int | None:
        """Of the first of the kinds that has one."""
        for kind in kinds:
            tiers = [(tier, value) for named, tier, value in named_rates if named == kind and tier <= above]
            if tiers:
                return round(max(tiers)[1] * (PICO // 10**6))
        return None

    fresh = rate("input") or 0
    cached = rate("cached", "input") or 0
    own = {kind_and_tier(name)[0] for name in rates}
    return _Step(
        above=above,
        fresh=fresh,
        cached=cached,
        output=rate("output"),
        inputs=tuple(
            _InputPart(f"input_{kind}", f"cached_{kind}", rate(f"input_{kind}", "input") or 0,
                       rate(f"cached_{kind}", "cached", f"input_{kind}", "input") or 0)
            for kind in MODALITIES
            if own & {f"input_{kind}", f"cached_{kind}"}
        ),
        outputs=tuple(_OutputPart(kind, rate(kind) or 0) for kind in map("output_{}".format, MODALITIES) if kind in own),
    )  # fmt: skip
