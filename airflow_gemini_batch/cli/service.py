"""What the commands that call the service share: their parsers, the endpoint, and names that are handled one by one.

The API key comes from the environment only. Arguments are visible to every user of a machine and stay in the shell's history.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from airflow_gemini_batch.engine.errors import GeminiBatchError

if TYPE_CHECKING:
    from airflow_gemini_batch.engine.gemini.client import Endpoint, GeminiClient

#: A command's work at an endpoint; returns the exit code.
EndpointCommand = Callable[["Endpoint", argparse.Namespace], int]

#: The same with an open client.
ClientCommand = Callable[["GeminiClient", argparse.Namespace], int]


def add_group(subparsers: Any, name: str, about: str) -> Any:
    """Add a command that has actions (``gemini-batch jobs list``); returns what ``add_command`` adds the actions to."""
    parser: argparse.ArgumentParser = subparsers.add_parser(name, help=about, description=_description(about))
    return parser.add_subparsers(title="actions", metavar="action", required=True)


def add_command(subparsers: Any, name: str, about: str, run: EndpointCommand) -> argparse.ArgumentParser:
    """Add a command or an action that calls the service.

    :param about: one line in lower case, for the list of commands and as the first sentence of the help page.
    :param run: called with the endpoint that the arguments and the environment give.
    """
    parser: argparse.ArgumentParser = subparsers.add_parser(name, help=about, description=_description(about))
    parser.add_argument("--base-url", help="address of the service (default: GOOGLE_GEMINI_BASE_URL, or Google's)")
    parser.set_defaults(run=lambda arguments: run(_endpoint(arguments), arguments))
    return parser


def with_client(run: ClientCommand) -> EndpointCommand:
    """Let a command work with a client that is closed when the command ends."""

    def run_with_client(endpoint: Endpoint, arguments: argparse.Namespace) -> int:
        from airflow_gemini_batch.engine.gemini.client import GeminiClient

        with GeminiClient(endpoint) as client:
            return run(client, arguments)

    return run_with_client


def add_limit(parser: argparse.ArgumentParser) -> None:
    """Add ``--limit``: a terminal shows 50 rows on one page; the count below a list always covers all of them."""
    parser.add_argument("--limit", type=int, default=50, help="rows to show (default: %(default)s)")


def add_names(parser: argparse.ArgumentParser, form: str) -> None:
    """Add one or more resource names, such as ``batches/…``."""
    parser.add_argument("names", nargs="+", metavar="NAME", help=form)


def for_each(names: Iterable[str], act: Callable[[str], None]) -> int:
    """Call ``act`` for every name. An error is printed and does not stop the others; returns 1 if there was one, else 0."""
    failed = False
    for name in names:
        try:
            act(name)
        except GeminiBatchError as error:
            print(error, file=sys.stderr)
            failed = True
    return int(failed)


def _endpoint(arguments: argparse.Namespace) -> Endpoint:
    from airflow_gemini_batch.engine.gemini.client import Endpoint

    return Endpoint(base_url=arguments.base_url)


def _description(about: str) -> str:
    return f"{about[0].upper()}{about[1:]}. The API key is read from GOOGLE_API_KEY or GEMINI_API_KEY."
