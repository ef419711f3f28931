"""``gemini-batch webhooks``: register, list, rotate, ping, enable and delete the webhooks of a project."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from airflow_gemini_batch.cli.service import EndpointCommand, add_command, add_group, add_json, print_json

if TYPE_CHECKING:
    from airflow_gemini_batch.engine.gemini.client import Endpoint
    from airflow_gemini_batch.engine.gemini.webhooks import Webhook, Webhooks


def add_webhooks_command(subparsers: Any) -> None:
    """Add ``webhooks`` to a program's commands."""
    actions = add_group(subparsers, "webhooks", "register, list and delete the webhooks of a project")
    about = "register a webhook for every way a job can end, and print its signing secret once"
    creating = add_command(actions, "create", about, _with_webhooks(_create))
    creating.add_argument("uri", help="such as https://airflow.example.com/gemini-batch/webhooks/gemini_default")
    creating.add_argument("--name", default="airflow", help="distinguishes webhooks with the same URI (default: %(default)s)")
    add_json(creating, "print the webhook with its secret as JSON")
    add_json(add_command(actions, "list", "list webhooks", _with_webhooks(_list)))
    rotating = add_command(actions, "rotate", "create a new signing secret and print it once", _with_webhooks(_rotate))
    rotating.add_argument("id", help="the id that `webhooks list` shows")
    rotating.add_argument("--revoke-at-once", action="store_true", help="otherwise the old secret stays valid for 24 hours")
    add_json(rotating, "print the new secret as JSON")
    for name, about, act in (
        ("ping", "make the service send a test event", lambda webhooks, id: webhooks.ping(id)),
        ("enable", "enable a webhook that the service disabled", lambda webhooks, id: webhooks.enable(id)),
        ("delete", "delete a webhook", lambda webhooks, id: webhooks.delete(id)),
    ):
        changing = add_command(actions, name, about, _with_webhooks(_changing(name, act)))
        changing.add_argument("id", help="the id that `webhooks list` shows")
        add_json(changing, "print what was done as JSON")


def _with_webhooks(act: Callable[[Webhooks, argparse.Namespace], object]) -> EndpointCommand:
    def run(endpoint: Endpoint, arguments: argparse.Namespace) -> int:
        from airflow_gemini_batch.engine.gemini.webhooks import Webhooks

        act(Webhooks(endpoint), arguments)
        return 0

    return run


def _create(webhooks: Webhooks, arguments: argparse.Namespace) -> None:
    webhook = webhooks.create(arguments.uri, name=arguments.name)
    if arguments.json:
        print_json({**_record(webhook), "secret": webhook.secret})
        return
    print(f"Registered {webhook.id} for {', '.join(webhook.events)}.", file=sys.stderr)
    _print_secret(webhook.secret)


def _list(webhooks: Webhooks, arguments: argparse.Namespace) -> None:
    found = webhooks.list()
    if arguments.json:
        print_json({"total": len(found), "webhooks": [_record(webhook) for webhook in found]})
        return
    for webhook in found:
        print(f"{webhook.id}  {webhook.state}  {webhook.name}  {webhook.uri}  {','.join(webhook.events)}")


def _rotate(webhooks: Webhooks, arguments: argparse.Namespace) -> None:
    secret = webhooks.rotate(arguments.id, revoke_at_once=arguments.revoke_at_once)
    if arguments.json:
        print_json({"id": arguments.id, "secret": secret})
    else:
        _print_secret(secret)


def _changing(action: str, act: Callable[[Webhooks, str], object]) -> Callable[[Webhooks, argparse.Namespace], None]:
    def run(webhooks: Webhooks, arguments: argparse.Namespace) -> None:
        act(webhooks, arguments.id)
        if arguments.json:
            print_json({"id": arguments.id, "done": action})

    return run


def _record(webhook: Webhook) -> dict[str, Any]:
    created = webhook.created.isoformat() if webhook.created else None
    return {
        "id": webhook.id,
        "name": webhook.name,
        "uri": webhook.uri,
        "events": list(webhook.events),
        "state": webhook.state,
        "created": created,
    }


def _print_secret(secret: str | None) -> None:
    """The secret alone goes to stdout, so that it can be piped into a secrets store."""
    print("The signing secret, which cannot be shown again:", file=sys.stderr)
    print(secret)
