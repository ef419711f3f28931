"""``gemini-batch compare``: compare finished runs with a baseline, as a gate for CI, or to plan the next comparison."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from airflow_gemini_batch.cli.exits import Exit
from airflow_gemini_batch.cli.scorer_arguments import add_scorers, scorers_in
from airflow_gemini_batch.cli.service import add_command, print_json
from airflow_gemini_batch.cli.summaries import add_limit, add_run_options, log_to_stderr, options_of, resumable
from airflow_gemini_batch.engine.errors import InputError

if TYPE_CHECKING:
    from airflow_gemini_batch.engine.gemini.client import Endpoint
    from airflow_gemini_batch.evals.comparison import Comparison

#: By verdict; None is a comparison without a margin.
_EXITS = {"pass": Exit.OK, "fail": Exit.FAIL, "undecided": Exit.UNDECIDED, None: Exit.OK}


def add_compare_command(subparsers: Any) -> None:
    """Add ``compare`` to a program's commands."""
    about = "compare finished runs with a baseline; with --margin the exit code is the verdict: 0 pass, 3 fail, 4 undecided"
    parser = add_command(subparsers, "compare", about, _compare)
    parser.add_argument("baseline", metavar="BASELINE", help="folder or URI of the run to compare with")
    parser.add_argument("candidates", metavar="CANDIDATE", nargs="+", help="folder or URI of a run of the same keys (repeatable)")
    add_scorers(parser, required=False)
    parser.add_argument("--scores", metavar="NAME", help="of the scores to read, or to make (default: what all runs have)")
    parser.add_argument("--name", default="default", help="of the comparison; that name is replaced (default: %(default)s)")
    parser.add_argument("--margin", type=float, metavar="LOSS", help="loss that is accepted, such as 0.02 (default: no verdict)")
    parser.add_argument("--primary", metavar="SCORER", help="the scorer that decides (default: all, corrected together)")
    parser.add_argument("--cluster", metavar="COLUMN", help="carried column whose values group keys that depend on each other")
    parser.add_argument("--slice", action="append", metavar="COLUMN", help="carried column to compare by (repeatable)")
    parser.add_argument("--level", type=float, default=0.95, help="of the intervals (default: %(default)s)")
    parser.add_argument("--output", metavar="URI", help="folder to write to (default: below the first candidate)")
    parser.add_argument("--plan", action="store_true", help="say how many rows the next comparison needs to show --effect")
    parser.add_argument("--effect", type=float, metavar="DIFFERENCE", help="with --plan: the true difference, such as 0.03")
    parser.add_argument(
        "--repeats", type=int, default=1, metavar="K", help="with --plan: answers to a row (default: %(default)s)"
    )
    parser.add_argument("--power", type=float, default=0.8, help="with --plan: how often it is shown (default: %(default)s)")
    add_limit(parser)
    add_run_options(parser, about_json="print the numbers as JSON; all of it is in comparison.json")


def _compare(endpoint: Endpoint, arguments: argparse.Namespace) -> int:
    from airflow_gemini_batch.evals.comparing.compare import compare
    from airflow_gemini_batch.evals.outcome import outcome_of, verdict_of_all

    if arguments.plan != (arguments.effect is not None):
        raise InputError("--plan and --effect go together, such as --plan --effect 0.03.")
    scorers, options = scorers_in(arguments), options_of(arguments)
    log_to_stderr()
    with resumable():
        comparison = compare(
            arguments.baseline,
            *arguments.candidates,
            scorers=scorers,
            scores=arguments.scores,
            name=arguments.name,
            labels=arguments.labels,
            label_key=arguments.label_key,
            cluster=arguments.cluster,
            primary=arguments.primary,
            margin=arguments.margin,
            level=arguments.level,
            slices=arguments.slice or (),
            output=arguments.output,
            reuse=arguments.reuse,
            max_cost_usd=arguments.max_cost_usd,
            options=options,
            endpoint=endpoint,
        )
    if arguments.plan:
        _print_plan(comparison, arguments)
        return Exit.OK
    if arguments.json:
        print_json(outcome_of(comparison))
    else:
        _print(comparison)
    return _EXITS[verdict_of_all(comparison)]


def _print(comparison: Comparison) -> None:
    from airflow_gemini_batch.engine.printable import printable
    from airflow_gemini_batch.evals.outcome import candidates_of, verdict_of_all

    for one in candidates_of(comparison):
        if comparison.others:
            print(f"{printable(one.candidate.run)}:")
        print(*map(printable, one.words), sep="\n")
    if (verdict := verdict_of_all(comparison)) is not None:
        print(f"verdict: {verdict}")
    print(comparison.uri)


def _print_plan(comparison: Comparison, arguments: argparse.Namespace) -> None:
    """The rows of the next comparison, by candidate and scorer."""
    from airflow_gemini_batch.evals.outcome import candidates_of, rows_to_show

    found = [
        {
            "candidate": one.candidate.run,
            "scorer": scorer.name,
            "effect": arguments.effect,
            "repeats": arguments.repeats,
            "rows": rows_to_show(
                scorer, arguments.effect, repeats=arguments.repeats, power=arguments.power, level=arguments.level
            ),
        }
        for one in candidates_of(comparison)
        for scorer in one.scorers
    ]
    if arguments.json:
        print_json({"power": arguments.power, "level": arguments.level, "plans": found})
        return
    several = f", with {arguments.repeats} answers to each" if arguments.repeats > 1 else ""
    unknown = "unknown, as these runs have too few differences or no repeats"
    for plan in found:
        rows = f"{plan['rows']:,} rows{several}" if plan["rows"] else unknown
        print(f"{plan['scorer']}: {rows}, to show a difference of {arguments.effect:g}")
