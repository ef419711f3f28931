"""The kinds of tokens that have a price of their own, and the rates that a user may give for a model.

Rates are USD per million tokens at batch rates, searches USD per thousand. A kind without a rate costs what the kind that it is a
part of costs: audio what ``input`` costs, cached audio what ``cached`` costs.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from typing import Any, TypeAlias

from airflow_gemini_batch.engine.errors import InputError

#: Kinds of tokens that differ from text. Documents count as images, as the service's price list has them.
MODALITIES = ("audio", "image", "video")

#: ``input`` is all that goes in, also what tools return to the model; ``output`` all that comes out, also thoughts.
TOKEN_KINDS = (
    *("input", *(f"input_{modality}" for modality in MODALITIES)),
    *("cached", *(f"cached_{modality}" for modality in MODALITIES)),
    *("output", *(f"output_{modality}" for modality in MODALITIES)),
)

#: Google Search: Gemini 3 bills each distinct query, older models each prompt that was answered with the help of a search.
SEARCH_KINDS = ("web_search", "grounded_prompt")

#: ``output_above_200k`` applies to all output of a request with more than 200,000 input tokens.
_TIER = re.compile(r"(?P<kind>[a-z_]+?)_above_(?P<thousands>[1-9][0-9]{0,5})k")

#: Kind, or kind with a tier -> rate.
Rates: TypeAlias = dict[str, float]

#: In place of rates: half of the standard rates of the price list, an assumption that the summary names.
HALF = "half"

#: What ``BatchOptions.prices`` takes, in words that complete "expected ...".
EXPECTED = "a dict of model names to rates, such as {'gemini-3.5-flash': {'input': 0.75, 'output': 4.5}}, or to 'half'"


def kind_and_tier(name: str) -> tuple[str, int]:
    """``output_above_200k`` -> ``("output", 200000)``; a name without a tier has 0."""
    match = _TIER.fullmatch(name)
    return (match["kind"], int(match["thousands"]) * 1000) if match else (name, 0)


def read_prices(value: Any) -> dict[str, Rates | str]:
    """``BatchOptions.prices`` with names without ``models/`` and rates as floats.

    Raises TypeError when it is not a mapping of names, and InputError for a rate that is not one, with model, kind and value.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(model, str) and model for model in value):
        raise TypeError
    return {model.removeprefix("models/"): _rates(model, rates) for model, rates in value.items()}


def _rates(model: str, rates: Any) -> Rates | str:
    if rates == HALF:
        return HALF
    if not isinstance(rates, Mapping):
        raise InputError(
            f"options: prices[{model!r}] is {rates!r}; expected a dict such as {{'input': 0.75, 'output': 4.5}}, or 'half'."
        )
    if "input" not in rates:
        raise InputError(f"options: prices[{model!r}] has no 'input'; every model is paid for its input.")
    for name, rate in rates.items():
        _require_kind(model, name, rates)
        if not isinstance(rate, (int, float)) or isinstance(rate, bool) or not 0 <= rate < math.inf:
            unit = "1,000 searches" if name in SEARCH_KINDS else "1,000,000 tokens"
            raise InputError(f"options: prices[{model!r}][{name!r}] is {rate!r}; expected USD per {unit}, 0 or more.")
    return {name: float(rate) for name, rate in rates.items()}


def _require_kind(model: str, name: Any, rates: Mapping[Any, Any]) -> None:
    kinds = (*TOKEN_KINDS, *SEARCH_KINDS)
    kind, tier = kind_and_tier(name) if isinstance(name, str) else (None, 0)
    if kind not in kinds or (tier and kind in SEARCH_KINDS):
        close = difflib.get_close_matches(str(name), kinds, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise InputError(
            f"options: prices[{model!r}] has the kind {name!r}.{hint} Kinds: {', '.join(kinds)}, and tiers of tokens, such as "
            "'input_above_200k'."
        )
    if tier and kind not in rates:
        raise InputError(f"options: prices[{model!r}] has {name!r} without {kind!r}, the rate up to there.")
