"""Arguments checked while the DAG file is parsed, so that a mistake is an import error of the DAG and not a failed task."""

from __future__ import annotations

import contextlib
import math
import os
import reprlib
from collections.abc import Callable, Mapping
from typing import Any

from airflow.sdk import ObjectStoragePath

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.reasons import FINISH_REASONS, Reason
from airflow_gemini_batch.engine.specs import EmbedRequest, GenerateRequest, RawRequest, request_of
from airflow_gemini_batch.operators._rendering import is_template


def check_arguments(arguments: Mapping[str, Any]) -> None:
    """Check the arguments in ``_RULES`` that are present.

    Values that Airflow resolves when the task runs (``XComArg`` and the arguments of a mapped task group) pass. Raises
    InputError, which names the argument, the value and what is allowed.
    """
    for name, (is_allowed, expected) in _RULES.items():
        if name in arguments and not is_resolved_later(value := arguments[name]) and not is_allowed(value):
            raise InputError(f"{name} is {reprlib.repr(value)}; expected {expected}.")
    if "options" in arguments:
        BatchOptions.of(arguments["options"])


def is_resolved_later(value: Any) -> bool:
    return hasattr(value, "iter_references")  # of Airflow's ResolveMixin, which is private


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_place(value: Any) -> bool:
    return isinstance(value, (os.PathLike, ObjectStoragePath)) or _is_text(value)


def _is_amount(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf


def _are_names(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(map(_is_text, value))


def _are_places(value: Any) -> bool:
    return value is None or _is_place(value) or (isinstance(value, (list, tuple)) and all(map(_is_place, value)))


def _is_run(value: Any) -> bool:
    return isinstance(value, Mapping) or _is_place(value)


def _are_runs(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return bool(value) and all(_is_run(one) or is_resolved_later(one) for one in value)
    return _is_run(value)


def _is_margin(value: Any) -> bool:
    margins = value.values() if isinstance(value, Mapping) else () if value is None else (value,)
    return all(isinstance(one, (int, float)) and not isinstance(one, bool) and 0 <= one < math.inf for one in margins)


def _are_labels(value: Any) -> bool:
    if value is None:
        return True
    if not isinstance(value, Mapping):
        return False
    return all(_is_text(name) and (_is_text(text) or is_resolved_later(text)) for name, text in value.items())


def _are_texts(value: Any) -> bool:
    """Texts, some of which may be known later; or the template of a list."""
    if isinstance(value, (list, tuple, set, frozenset)):
        return all(isinstance(one, str) or is_resolved_later(one) for one in value)
    return isinstance(value, str) and is_template(value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _are_codes(value: Any) -> bool:
    if value is None or isinstance(value, str):
        return value is None or is_template(value)
    if not isinstance(value, (list, tuple, set, frozenset)):
        return False
    return all((isinstance(code, int) and not isinstance(code, bool) and code >= 0) or is_resolved_later(code) for code in value)


def _are_reasons(value: Any) -> bool:
    if value is None or isinstance(value, str):
        return value is None or is_template(value)
    return _are_texts(value) and all(one in _REASONS or is_resolved_later(one) or is_template(one) for one in value)


def _is_request(value: Any) -> bool:
    if isinstance(value, Mapping):
        request_of(value)  # says itself what is wrong
        return True
    return isinstance(value, (GenerateRequest, EmbedRequest, RawRequest)) or callable(value)


_REASONS = (*(reason.value for reason in Reason), *FINISH_REASONS)

#: Argument -> whether a value is allowed, and what is, in words that complete "expected ...".
_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "request": (
        _is_request,
        "a GenerateRequest, an EmbedRequest, a RawRequest, the dict of one, or a function of a row",
    ),
    "model": (_is_text, "the name of a model, such as 'gemini-3.6-flash'"),
    "destination": (_is_place, "the URI of a folder, or an ObjectStoragePath"),
    "key": (lambda value: value is None or _is_text(value), "the name of a column, or None for the row's number"),
    "carry": (_are_names, "a list of column names"),
    "dedupe": (lambda value: isinstance(value, bool), "True or False"),
    "reuse": (_are_places, "the URI of a finished run, or of a folder of runs, or a list of them"),
    "labels": (_are_labels, "a dict of texts that are not empty, such as {'team': 'search'}"),
    "sample": (
        lambda value: value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 2),
        "a whole number of rows from 2, such as 50, or None for the whole table",
    ),
    "repeats": (
        lambda value: isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 1000,
        "a whole number from 1 to 1,000",
    ),
    "groups": (
        lambda value: isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 1000,
        "a whole number from 1 to 1,000",
    ),
    "max_cost_usd": (
        lambda value: value is None or _is_amount(value) or (isinstance(value, str) and is_template(value)),
        "an amount above 0 in USD, the template of one, or None for no limit",
    ),
    "baseline": (_is_run, "the destination of a finished run, or its summary"),
    "candidate": (_are_runs, "the destination of a finished run, its summary, or a list of these"),
    "margin": (_is_margin, "a number from 0 (the loss that you accept, such as 0.02), a dict of these by scorer, or None"),
    "on_fail": (lambda value: value in ("fail", "warn"), "'fail' or 'warn'"),
    "on_undecided": (lambda value: value in ("fail", "warn"), "'fail' or 'warn'"),
    "trial": (
        lambda value: value is None or _is_run(value),
        "the destination of a finished run with sample, its summary, or None",
    ),
    "count_tokens": (
        lambda value: value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 2),
        "a whole number of requests from 2, such as 50, or None for no call",
    ),
    "if_exists": (lambda value: value in ("resume", "replace"), "'resume' or 'replace'"),
    "reasons": (_are_reasons, f"a list of reasons ({', '.join(_REASONS)}), or None"),
    "keys": (lambda value: value is None or _are_texts(value), "a list of keys, or None"),
    "message": (
        lambda value: value is None or (isinstance(value, str) and value != ""),
        "a text that the message contains, /a regular expression/, or None",
    ),
    "codes": (_are_codes, "a list of codes, such as [429, 503], or None"),
    "retryable": (
        lambda value: value is None or isinstance(value, bool) or (isinstance(value, str) and is_template(value)),
        "True, False, or None for both",
    ),
    "limit": (
        lambda value: value is None or _is_count(value) or (isinstance(value, str) and is_template(value)),
        "a whole number of dead letters from 1, or None for all of them",
    ),
    "include_discarded": (lambda value: isinstance(value, bool), "True or False"),
    "deferrable": (lambda value: isinstance(value, bool), "True or False"),
}


def amount_of(value: Any) -> Any:
    """A rendered ``max_cost_usd``: a template becomes text. What is not a number stays as it is, for the engine to refuse."""
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            return float(value)
    return value
