"""``airflow gemini-batch …``: the commands of ``gemini-batch`` inside Airflow's own, with Airflow's connection by default.

Airflow imports this module at every call of ``airflow``, so it imports nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.cli.cli_config import CLICommand

_NAME = "gemini-batch"


def get_gemini_batch_cli_commands() -> list[CLICommand]:
    """What ``provider_info["cli"]`` names."""
    import argparse

    from airflow.cli.cli_config import ActionCommand, Arg

    # Everything that follows is gemini-batch's, so its own parser reads it.
    about = f"as of {_NAME}: airflow {_NAME} -- --help lists the commands"
    words = Arg(("words",), nargs=argparse.REMAINDER, help=about)  # type: ignore[no-untyped-call]
    return [
        ActionCommand(
            name=_NAME,
            help="Run whole tables through the Gemini Batch API",
            description="Run whole tables through the Gemini Batch API. The default of --conn-id is gemini_default.",
            func=_run,
            args=(words,),
        )
    ]


def _run(arguments: Any) -> None:
    from airflow_gemini_batch.cli import main

    words = arguments.words[1:] if arguments.words[:1] == ["--"] else arguments.words
    raise SystemExit(main(words, prog=f"airflow {_NAME}", conn_id="gemini_default"))
