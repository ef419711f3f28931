"""``gemini-batch webhooks``: register, list, rotate, ping, enable and delete. The key comes from the environment alone."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_gemini_batch.engine.gemini.webhooks import Webhooks

_KEY = "The API key is taken from GOOGLE_API_KEY or GEMINI_API_KEY."

_Run = Callable[["Webhooks", argparse.Namespace], None]


def add_webhooks_command(subparsers: Any) -> argparse.ArgumentParser:
    """Adds `webhooks` to a program's commands; `arguments.run(arguments)` runs it and answers the exit code."""
    about = "register, list and delete the webhooks of a project"
    parser: argparse.ArgumentParser = subparsers.add_parser("webhooks", help=about, description=f"{about.capitalize()}. {_KEY}")
    actions = parser.add_subparsers(title="actions", metavar="action", required=True)
    creating = _action(actions, "create", "register a webhook for all ends of jobs, and show its signing secret, once", _create)
    creating.add_argument("uri", help="such as https://airflow.example.com/gemini-batch/webhooks/gemini_default")
    creating.add_argument("--name", default="airflow", help="tells webhooks for one URI apart (default: %(default)s)")
    _action(actions, "list", "list webhooks", _list)
    rotating = _action(actions, "rotate", "make a new signing secret, and show it, once", _rotate)
    rotating.add_argument("id")
    rotating.add_argument("--revoke-at-once", action="store_true", help="the old secret is good for another day otherwise")
    for name, doing, run in (
        ("ping", "have the service send an event that means nothing", _ping),
        ("enable", "switch a webhook on that the service has disabled", _enable),
        ("delete", "delete a webhook", _delete),
    ):
        _action(actions, name, doing, run).add_argument("id")
    return parser


def _action(actions: Any, name: str, about: str, run: _Run) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=about, description=f"{about[0].upper()}{about[1:]}. {_KEY}")
    parser.add_argument("--base-url", help="default: Google's, or GOOGLE_GEMINI_BASE_URL")
    parser.set_defaults(run=lambda arguments: _with_webhooks(run, arguments))
    return parser


def _with_webhooks(run: _Run, arguments: argparse.Namespace) -> int:
    # The SDK is loaded only now: the program's other commands do not pay for it.
    from airflow_gemini_batch.engine.errors import GeminiBatchError
    from airflow_gemini_batch.engine.gemini.client import Endpoint
    from airflow_gemini_batch.engine.gemini.webhooks import Webhooks

    try:
        run(Webhooks(Endpoint(base_url=arguments.base_url)), arguments)
    except GeminiBatchError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _create(webhooks: Webhooks, arguments: argparse.Namespace) -> None:
    made = webhooks.create(arguments.uri, name=arguments.name)
    print(f"Registered {made.id} for {', '.join(made.events)}. Its signing secret, which is never shown again:", file=sys.stderr)
    print(made.secret)


def _list(webhooks: Webhooks, arguments: argparse.Namespace) -> None:
    for webhook in webhooks.list():
        print(f"{webhook.id}  {webhook.state}  {webhook.name}  {webhook.uri}  {','.join(webhook.events)}")


def _rotate(webhooks: Webhooks, arguments: argparse.Namespace) -> None:
    secret = webhooks.rotate(arguments.id, revoke_at_once=arguments.revoke_at_once)
    print("The new signing secret, which is never shown again:", file=sys.stderr)
    print(secret)


def _ping(webhooks: Webhooks, arguments: argparse.Namespace) -> None:
    webhooks.ping(arguments.id)


def _enable(webhooks: Webhooks, arguments: argparse.Namespace) -> None:
    webhooks.enable(arguments.id)


def _delete(webhooks: Webhooks, arguments: argparse.Namespace) -> None:
    webhooks.delete(arguments.id)
