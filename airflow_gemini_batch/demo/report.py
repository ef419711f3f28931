"""The report at the end of the demo: counts, and the first rows of both tables."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from airflow_gemini_batch.engine.costs.total import in_dollars

_FIRST_ROWS = 5


def print_report(
    console: Console, summary: dict[str, Any], estimate: dict[str, Any], *, seconds: float, sample: int = _FIRST_ROWS
) -> None:
    """Print the report.

    :param summary: the contents of ``summary.json`` of a finished run at a local destination.
    :param estimate: what was said of its cost before it, as ``Estimate.as_dict`` has it.
    :param seconds: how long the demo took, including the start of Airflow.
    :param sample: rows of each table that are printed. Default: 5, so that the report fits on one page.
    """
    destination = Path(summary["destination"])
    console.print()
    console.print(_counts_table(summary, estimate, seconds))
    console.print()
    console.print(_results(first_rows(destination / "results", sample)))
    console.print()
    console.print(_dead_letters(first_rows(destination / "dead_letter", sample)))


def first_rows(folder: Path, count: int) -> list[dict[str, Any]]:
    """The first rows of ``results`` or ``dead_letter``."""
    rows: list[dict[str, Any]] = ds.dataset(folder, format="parquet").head(count).to_pylist()
    return rows


def _counts_table(summary: dict[str, Any], estimate: dict[str, Any], seconds: float) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column(overflow="fold")
    tokens = {name.removesuffix("_tokens"): count for name, count in summary["tokens"].items()}
    states = Counter(job["state"] for job in summary["jobs"])
    balance = (
        Text("every key is in one table, once", "green") if summary["balanced"] else Text("THE ROWS DO NOT BALANCE", "bold red")
    )
    table.add_row("Rows in", f"{summary['rows']:,}", "public names of Python's standard library")
    table.add_row("Results", f"{summary['results']:,}", balance)
    table.add_row("Dead letters", f"{summary['dead_letter']:,}", _joined_counts(summary["reasons"]))
    table.add_row(
        "Tokens", f"{tokens.pop('total', 0):,}", _joined_counts({name: count for name, count in tokens.items() if count})
    )
    table.add_row("Estimate", *_estimate(estimate["usd"]))
    table.add_row("Cost", *_cost(summary["cost"]))
    table.add_row("Jobs", f"{len(summary['jobs']):,}", _joined_counts(states))
    table.add_row("Time", f"{seconds:.0f} s", "including the start of Airflow")
    return table


def _estimate(usd: dict[str, Any] | None) -> tuple[str, str]:
    """What the run was expected to cost, before anything was sent."""
    if usd is None:
        return "-", "the model's price is not known"
    middle = "-" if usd["middle"] is None else in_dollars(usd["middle"])
    high = "an unknown high end" if usd["high"] is None else in_dollars(usd["high"])
    return middle, f"before it: {in_dollars(usd['low'])} to {high} ({usd['basis']})"


def _cost(cost: dict[str, Any]) -> tuple[str, str]:
    """The price of the tokens, and what is to be known of it. The emulator charges nothing."""
    if cost["usd"] is None:
        return "-", 'the model\'s price is not known; the extra "costs" has price lists (Python 3.11 or newer)'
    said = ["what the service would charge for these tokens; nothing was paid"]
    if cost["unpriced"]:
        said.append(f"without {cost['unpriced']:,} requests whose cost is not known")
    return in_dollars(cost["usd"]), "; ".join(said)


def _joined_counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items(), key=lambda item: -item[1]))


def _results(rows: list[dict[str, Any]]) -> Table:
    table = _table("results: first rows, answered by the emulator", key=28, category=11, tokens=6, summary=None)
    for row in rows:
        answer = json.loads(row["text"])
        _add(table, row["key"], answer["category"], f"{row['total_tokens']:,}", answer["summary"])
    return table


def _dead_letters(rows: list[dict[str, Any]]) -> Table:
    table = _table("dead_letter: first rows", key=24, reason=13, message=None)
    for row in rows:
        _add(table, row["key"], row["reason"], row["message"])
    return table


def _table(title: str, **widths: int | None) -> Table:
    """A table with one line for each row, cut off at the terminal's width. A column whose width is None takes the rest."""
    table = Table(title=title, title_justify="left", title_style="bold", expand=True, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name, width in widths.items():
        table.add_column(name, no_wrap=True, overflow="ellipsis", width=width, ratio=1 if width is None else None)
    return table


def _add(table: Table, *cells: str) -> None:
    # As Text, so that data that looks like markup is printed as it is. Line breaks become spaces, to keep one line for each row.
    table.add_row(*(Text(" ".join(cell.split())) for cell in cells))
