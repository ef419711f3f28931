"""What a person who knows the models would say about a run before it is sent. Advice is logged as a warning and stops nothing.

Each line of the tables names where it comes from, because the service may have changed since.
"""

from __future__ import annotations

import datetime as dt
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from airflow_gemini_batch.engine.run.layout import Manifest

log = logging.getLogger(__name__)

_THINKING_PAGE = "Gemini API docs, thinking"
_CACHING_PAGE = "Gemini API docs, context caching, 2026-10"

#: Models -> the thinking levels that they take; the first line that matches counts. An empty set: budgets instead of levels.
_LEVELS: tuple[tuple[str, frozenset[str]], ...] = (
    (r"gemini-2\.", frozenset()),
    (r"gemini-3-pro", frozenset({"LOW", "HIGH"})),
    (r"gemini-3\.1-pro", frozenset({"LOW", "MEDIUM", "HIGH"})),
    (r"gemini-3\.8-flash", frozenset({"LOW", "MEDIUM", "HIGH"})),
    (r"gemini-3(\.\d)?-flash", frozenset({"MINIMAL", "LOW", "MEDIUM", "HIGH"})),
)

#: Models -> the fewest tokens that a cache holds, or a prefix that is cached by itself.
_SMALLEST_CACHE: tuple[tuple[str, int], ...] = ((r"gemini-2\.5-", 2048), (r"gemini-", 4096))

#: Models -> what has become of them.
_GONE: tuple[tuple[str, str, str], ...] = (
    (r"gemini-3\.5-flash$", "is deprecated: requests are forwarded to gemini-3.6-flash", "Gemini API docs, Gemini 3.5 Flash"),
    (r"gemini-2\.5-", "is being shut down from October 2026 on", "reports of users"),
    (r"gemini-(1\.|2\.0)|gemini-pro", "has been shut down", "Gemini API docs, deprecations"),
)

#: Models that ignore how answers are drawn.
_WITHOUT_SAMPLING = re.compile(r"gemini-(3\.[6-9]|[4-9])")
_SAMPLING = ("temperature", "top_p", "top_k")

_BYTES_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class _Asked:
    """What all requests of a run have in common.

    :param config: the generation config, in REST form with snake_case names.
    :param requests: how many are sent.
    """

    manifest: Manifest
    model: str
    request: Mapping[str, Any]
    config: Mapping[str, Any]
    requests: int

    @classmethod
    def by(cls, manifest: Manifest) -> _Asked:
        request = manifest.request.get("request") or {}
        config = request.get("generation_config") or {}
        requests = sum(shard.requests for shard in manifest.shards)
        return cls(manifest, manifest.model.removeprefix("models/"), request, config, requests)


class Advice(NamedTuple):
    """A sentence, and where what it says was read."""

    message: str
    source: str


def advice_for(manifest: Manifest) -> list[Advice]:
    """What is worth saying about the requests of a run. Only what all of them have in common is looked at."""
    asked = _Asked.by(manifest)
    return [advice for rule in _RULES for advice in rule(asked)]


def log_advice(manifest: Manifest) -> None:
    for message, source in advice_for(manifest):
        log.warning("%s (Source: %s.)", message, source)


def _gone(asked: _Asked) -> Iterator[Advice]:
    for models, what, source in _GONE:
        if re.match(models, asked.model):
            yield Advice(f"{asked.model} {what}.", source)


def _sampling(asked: _Asked) -> Iterator[Advice]:
    given = [name for name in _SAMPLING if name in asked.config]
    if given and _WITHOUT_SAMPLING.match(asked.model):
        yield Advice(
            f"config sets {', '.join(given)}, which models since gemini-3.6-flash ignore, and so does {asked.model}.",
            "Gemini API changelog, 2026-07-21",
        )


def _thinking(asked: _Asked) -> Iterator[Advice]:
    thinking = asked.config.get("thinking_config") or {}
    level, budget = thinking.get("thinking_level"), thinking.get("thinking_budget")
    if level is not None and budget is not None:
        yield Advice("config sets thinking_level and thinking_budget; a request with both is refused.", _THINKING_PAGE)
    levels = next((levels for models, levels in _LEVELS if re.match(models, asked.model)), None)
    if level is not None and levels is not None and str(level).upper() not in levels:
        instead = f"it takes {', '.join(sorted(levels))}" if levels else "it takes thinking_budget"
        yield Advice(f"{asked.model} has no thinking_level {level}: {instead}.", _THINKING_PAGE)
    if budget is not None and levels:
        yield Advice(f"{asked.model} takes thinking_level; thinking_budget works less well.", _THINKING_PAGE)


def _cache(asked: _Asked) -> Iterator[Advice]:
    if asked.request.get("cached_content") or asked.requests < 2:
        return
    tokens = len(_shared_prefix(asked.manifest.request).encode()) // _BYTES_PER_TOKEN
    smallest = next((tokens for models, tokens in _SMALLEST_CACHE if re.match(models, asked.model)), None)
    if smallest is None or tokens < smallest:
        return
    prices = asked.manifest.prices
    rates = None if prices is None else prices.at(dt.datetime.now(dt.timezone.utc)).rates
    input_rate, cached_rate = (None, None) if rates is None else (rates.get("input"), rates.get("cached"))
    saves = ""
    if input_rate is not None and cached_rate is not None:
        saved = tokens * asked.requests * (input_rate - cached_rate) / 1e6
        if saved <= 0:
            return
        saves = f" It would save about ${saved:,.2f}, less the cache's storage."
    yield Advice(
        f"Each of the {asked.requests:,} requests begins with the same {tokens:,} tokens or so: a cached content "
        f"(docs/cached-content.md) is cheaper from {smallest:,} tokens on.{saves}",
        _CACHING_PAGE,
    )


def _shared_prefix(request: Mapping[str, Any]) -> str:
    """The text that every request begins with: system instruction and the prompt up to its first placeholder."""
    prompt, system = request.get("prompt"), request.get("system_instruction")
    start = ""
    for text in (system, prompt):
        if isinstance(text, str):
            fixed, placeholder, _ = text.partition("${")
            start += fixed
            if placeholder:
                break
    return start


_RULES: tuple[Callable[[_Asked], Iterator[Advice]], ...] = (_gone, _sampling, _thinking, _cache)
