"""``gemini-batch letters``: look at dead letters of a run, send them again, or discard them."""

from __future__ import annotations

import argparse
import itertools
import json
import shlex
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from airflow_gemini_batch.cli.exits import Exit
from airflow_gemini_batch.cli.service import add_command, add_json, print_json, sentence
from airflow_gemini_batch.cli.summaries import (
    add_limit,
    add_run_options,
    log_to_stderr,
    options_of,
    print_summary,
    resumable,
)
from airflow_gemini_batch.engine.errors import InputError

if TYPE_CHECKING:
    from airflow_gemini_batch.engine.finish.selection import Selection
    from airflow_gemini_batch.engine.gemini.client import Endpoint
    from airflow_gemini_batch.engine.report.letter_reader import LetterCounts
    from airflow_gemini_batch.engine.run.layout import Run

#: Characters of a message that a line shows.
_EXCERPT = 120

#: Columns of a letter that are texts in JSON.
_JSON_COLUMNS = ("request", "response")


def add_letters_command(subparsers: Any) -> None:
    """Add ``letters`` to a program's commands."""
    about = "look at dead letters of a run, send them again, or discard them"
    parser: argparse.ArgumentParser = subparsers.add_parser("letters", help=about, description=sentence(about))
    actions = parser.add_subparsers(title="actions", metavar="action", required=True)
    _add_inspect(actions)
    _add_replay(actions)
    _add_discard(actions)


def _add_inspect(actions: Any) -> None:
    about = "list dead letters, and count them by reason and message; needs no API key"
    parser: argparse.ArgumentParser = actions.add_parser("inspect", help=about, description=sentence(about))
    _add_selection(parser)
    parser.add_argument(
        "--limit", type=int, default=50, metavar="N", help="letters to show; all are counted (default: %(default)s)"
    )
    parser.add_argument("--full", action="store_true", help="show request, response and every other column")
    add_json(parser)
    parser.set_defaults(run=_inspect)


def add_redrive_command(subparsers: Any) -> None:
    """Add ``redrive``, which is ``letters replay`` without a question, to a program's commands."""
    about = "resubmit dead letters of a finished run into the same tables, and wait until they are complete"
    _add_resubmission(add_command(subparsers, "redrive", about, _redrive))


def _add_replay(actions: Any) -> None:
    about = "resubmit the selected dead letters of a finished run (default: all retryable ones) and wait until they are complete"
    parser = add_command(actions, "replay", about, _replay)
    _add_resubmission(parser)
    parser.add_argument("--yes", action="store_true", help="do not ask")


def _add_resubmission(parser: argparse.ArgumentParser) -> None:
    _add_selection(parser)
    parser.add_argument("--limit", type=int, metavar="N", help="resubmit no more than N, the first in the order of the shards")
    parser.add_argument("--include-discarded", action="store_true", help="resubmit letters that were discarded too")
    add_limit(parser)
    add_run_options(parser)


def _add_discard(actions: Any) -> None:
    about = "decide that the selected dead letters of a finished run (default: all) are not sent again; nothing is deleted"
    parser: argparse.ArgumentParser = actions.add_parser("discard", help=about, description=sentence(about))
    _add_selection(parser)
    parser.add_argument("--limit", type=int, metavar="N", help="discard no more than N, the first in the order of the shards")
    parser.add_argument("--note", default="", metavar="TEXT", help="why, for those who read it later")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    add_json(parser, "print what was done as JSON")
    parser.set_defaults(run=_discard)


def _add_selection(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("destination", metavar="DESTINATION", help="folder or URI of the run")
    parser.add_argument("--reason", action="append", metavar="REASON", help="with this reason or finish reason (repeatable)")
    parser.add_argument("--key", action="append", metavar="KEY", help="with this key, or KEY#REPEAT (repeatable)")
    parser.add_argument("--message", metavar="TEXT", help="whose message contains this text; /.../ is a regular expression (RE2)")
    parser.add_argument("--code", action="append", type=int, metavar="CODE", help="with this code, such as 429 (repeatable)")
    either = parser.add_mutually_exclusive_group()
    either.add_argument("--retryable", action="store_const", const=True, help="that are retryable")
    either.add_argument("--not-retryable", action="store_const", const=False, dest="retryable", help="that are not retryable")


def _selection_of(arguments: argparse.Namespace, *, limit: int | None = None, include_discarded: bool = False) -> Selection:
    from airflow_gemini_batch.engine.finish.selection import Selection

    return Selection.of(
        arguments.reason,
        arguments.key,
        message=arguments.message,
        codes=arguments.code,
        retryable=arguments.retryable,
        limit=limit,
        include_discarded=include_discarded,
    )


def _run_of(arguments: argparse.Namespace) -> Run:
    from airflow_gemini_batch.engine.run.layout import Run
    from airflow_gemini_batch.engine.run.storage import locate

    return Run(locate(arguments.destination))


def _inspect(arguments: argparse.Namespace) -> int:
    from airflow_gemini_batch.engine.finish.summary import summary_of
    from airflow_gemini_batch.engine.report.letter_reader import LetterReader

    if arguments.limit < 0:
        raise InputError(f"--limit is {arguments.limit}; expected a number of letters from 0.")
    run = _run_of(arguments)
    reader = LetterReader(run, _selection_of(arguments))
    counts = reader.count()
    letters = itertools.islice(reader.letters(whole=arguments.full), arguments.limit)
    finished = summary_of(run) is not None
    if arguments.json:
        _print_letters({"destination": run.destination.uri, "finished": finished, **counts.as_dict()}, letters)
        return 0
    if arguments.full:
        _print_whole(letters)
    else:
        _print_lines(letters)
    _print_counts(counts, shown=min(counts.letters, arguments.limit), finished=finished)
    return 0


def _replay(endpoint: Endpoint, arguments: argparse.Namespace) -> int:
    from airflow_gemini_batch.engine.finish.reopening import count_letters

    options_of(arguments)  # a wrong one is said before anybody is asked
    run = _run_of(arguments)
    rows = count_letters(run, _selection_of(arguments, limit=arguments.limit, include_discarded=arguments.include_discarded))
    if rows and not _confirmed(f"{rows} dead letters of {run.destination} are resubmitted.", arguments):
        return Exit.ERROR
    return _redrive(endpoint, arguments)


def _redrive(endpoint: Endpoint, arguments: argparse.Namespace) -> int:
    from airflow_gemini_batch.engine.api import redrive

    options = options_of(arguments)
    log_to_stderr()
    with resumable(f"finish the run with: gemini-batch collect {shlex.quote(arguments.destination)}"):
        summary = redrive(
            arguments.destination,
            reasons=arguments.reason,
            keys=arguments.key,
            message=arguments.message,
            codes=arguments.code,
            retryable=arguments.retryable,
            limit=arguments.limit,
            include_discarded=arguments.include_discarded,
            max_cost_usd=arguments.max_cost_usd,
            options=options,
            endpoint=endpoint,
        )
    print_summary(summary, as_json=arguments.json)
    return Exit.OK


def _discard(arguments: argparse.Namespace) -> int:
    from airflow_gemini_batch.engine.finish.discarding import discard_letters

    run, selection = _run_of(arguments), _selection_of(arguments, limit=arguments.limit)
    found = discard_letters(run, selection, dry_run=True)
    reasons = ", ".join(f"{reason} {rows}" for reason, rows in found.reasons.items())
    asked = f"{found.discarded} dead letters of {run.destination} are discarded ({reasons}), {found.already} are already."
    if found.discarded and not _confirmed(asked, arguments):
        return Exit.ERROR
    done = discard_letters(run, selection, note=arguments.note) if found.discarded else found
    if arguments.json:
        print_json(done.as_dict())
    else:
        print(f"{done.discarded} dead letters discarded, {done.already} already were, in {done.destination}")
    return 0


def _confirmed(what: str, arguments: argparse.Namespace) -> bool:
    """Say what is about to happen, and ask whether it shall. Raises InputError where nobody can be asked."""
    from airflow_gemini_batch.engine.printable import printable

    print(printable(what), file=sys.stderr)
    if arguments.yes:
        return True
    if not sys.stdin.isatty():
        raise InputError("Nobody can be asked, since the input is not a terminal. Pass --yes; nothing was done.")
    print("Go on? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _print_letters(head: dict[str, Any], letters: Iterable[dict[str, Any]]) -> None:
    """One document, of which only one letter is in memory at a time."""
    print(json.dumps(head, indent=1)[:-2] + ',\n "letters": [', end="")
    for number, letter in enumerate(letters):
        print(("," if number else "") + "\n  " + json.dumps(letter, default=str), end="")
    print("\n ]\n}")


def _print_lines(letters: Iterable[dict[str, Any]]) -> None:
    from airflow_gemini_batch.cli.tables import print_rows
    from airflow_gemini_batch.engine.printable import printable

    columns = ("key", "reason", "attempt", "code", "discarded", "message")
    rows = []
    for letter in letters:
        key = letter["key"] if letter.get("repeat") is None else f"{letter['key']}#{letter['repeat']}"
        message = letter["message"] or ""
        excerpt = message if len(message) <= _EXCERPT else f"{message[:_EXCERPT]}…"
        code = "" if letter["code"] is None else str(letter["code"])
        cells = (key, letter["reason"], str(letter["attempt"]), code, "discarded" if letter["discarded"] else "", excerpt)
        rows.append(tuple(map(printable, cells)))
    print_rows(columns, rows)


def _print_whole(letters: Iterable[dict[str, Any]]) -> None:
    from airflow_gemini_batch.engine.printable import printable

    for letter in letters:
        for name, value in letter.items():
            if value is not None:
                text = _indented(value) if name in _JSON_COLUMNS else str(value)
                lines = [printable(line) for line in text.split("\n")] if name in _JSON_COLUMNS else [printable(text)]
                print(f"{name}: {lines[0]}", *lines[1:], sep="\n    ")
        print()


def _indented(text: str) -> str:
    """JSON for a person to read; what is none, as it is."""
    try:
        return json.dumps(json.loads(text), indent=1, ensure_ascii=False)
    except (ValueError, RecursionError):
        return text


def _print_counts(counts: LetterCounts, *, shown: int, finished: bool) -> None:
    """To stderr, so that a pipe gets letters only."""
    from airflow_gemini_batch.engine.printable import printable

    left_out = f"; {counts.letters - shown} not shown (--limit)" if shown < counts.letters else ""
    said = [f"{counts.letters} dead letters, {counts.discarded} of them discarded{left_out}"]
    for reason, rows in counts.reasons.most_common():
        said.append(f"{rows:>7}  {reason}")
        said += [f"{one.rows:>11}  {one.message[:_EXCERPT]}" for one in counts.messages.get(reason, ())]
    said += [] if finished else ["The run is not finished: its dead letters may still change."]
    print(*map(printable, said), sep="\n", file=sys.stderr)
