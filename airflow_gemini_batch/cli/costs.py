"""``gemini-batch costs``: what all runs below a folder have cost, by model, day or label."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from airflow_gemini_batch.cli.service import add_json, sentence

if TYPE_CHECKING:
    from airflow_gemini_batch.engine.finish.cost_report import Group


def add_costs_command(subparsers: Any) -> None:
    """Add ``costs`` to a program's commands."""
    about = "add up what all finished runs below a folder have cost, from their summaries; needs no API key"
    parser: argparse.ArgumentParser = subparsers.add_parser("costs", help=about, description=sentence(about))
    parser.add_argument("folder", metavar="FOLDER", help="folder or URI of a run, or of folders with runs")
    parser.add_argument(
        "--by",
        default="model",
        metavar="NAMES",
        help="what to group by, with commas between: model, day, run, label (all labels), label.NAME (default: %(default)s)",
    )
    add_json(parser, "print the groups, the total and the unfinished runs as JSON")
    parser.set_defaults(run=_costs)


def _costs(arguments: argparse.Namespace) -> int:
    import msgspec

    from airflow_gemini_batch.cli.tables import print_rows
    from airflow_gemini_batch.engine.finish.cost_report import report_costs
    from airflow_gemini_batch.engine.run.storage import locate

    by = [name.strip() for name in arguments.by.split(",") if name.strip()]
    report = report_costs(locate(arguments.folder), by)
    if arguments.json:
        print(msgspec.json.format(msgspec.json.encode(report), indent=1).decode())
        return 0
    print_rows((*by, "runs", "rows", "USD", "at standard rates", "left out"), [_row(group) for group in report.groups])
    total = report.total
    print(f"{total.runs} runs, {total.rows} rows: {_usd(total.usd) or 'cost unknown'}{_left_out(total)}", file=sys.stderr)
    for uri in report.unfinished:
        print(f"not finished, and not counted: {uri}", file=sys.stderr)
    return 0


def _row(group: Group) -> tuple[str, ...]:
    left_out = f"{group.unpriced} requests" if group.unpriced else ""
    return (*group.by.values(), str(group.runs), str(group.rows), _usd(group.usd), _usd(group.interactive_usd), left_out)


def _left_out(total: Group) -> str:
    """What the sum does not hold, in words."""
    left_out = [
        *([f"{total.unpriced} requests of unknown cost"] if total.unpriced else []),
        *([f"{total.runs_without_cost} runs of which nothing is known"] if total.runs_without_cost else []),
    ]
    return f", without {' and '.join(left_out)}" if left_out else ""


def _usd(usd: float | None) -> str:
    """Six decimals: a cent is more than many runs of tests cost."""
    return "" if usd is None else f"{usd:.6f}"
