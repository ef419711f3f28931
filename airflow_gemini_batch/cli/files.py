"""``gemini-batch files``: list and delete the files that are stored at the service."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from airflow_gemini_batch.cli.service import (
    add_command,
    add_group,
    add_json,
    add_limit,
    add_names,
    for_each,
    print_json,
    with_client,
)

if TYPE_CHECKING:
    from airflow_gemini_batch.engine.gemini.client import GeminiClient


def add_files_command(subparsers: Any) -> None:
    """Add ``files`` to a program's commands."""
    actions = add_group(subparsers, "files", "list and delete the files stored at the service")
    listing = add_command(actions, "list", "list files, newest first", with_client(_list))
    listing.add_argument("--display-name", metavar="PATTERN", help="pattern for the whole name, with * and ?")
    add_limit(listing)
    add_json(listing)
    about = "delete files; only the service can delete the output file of a job"
    add_names(add_command(actions, "delete", about, with_client(_delete)), "files/…")


def _list(client: GeminiClient, arguments: argparse.Namespace) -> int:
    from airflow_gemini_batch.cli.tables import print_files
    from airflow_gemini_batch.engine.gemini.inventory import file_record, find_files

    files = find_files(client, arguments.display_name)
    if arguments.json:
        print_json({"total": len(files), "files": [file_record(file) for file in files[: arguments.limit]]})
    else:
        print_files(files, limit=arguments.limit)
    return 0


def _delete(client: GeminiClient, arguments: argparse.Namespace) -> int:
    from airflow_gemini_batch.engine.gemini.inventory import delete_file

    def delete(name: str) -> tuple[dict[str, Any], str]:
        outcome = delete_file(client, name).value
        return {"name": name, "outcome": outcome}, f"{name} {outcome}"

    return for_each(arguments, delete)
