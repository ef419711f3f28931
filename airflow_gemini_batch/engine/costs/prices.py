"""The rates of a model at batch price, from genai-prices or from the user; never a guess.

Two rules must not be relaxed:
a batch price that the list does not have is "not known", and never the standard price, which genai-prices gives without a word,
and the rates of a run are frozen when it is built: a later pass, on another machine or with another list, gives the same costs.

genai-prices is optional (the extra ``costs``; Python 3.11 and newer) and imported only here, when a run is built. Nothing is
downloaded: its bundled list is used. pyproject.toml pins it, and a test holds each behaviour that is relied on.
"""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import logging
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec

from airflow_gemini_batch.engine.rates import HALF, MODALITIES, Rates

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice

log = logging.getLogger(__name__)

#: The price list that pyproject.toml asks for, and the last day on which its notes say that a price was checked. Change both with
#: the pin.
LIST_VERSION, LIST_DATE = "0.2.3", dt.date(2026, 11, 4)

#: A list older than this is warned about: prices change every few months, and it cannot say that it has aged.
_OLD = dt.timedelta(days=60)

#: Exact and case-sensitive: for any other text the list gives the standard price without a word.
_BATCH = {"processing": "batch"}

#: Price of genai-prices -> kind of ours. Another one makes the price unknown.
_KINDS = {
    "input_mtok": "input",
    "cache_read_mtok": "cached",
    "output_mtok": "output",
    **{f"input_{modality}_mtok": f"input_{modality}" for modality in MODALITIES},
    **{f"cache_{modality}_read_mtok": f"cached_{modality}" for modality in MODALITIES},
    **{f"output_{modality}_mtok": f"output_{modality}" for modality in MODALITIES},
}
_SEARCHES = "web_searches_kcount"

#: Models that are billed for each prompt with a search, and not for each query.
_BILLED_BY_PROMPT = ("gemini-1", "gemini-2")

#: Segments of a model's name that say which edition of the same model it is; besides these, numbers of two and more digits.
_EDITIONS = {"latest", "preview", "exp", "experimental"}


class Period(msgspec.Struct, frozen=True):
    """Rates that hold from one day on.

    :param since: the first day, in UTC, ISO format; empty for the first period.
    :param rates: at batch price; None where they are not known, and ``why`` says why.
    :param standard: for requests that are not a batch, where known.
    """

    since: str
    rates: Rates | None
    why: str = ""
    standard: Rates | None = None


class Prices(msgspec.Struct, frozen=True):
    """What a run's requests cost, as known on the day when it was built.

    :param model: the model that was asked for, without ``models/``.
    :param matched: the list's name for it; None where it has none.
    :param source: ``genai-prices 0.2.3``, ``given``, ``half of genai-prices 0.2.3`` (an assumption of the user) or ``unknown``.
    :param date: ISO format.
    """

    model: str
    matched: str | None
    source: str
    date: str
    periods: tuple[Period, ...]

    def at(self, when: dt.datetime) -> Period:
        """The rates of a job that was created then."""
        day = when.astimezone(dt.timezone.utc).date().isoformat()
        return next((period for period in reversed(self.periods) if period.since <= day), self.periods[0])

    def covers(self, model_version: str | None) -> bool:
        """Whether an answer of this model has these prices: an alias such as ``gemini-flash-latest`` moves between models."""
        if model_version is None or self.source == "given":
            return True
        return any(name is not None and same_model(model_version, name) for name in (self.model, self.matched))


class _UnknownError(Exception):
    """No price is known; the message says why."""


def prices_of(model: str, given: Mapping[str, Rates | str] | None = None, *, now: dt.datetime | None = None) -> Prices:
    """The prices of a model from now on, also those that are known to begin later.

    :param given: ``BatchOptions.prices``.

    A price that is not known is a period without rates, which says why.
    """
    model = model.removeprefix("models/")
    now = now or dt.datetime.now(dt.timezone.utc)
    today = now.date().isoformat()
    own = (given or {}).get(model)
    try:
        info, source = _find(model), f"genai-prices {importlib.metadata.version('genai-prices')}"
    except _UnknownError as error:
        if isinstance(own, dict):
            return Prices(model, None, "given", today, (Period("", own),))
        return Prices(model, None, "unknown", today, (Period("", None, str(error)),))
    _warn_if_old(now.date())
    first, *later = (_period(info, day, own) for day in (now.date(), *_changes(info, after=now.date())))
    periods = (msgspec.structs.replace(first, since=""), *later)
    if isinstance(own, dict):
        source = "given"
    elif own == HALF:
        source = f"half of {source}"
    elif all(period.rates is None for period in periods):
        source = "unknown"
    return Prices(model, info.id, source, today, periods)


def same_model(name: str, other: str) -> bool:
    """Whether two names differ only in what says an edition: ``gemini-2.5-flash-preview-09-2025`` and ``gemini-2.5-flash``."""
    return _core(name) == _core(other)


def _core(name: str) -> list[str]:
    segments = name.lower().removeprefix("models/").split("-")
    return [one for one in segments if one not in _EDITIONS and not (one.isdecimal() and len(one) > 1)]


def _find(model: str) -> ModelInfo:
    """The list's entry for a model. Raises _UnknownError."""
    try:
        from genai_prices import data_snapshot
    except ImportError:
        raise _UnknownError(
            "genai-prices is not installed: pip install 'airflow-gemini-batch[costs]' (Python 3.11 or newer), "
            "or give rates in options.prices"
        ) from None
    try:
        _, info = data_snapshot.get_snapshot().find_provider_model(model, None, "google", None)
    except LookupError:
        raise _UnknownError(f"genai-prices does not know {model}") from None
    # The list matches many names by their beginning: gemini-3.8-flash-lite would cost what gemini-3.8-flash costs.
    if not same_model(model, info.id) and not _is_listed_name(info.match, model):
        raise _UnknownError(f"genai-prices does not know {model}; its nearest name is {info.id}, another model")
    return info


def _is_listed_name(match: Any, model: str) -> bool:
    """Whether the list has the name in full, as an alias of the model."""
    equals = getattr(match, "equals", None)
    if equals is not None:
        return bool(equals.lower() == model.lower())
    return any(_is_listed_name(one, model) for one in getattr(match, "or_", ()))


def _changes(info: ModelInfo, *, after: dt.date) -> list[dt.date]:
    """The days after this one on which the model's price changes."""
    conditional = info.prices if isinstance(info.prices, list) else []
    constraints = [entry.constraint for entry in (*conditional, *(info.price_variants or ()))]
    return sorted({day for one in constraints if (day := getattr(one, "start_date", None)) is not None and day > after})


def _period(info: ModelInfo, since: dt.date, own: Rates | str | None) -> Period:
    when = dt.datetime.combine(since, dt.time(12), dt.timezone.utc)
    full, batch = info.get_prices(when), info.get_prices(when, _BATCH)
    day = since.isoformat()
    try:
        standard = _rates(info, full)
    except _UnknownError as error:
        return Period(day, own) if isinstance(own, dict) else Period(day, None, str(error))
    if isinstance(own, dict):
        return Period(day, own, standard=standard)
    if own == HALF:
        halved = {name: rate / 2 if name.startswith(("input", "output")) else rate for name, rate in standard.items()}
        return Period(day, halved, standard=standard)
    try:
        _require_half(info.id, full, batch)
        return Period(day, _rates(info, batch), standard=standard)
    except _UnknownError as error:
        return Period(day, None, str(error), standard)


def _require_half(model: str, full: ModelPrice, batch: ModelPrice) -> None:
    """Raise _UnknownError unless input and output cost half at each tier, as Google documents it. Caches cost half or more."""
    tokens = {name: price for name, price in vars(full).items() if price is not None and name.startswith(("input_", "output_"))}
    if any([step / 2 for step in _steps(price)] != _steps(getattr(batch, name)) for name, price in tokens.items()):
        raise _UnknownError(f"genai-prices has no batch price of {model}; give rates in options.prices")


def _steps(price: Any) -> list[Decimal]:
    return [price] if isinstance(price, Decimal) else [price.base, *(tier.price for tier in price.tiers)]


def _rates(info: ModelInfo, price: ModelPrice) -> Rates:
    """A price of the list as rates of ours. Raises _UnknownError for one that says nothing, or more than is understood here."""
    if any(type(entry.constraint).__name__ == "TimeOfDateConstraint" for entry in info.price_variants or ()):
        raise _UnknownError(f"the price of {info.id} depends on the time of day")
    known = {name: value for name, value in vars(price).items() if value is not None}
    if "input_mtok" not in known:
        raise _UnknownError(
            f"genai-prices has no price of {info.id}, which does not mean that it is free; give rates in options.prices"
        )
    rates: Rates = {}
    for name, value in known.items():
        if name == _SEARCHES:
            rates["grounded_prompt" if info.id.startswith(_BILLED_BY_PROMPT) else "web_search"] = float(value)
        elif name not in _KINDS:
            raise _UnknownError(
                f"the price of {info.id} has the part {name}, which is not understood; give rates in options.prices"
            )
        else:
            rates |= _with_tiers(_KINDS[name], value, info.id)
    return rates


def _with_tiers(kind: str, value: Any, model: str) -> Rates:
    if isinstance(value, Decimal):
        return {kind: float(value)}
    if any(tier.start % 1000 for tier in value.tiers):
        raise _UnknownError(f"the price of {model} has a tier that is not at full thousands; give rates in options.prices")
    return {kind: float(value.base), **{f"{kind}_above_{tier.start // 1000}k": float(tier.price) for tier in value.tiers}}


def _warn_if_old(today: dt.date) -> None:
    age = today - LIST_DATE
    if age > _OLD and importlib.metadata.version("genai-prices") == LIST_VERSION:
        log.warning(
            "The price list of genai-prices %s was last checked %d days ago (%s). "
            "Upgrade it, or give current rates in options.prices.",
            LIST_VERSION, age.days, LIST_DATE,
        )  # fmt: skip
