"""What the commands share: their parsers, the endpoint, names that are handled one by one, and JSON.

The API key comes from the environment or an Airflow connection only. Arguments are visible to every user of a machine and stay in
the shell's history.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from airflow_gemini_batch.cli.exits import Exit
from airflow_gemini_batch.engine.errors import GeminiBatchError

if TYPE_CHECKING:
    from airflow_gemini_batch.engine.gemini.client import Endpoint, GeminiClient

#: A command's work at an endpoint; returns the exit code.
EndpointCommand = Callable[["Endpoint", argparse.Namespace], int]

#: The same with an open client.
ClientCommand = Callable[["GeminiClient", argparse.Namespace], int]


def add_group(subparsers: Any, name: str, about: str) -> Any:
    """Add a command that has actions (``gemini-batch jobs list``); returns what ``add_command`` adds the actions to."""
    parser: argparse.ArgumentParser = subparsers.add_parser(name, help=about, description=sentence(about))
    return parser.add_subparsers(title="actions", metavar="action", required=True)


def add_command(subparsers: Any, name: str, about: str, run: EndpointCommand) -> argparse.ArgumentParser:
    """Add a command or an action that calls the service.

    :param about: one line in lower case, for the list of commands and as the first sentence of the help page.
    :param run: called with the endpoint that the arguments and the environment give.
    """
    description = f"{sentence(about)} The API key is that of --conn-id, else GOOGLE_API_KEY or GEMINI_API_KEY."
    parser: argparse.ArgumentParser = subparsers.add_parser(name, help=about, description=description)
    add_endpoint(parser)
    parser.set_defaults(run=lambda arguments: run(endpoint_in(arguments), arguments))
    return parser


def add_endpoint(parser: argparse.ArgumentParser) -> None:
    """Add ``--base-url`` and ``--conn-id``, which ``endpoint_in`` reads."""
    parser.add_argument("--base-url", help="address of the service (default: GOOGLE_GEMINI_BASE_URL, or Google's)")
    parser.add_argument("--conn-id", metavar="ID", help="Airflow connection with the key and the address (default: none)")


def with_client(run: ClientCommand) -> EndpointCommand:
    """Let a command work with a client that is closed when the command ends."""

    def run_with_client(endpoint: Endpoint, arguments: argparse.Namespace) -> int:
        from airflow_gemini_batch.engine.gemini.client import GeminiClient

        with GeminiClient(endpoint) as client:
            return run(client, arguments)

    return run_with_client


def add_json(parser: argparse.ArgumentParser, about: str = "print one JSON document") -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help=about)


def add_limit(parser: argparse.ArgumentParser) -> None:
    """Add ``--limit``: a terminal shows 50 rows on one page; the count below a list always covers all of them."""
    parser.add_argument("--limit", type=int, default=50, metavar="N", help="rows to show (default: %(default)s)")


def add_names(parser: argparse.ArgumentParser, form: str) -> None:
    """Add one or more resource names, such as ``batches/…``, and ``--json``."""
    parser.add_argument("names", nargs="+", metavar="NAME", help=f"one or more names ({form})")
    add_json(parser, "print what was found or done for each name as JSON")


def for_each(arguments: argparse.Namespace, act: Callable[[str], tuple[Mapping[str, Any], str]]) -> Exit:
    """Call ``act`` for every name and print what it returns. An error does not stop the others.

    :param act: returns the record for ``--json`` and the text for people.

    Returns ``Exit.ERROR`` if there was an error, else ``Exit.OK``. Errors are lines on stderr, and in the JSON document too.
    """
    records: list[Mapping[str, Any]] = []
    failed = False
    for name in arguments.names:
        try:
            record, text = act(name)
        except GeminiBatchError as error:
            print(error, file=sys.stderr)
            record, text, failed = {"name": name, "error": str(error)}, "", True
        records.append(record)
        if text and not arguments.json:
            print(text)
    if arguments.json:
        print_json(records)
    return Exit.ERROR if failed else Exit.OK


def print_json(document: Any) -> None:
    """Print a document of plain values."""
    print(json.dumps(document, indent=1))


def sentence(about: str) -> str:
    """The line of a list of commands as a sentence."""
    return f"{about[0].upper()}{about[1:]}."


def endpoint_in(arguments: argparse.Namespace) -> Endpoint:
    """Where the service is, by the arguments. Raises InputError and ApiKeyError for a connection that cannot be used."""
    if arguments.conn_id is not None:
        from airflow_gemini_batch.cli.connections import endpoint_of_connection

        return endpoint_of_connection(arguments.conn_id, arguments.base_url)
    from airflow_gemini_batch.engine.gemini.client import Endpoint

    return Endpoint(base_url=arguments.base_url)
