"""``gemini-batch score``: score the rows of a finished run."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from airflow_gemini_batch.cli.exits import Exit
from airflow_gemini_batch.cli.scorer_arguments import add_scorers, scorers_in
from airflow_gemini_batch.cli.service import add_command, print_json
from airflow_gemini_batch.cli.summaries import add_limit, add_run_options, log_to_stderr, options_of, resumable

if TYPE_CHECKING:
    from airflow_gemini_batch.engine.gemini.client import Endpoint


def add_score_command(subparsers: Any) -> None:
    """Add ``score`` to a program's commands."""
    about = "score every row of a finished run, below its destination; only judges are asked at the service"
    parser = add_command(subparsers, "score", about, _score)
    parser.add_argument("destination", metavar="DESTINATION", help="folder or URI of the run")
    add_scorers(parser, required=True)
    parser.add_argument("--name", default="default", help="of the scores; those of that name are replaced (default: %(default)s)")
    add_limit(parser)
    add_run_options(parser, about_json="print the scores' totals as JSON")


def _score(endpoint: Endpoint, arguments: argparse.Namespace) -> int:
    from airflow_gemini_batch.evals.scoring import score

    scorers, options = scorers_in(arguments), options_of(arguments)
    log_to_stderr()
    with resumable():
        scores = score(
            arguments.destination,
            scorers,
            name=arguments.name,
            labels=arguments.labels,
            label_key=arguments.label_key,
            reuse=arguments.reuse,
            max_cost_usd=arguments.max_cost_usd,
            options=options,
            endpoint=endpoint,
        )
    if arguments.json:
        print_json(scores.as_dict())
    else:
        print(*str(scores).split("; "), sep="\n")
    return Exit.OK
