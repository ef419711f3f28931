"""What came of the run, for a person: the books, and the first rows of both tables."""

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

_FIRST_ROWS = 5


def print_report(console: Console, summary: dict[str, Any], *, seconds: float, sample: int = _FIRST_ROWS) -> None:
    """
    :param summary: of a finished run at a local destination, as ``summary.json`` has it.
    :param seconds: how long everything took, the start of Airflow included.
    """
    destination = Path(summary["destination"])
    console.print()
    console.print(_books(summary, seconds))
    console.print()
    console.print(_results(first_rows(destination / "results", sample)))
    console.print()
    console.print(_dead_letters(first_rows(destination / "dead_letter", sample)))


def first_rows(folder: Path, count: int) -> list[dict[str, Any]]:
    """The first rows of a table of the run."""
    rows: list[dict[str, Any]] = ds.dataset(folder, format="parquet").head(count).to_pylist()
    return rows


def _books(summary: dict[str, Any], seconds: float) -> Table:
    books = Table.grid(padding=(0, 2))
    books.add_column(style="bold")
    books.add_column(justify="right")
    books.add_column(overflow="fold")
    tokens = {name.removesuffix("_tokens"): count for name, count in summary["tokens"].items()}
    states = Counter(job["state"] for job in summary["jobs"])
    balance = Text("every key is in one of them, once", "green") if summary["balanced"] else Text("DO NOT BALANCE", "bold red")
    books.add_row("Rows in", f"{summary['rows']:,}", "public names of Python's standard library")
    books.add_row("Results", f"{summary['results']:,}", balance)
    books.add_row("Dead letters", f"{summary['dead_letter']:,}", _counts(summary["reasons"]))
    books.add_row("Tokens", f"{tokens.pop('total', 0):,}", _counts({name: count for name, count in tokens.items() if count}))
    books.add_row("Jobs", f"{len(summary['jobs']):,}", _counts(states))
    books.add_row("Time", f"{seconds:.0f} s", "the start of Airflow included")
    return books


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items(), key=lambda item: -item[1]))


def _results(rows: list[dict[str, Any]]) -> Table:
    table = _table("results: the first rows, answered by the emulator", key=28, category=11, tokens=6, summary=None)
    for row in rows:
        answer = json.loads(row["text"])
        _add(table, row["key"], answer["category"], f"{row['total_tokens']:,}", answer["summary"])
    return table


def _dead_letters(rows: list[dict[str, Any]]) -> Table:
    table = _table("dead_letter: the first rows", key=24, reason=13, message=None)
    for row in rows:
        _add(table, row["key"], row["reason"], row["message"])
    return table


def _table(title: str, **widths: int | None) -> Table:
    """One line for each row, cut where the terminal ends; the column without a width takes what is left."""
    table = Table(title=title, title_justify="left", title_style="bold", expand=True, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name, width in widths.items():
        table.add_column(name, no_wrap=True, overflow="ellipsis", width=width, ratio=1 if width is None else None)
    return table


def _add(table: Table, *cells: str) -> None:
    # As text: what looks like markup in the data is none. Line breaks would tear the table.
    table.add_row(*(Text(" ".join(cell.split())) for cell in cells))
