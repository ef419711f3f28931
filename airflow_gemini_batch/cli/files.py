"""``gemini-batch files``: list and delete the files that are stored at the service."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from airflow_gemini_batch.cli.service import add_command, add_group, add_limit, add_names, for_each, with_client

if TYPE_CHECKING:
    from airflow_gemini_batch.engine.gemini.client import GeminiClient


def add_files_command(subparsers: Any) -> None:
    """Add ``files`` to a program's commands."""
    actions = add_group(subparsers, "files", "list and delete the files stored at the service")
    listing = add_command(actions, "list", "list files, newest first", with_client(_list))
    listing.add_argument("--display-name", metavar="PATTERN", help="pattern for the whole name, with * and ?")
    add_limit(listing)
    about = "delete files; only the service can delete the output file of a job"
    add_names(add_command(actions, "delete", about, with_client(_delete)), "files/…")


def _list(client: GeminiClient, arguments: argparse.Namespace) -> int:
    from airflow_gemini_batch.cli.tables import print_files
    from airflow_gemini_batch.engine.gemini.inventory import find_files

    print_files(find_files(client, arguments.display_name), limit=arguments.limit)
    return 0


def _delete(client: GeminiClient, arguments: argparse.Namespace) -> int:
    from airflow_gemini_batch.engine.gemini.inventory import delete_file

    return for_each(arguments.names, lambda name: print(name, delete_file(client, name).value))
