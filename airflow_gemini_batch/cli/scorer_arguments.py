"""The arguments that say how answers are scored: shared by ``score`` and ``compare``."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from airflow_gemini_batch.engine.errors import InputError

#: The ``type`` of a scorer in JSON -> the class of that scorer in ``evals``.
_KINDS = {
    "exact_match": "ExactMatch",
    "contains": "Contains",
    "regex": "Regex",
    "numeric_close": "NumericClose",
    "json_match": "JsonMatch",
    "judge": "Judge",
    "pairwise_judge": "PairwiseJudge",
}


def add_scorers(parser: argparse.ArgumentParser, *, required: bool) -> None:
    """Add ``--scorer`` and what goes with it."""
    parser.add_argument(
        "--scorer",
        action="append",
        metavar="SCORER",
        required=required,
        help=f"a name ({', '.join(_KINDS)}), JSON such as "
        '{"type": "exact_match", "expected": "label"}, @FILE with such JSON or a list of it, or MODULE:NAME of a scorer, a '
        "function of a row, or a list of them, in Python (repeatable)",
    )
    parser.add_argument("--labels", metavar="URI", help="a table with expected values, joined by key")
    parser.add_argument(
        "--label-key", default="key", metavar="COLUMN", help="column of the labels with the keys (default: %(default)s)"
    )
    parser.add_argument("--reuse", action="append", metavar="URI", help="runs whose judges' verdicts are taken (repeatable)")


def scorers_in(arguments: argparse.Namespace) -> list[Any] | None:
    """The scorers that the arguments give, or None. Raises InputError for one that cannot be made."""
    if not arguments.scorer:
        return None
    return [scorer for given in arguments.scorer for scorer in _scorers(given)]


def _scorers(given: str) -> list[Any]:
    if given in _KINDS:
        return [_of_form({"type": given})]
    if given.startswith(("{", "[", "@")):
        form = _json(given)
        return [_of_form(one) for one in (form if isinstance(form, list) else [form])]
    if ":" in given:
        found = _imported(given)
        return list(found) if isinstance(found, (list, tuple)) else [found]
    raise InputError(f"--scorer is {given!r}; expected one of {', '.join(_KINDS)}, JSON, @FILE or MODULE:NAME.")


def _json(given: str) -> Any:
    try:
        text = Path(given[1:]).read_text(encoding="utf-8") if given.startswith("@") else given
        return json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"--scorer: {given} cannot be read: {error}") from error


def _of_form(form: Any) -> Any:
    from airflow_gemini_batch import evals

    name = form.get("type") if isinstance(form, dict) else None
    if name not in _KINDS:
        raise InputError(f"--scorer is {form!r}; expected a JSON object whose type is one of {', '.join(_KINDS)}.")
    given = {field: tuple(value) if field == "scale" else value for field, value in form.items() if field != "type"}
    try:
        return getattr(evals, _KINDS[name])(**given)
    except TypeError as error:
        raise InputError(f"--scorer: {name} cannot be made: {error}.") from error


def _imported(given: str) -> Any:
    """The object at ``module:name``, also from the working directory."""
    module, _, name = given.partition(":")
    sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except Exception as error:  # whatever the module raises
        raise InputError(f"--scorer: {given} cannot be imported: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(os.getcwd())
    return found
