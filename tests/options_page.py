"""Writes the table of docs/options.md from ``BatchOptions``: ``python -m tests.options_page``."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, get_origin

from airflow_gemini_batch import BatchOptions
from airflow_gemini_batch.engine import options as module

PAGE = Path(__file__).parents[1] / "docs" / "options.md"

#: The table stands between these lines; the rest of the page is written by hand.
BEGIN = "<!-- From here: made by `python -m tests.options_page` from the fields of BatchOptions. Do not edit. -->"
END = "<!-- End of what is made. -->"

#: What a field's number counts. Durations are in seconds wherever they are not a timedelta.
UNITS = {
    "max_shard_bytes": "bytes",
    "max_shard_requests": "requests",
    "max_active_jobs": "jobs",
    "poll_interval": "seconds",
    "timeout": "seconds",
    "collect_timeout": "seconds",
    "resubmit_stuck_after": "seconds",
    "listing_lag": "seconds",
    "claim_lease": "seconds",
    "reuse_max_age": "seconds",
    "max_redrives": "attempts",
    "redrive_max_output_tokens": "tokens",
    "max_dead_letter_ratio": "dead letters per row",
}


def page_of(text: str) -> str:
    """The page with a fresh table. Raises ValueError when one of the two marks is missing."""
    above, _, rest = text.partition(BEGIN)
    _, mark, below = rest.partition(END)
    if not mark:
        raise ValueError(f"{PAGE.name} needs the lines {BEGIN!r} and {END!r}.")
    return f"{above}{BEGIN}\n\n{table()}\n\n{END}{below}"


def table() -> str:
    meanings = docstrings()
    rows = ["| field | type | unit | default | allowed | meaning |", "|---|---|---|---|---|---|"]
    for field in dataclasses.fields(BatchOptions):
        unit = UNITS.get(field.name, "")
        _, allowed = module._RULES[field.name]
        cells = [
            f"`{field.name}`",
            f"`{_type(str(field.type))}`",
            unit,
            _default(_default_of(field)),
            allowed,
            meanings[field.name],
        ]
        rows.append(f"| {' | '.join(_cell(cell) for cell in cells)} |")
    return "\n".join(rows)


def docstrings() -> dict[str, str]:
    """The text below each field, on one line. Python keeps it only in the source."""
    (tree,) = ast.parse(inspect.getsource(BatchOptions)).body
    assert isinstance(tree, ast.ClassDef)
    texts: dict[str, str] = {}
    for node, below in zip(tree.body, tree.body[1:], strict=False):
        if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)):
            continue
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and isinstance(below.value.value, str):
            texts[node.target.id] = " ".join(below.value.value.split()).replace("``", "`")
    return texts


def _type(name: str) -> str:
    """The type as written, but ``str`` for the names of literals: what they allow has a column of its own."""
    return "str" if get_origin(getattr(module, name, None)) is Literal else name


def _default_of(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _default(value: Any) -> str:
    if isinstance(value, timedelta):
        return f"`timedelta(hours={value.total_seconds() / 3600:g})`"
    return f"{value:,}" if type(value) is int else f"`{value!r}`"


def _cell(text: str) -> str:
    return re.sub(r"(?<!\\)\|", r"\\|", text)


if __name__ == "__main__":
    PAGE.write_text(page_of(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
