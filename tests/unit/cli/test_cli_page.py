"""What the commands have in common: their page in the docs, JSON everywhere, exit codes."""

from __future__ import annotations

import argparse

import pytest

from airflow_gemini_batch.cli import COMMANDS, build_parser
from airflow_gemini_batch.cli.exits import ABOUT_EXITS, Exit, exit_of
from airflow_gemini_batch.engine.errors import BudgetError, DeadLetterRatioError, GeminiBatchError, InputError, WaitTimeoutError
from tests.cli_page import PAGE, cli_page, every_parser

PARSERS = {parser.prog: parser for parser in every_parser()}


def test_the_page_is_what_the_commands_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == cli_page(), "docs/cli.md is old: python -m tests.cli_page writes it"


@pytest.mark.parametrize("parser", PARSERS.values(), ids=list(PARSERS))
def test_every_command_can_print_json(parser: argparse.ArgumentParser) -> None:
    assert "--json" in parser.format_help()


@pytest.mark.parametrize("parser", PARSERS.values(), ids=list(PARSERS))
def test_every_argument_is_explained_and_none_takes_a_key(parser: argparse.ArgumentParser) -> None:
    options = [name for action in parser._actions for name in action.option_strings if action.help != argparse.SUPPRESS]

    assert all(action.help for action in parser._actions)
    assert not {"--api-key", "--password"} & set(options)


def test_the_list_of_commands_is_sorted_and_complete() -> None:
    listed = build_parser().format_help()

    assert list(COMMANDS) == sorted(COMMANDS)
    assert all(about in " ".join(listed.split()) for _, about in COMMANDS.values())


def test_each_exit_code_is_explained() -> None:
    assert list(ABOUT_EXITS) == list(Exit)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (WaitTimeoutError("late"), 5),
        (DeadLetterRatioError("many"), 6),
        (BudgetError("dear"), 7),
        (InputError("wrong"), 1),
        (GeminiBatchError("other"), 1),
    ],
    ids=repr,
)
def test_errors_have_exit_codes(error: GeminiBatchError, code: int) -> None:
    assert exit_of(error) == code
