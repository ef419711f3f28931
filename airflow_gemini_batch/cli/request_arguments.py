"""The arguments that say what is asked for each row: shared by ``run`` and ``estimate``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_gemini_batch.engine.errors import InputError

if TYPE_CHECKING:
    from airflow_gemini_batch.engine.specs import RequestSpec

#: Arguments that go with --prompt only, and those that go with --embed too.
_FOR_PROMPTS = ("system", "schema", "media")
_FOR_TEXTS = ("config",)


def add_request(parser: argparse.ArgumentParser) -> None:
    """Add ``--prompt``, ``--embed``, ``--raw`` and ``--request``, of which one is required, and what goes with them."""
    asked = parser.add_mutually_exclusive_group(required=True)
    asked.add_argument("--prompt", metavar="TEXT", help="the prompt, with ${column} for the values of a row; @FILE reads it")
    asked.add_argument("--embed", metavar="TEXT", help="the text to embed, with ${column} in it; @FILE reads it")
    asked.add_argument("--raw", metavar="COLUMN", help="the column that holds whole REST requests as JSON")
    asked.add_argument(
        "--request", metavar="FILE", help='a request as JSON: {"type": "generate", "prompt": …}, likewise embed and raw'
    )
    parser.add_argument("--system", metavar="TEXT", help="system instruction, with placeholders; @FILE reads it")
    parser.add_argument("--config", metavar="JSON", help='config of every request, such as {"temperature": 0}; @FILE reads it')
    parser.add_argument("--schema", metavar="JSON", help="JSON Schema of the answers, for the column parsed; @FILE reads it")
    parser.add_argument("--media", action="append", metavar="COLUMN", help="column with images, documents or audio (repeatable)")


def request_in(arguments: argparse.Namespace) -> RequestSpec:
    """The request that the arguments give. Raises InputError for a file that cannot be read and for arguments that clash."""
    from airflow_gemini_batch.engine.specs import EmbedRequest, GenerateRequest, RawRequest, request_of

    if arguments.prompt is not None:
        return GenerateRequest(
            prompt=_text("--prompt", arguments.prompt),
            system_instruction=None if arguments.system is None else _text("--system", arguments.system),
            config=_json("--config", arguments.config),
            response_schema=_json("--schema", arguments.schema),
            media=tuple(arguments.media or ()),
        )
    _refuse(arguments, _FOR_PROMPTS, "--prompt")
    if arguments.embed is not None:
        return EmbedRequest(text=_text("--embed", arguments.embed), config=_json("--config", arguments.config))
    _refuse(arguments, _FOR_TEXTS, "--prompt and --embed")
    if arguments.raw is not None:
        return RawRequest(column=arguments.raw)
    form = _json("--request", f"@{arguments.request}")
    return request_of(form or {})


def _refuse(arguments: argparse.Namespace, names: tuple[str, ...], only_with: str) -> None:
    for name in names:
        if getattr(arguments, name):
            raise InputError(f"--{name} goes with {only_with} only; write it into the request's own JSON instead.")


def _json(option: str, given: str | None) -> dict[str, Any] | None:
    if given is None:
        return None
    text = _text(option, given)
    source = given[1:] if given.startswith("@") else "its value"
    try:
        form = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{option}: {source} cannot be read: {error}") from error
    if not isinstance(form, dict):
        raise InputError(f"{option}: {source} is not a JSON object but {type(form).__name__}; expected one such as {{…}}.")
    return form


def _text(option: str, given: str) -> str:
    """The value, or the content of the file that follows an ``@``; ``@@`` begins a value with an ``@``."""
    if given.startswith("@@"):
        return given[1:]
    if not given.startswith("@"):
        return given
    try:
        return Path(given[1:]).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InputError(f"{option}: {given[1:]} cannot be read: {error}") from error
