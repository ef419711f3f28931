"""docs/cli.md, made from the commands' own help: ``python -m tests.cli_page`` writes it, a test compares it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from airflow_gemini_batch.cli import COMMANDS, build_parser
from airflow_gemini_batch.cli.exits import ABOUT_EXITS
from tests.doc_snippets import DOCS

PAGE = DOCS / "cli.md"

_HEAD = """# Command line

`gemini-batch` comes with the package and needs no Airflow to run. Inside Airflow 3.2 and later, `airflow gemini-batch …` is the
same program with the connection `gemini_default`, unless `--conn-id` names another one.

* **The API key** comes from `GOOGLE_API_KEY` or `GEMINI_API_KEY`, or from the Airflow connection that `--conn-id` names. It is
  never an argument: arguments are visible to every user of a machine.
* **`--json`** prints one JSON document on stdout, for every command. Progress, counts and errors go to stderr.
* **Without a terminal**, lists are tab-separated lines without a header.
* **`@FILE`** reads the value of `--prompt`, `--system`, `--config` and `--schema` from a file.

```console
$ gemini-batch run reviews.parquet --destination runs/reviews --model gemini-3.6-flash --key id \\
    --prompt 'Sentiment of this review, one word: ${text}' --max-cost-usd 5
$ gemini-batch letters inspect runs/reviews
$ gemini-batch doctor s3://bucket/runs --model gemini-3.6-flash
```

If a command is interrupted, its jobs continue at the service. The same `run`, `collect`, `score` or `compare` resumes;
after a `redrive` or `letters replay`, `collect` finishes the run.

## Exit codes
"""


def cli_page() -> str:
    """The whole page."""
    exits = "\n".join(f"| {int(code)} | {about} |" for code, about in ABOUT_EXITS.items())
    commands = "\n".join(part for name in sorted(COMMANDS) for part in _sections(_parser_of(build_parser(name), name)))
    return f"{_HEAD}\n| code | meaning |\n|---|---|\n{exits}\n\n{commands}".rstrip() + "\n"


def every_parser() -> Iterator[argparse.ArgumentParser]:
    """The parser of each command and each action that can be run."""
    for name in sorted(COMMANDS):
        parser = _parser_of(build_parser(name), name)
        yield from _actions_of(parser).values() or [parser]


def _sections(parser: argparse.ArgumentParser, level: int = 2) -> Iterator[str]:
    actions = _actions_of(parser)
    yield f"{'#' * level} {parser.prog.removeprefix('gemini-batch ')}\n\n{parser.description}\n"
    if not actions:
        yield from _arguments(parser)
    for action in actions.values():
        yield from _sections(action, level + 1)


def _arguments(parser: argparse.ArgumentParser) -> Iterator[str]:
    rows = [
        _row(parser, action)
        for action in parser._actions
        if action.help not in (argparse.SUPPRESS, None) and action.dest != "help"
    ]
    if rows:
        yield "\n".join(["| argument | meaning |", "|---|---|", *rows, ""])


def _row(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    meaning = parser._get_formatter()._expand_help(action).replace("|", "\\|").replace("<", "&lt;")
    meaning = meaning.replace(str(Path.home()), "~")
    required = " Required." if action.option_strings and action.required else ""
    form = _form(action).replace("|", "\\|")
    return f"| `{form}` | {meaning[0].upper()}{meaning[1:]}.{required} |"


def _form(action: argparse.Action) -> str:
    """The argument as it is typed."""
    name = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    if not action.option_strings:
        return f"{name}{' …' if action.nargs == '+' else ''}"
    if action.nargs == 0:
        return action.option_strings[-1]
    value = ",".join(map(str, action.choices)) if action.choices else name
    return f"{action.option_strings[-1]} {value}"


def _parser_of(parser: argparse.ArgumentParser, name: str) -> argparse.ArgumentParser:
    return _actions_of(parser)[name]


def _actions_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


if __name__ == "__main__":
    PAGE.write_text(cli_page(), encoding="utf-8")
