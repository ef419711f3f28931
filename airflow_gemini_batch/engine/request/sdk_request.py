"""The request as google-genai itself writes it.

Where REST wants each field of a ``GenerateContentConfig`` (the system instruction, tools and safety settings beside
``generation_config``, the rest inside it) and which fields the Gemini API has at all is knowledge of the SDK and stays there: the
SDK is asked once to create a batch of one request, over a transport that keeps the body and lets nothing out.

One thing is added. The SDK mixes cases (``generationConfig`` beside ``thinking_budget``), which the service takes in a
REST call; the parser of its input files is reported to accept only the proto's own snake_case names. So keys are
converted to snake_case, except where the user chose them: the tables below say where that is.
"""

from __future__ import annotations

import copy
import functools
import json
import re
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, NoReturn, TypeVar

import pydantic
from google import genai
from google.genai import types

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.gemini.sdk import expected_warnings, http_library
from airflow_gemini_batch.engine.json.strict import no_constant


class Words(Enum):
    """Who chose the keys of a JSON object."""

    PROTO = "field names of a message"
    NAMES = "names of the user's choice, each with a message"
    OPAQUE = "the user's own, all the way down"


#: What lies under a key, where that is not simply another message.
#: By key alone, or by (key above, key) where one key means two things.
WORDS: dict[str | tuple[str, str], Words] = {
    "properties": Words.NAMES,  # Schema: names of the answer's fields
    "defs": Words.NAMES,
    "$defs": Words.NAMES,
    "default": Words.OPAQUE,
    "example": Words.OPAQUE,
    "response_json_schema": Words.OPAQUE,  # JSON Schema has camelCase keywords
    "parameters_json_schema": Words.OPAQUE,
    "labels": Words.OPAQUE,
    "custom_configs": Words.OPAQUE,  # of search tools
    "args": Words.OPAQUE,  # FunctionCall, ToolCall
    ("function_response", "response"): Words.OPAQUE,  # but a message, a Schema, in a FunctionDeclaration
    ("tool_response", "response"): Words.OPAQUE,
    "part_metadata": Words.OPAQUE,
    ("streamable_http_transport", "headers"): Words.OPAQUE,  # McpServer
}

#: Fields of ``GenerateContentConfig`` that steer the SDK's own call and are not part of a request.
_NOT_OF_THE_REQUEST = ("http_options",)
_CAPITAL = re.compile(r"(?<!^)(?=[A-Z])")


def write_request(
    *,
    prompt: str,
    system_instruction: str | None,
    config: Mapping[str, Any] | types.GenerateContentConfig | None,
    media: str | None = None,
) -> dict[str, Any]:
    """The REST request, with snake_case keys. Raises InputError, naming the field, for a config that cannot be sent.

    :param media: the text of a part that stands before the prompt's.
    """
    checked = checked_config(config)
    if system_instruction is not None:
        if checked.system_instruction is not None:
            raise InputError("The request has two system instructions: its own and config's. Leave one of them out.")
        checked.system_instruction = system_instruction
    contents: Any = prompt if media is None else [types.Part(text=media), types.Part(text=prompt)]
    request = types.InlinedRequest(contents=contents, config=checked if checked.model_fields_set else None)
    return _written(lambda client: client.batches.create(model="unused", src=[request]))


def write_embed_request(*, text: str, config: types.EmbedContentConfig) -> dict[str, Any]:
    """The REST request for one text, with snake_case keys."""
    batch = types.EmbedContentBatch(contents=text, config=config)
    source = types.EmbeddingsBatchJobSource(inlined_requests=batch)

    def create(client: genai.Client) -> None:
        with expected_warnings():
            client.batches.create_embeddings(model="unused", src=source)

    return _written(create)


def _written(create: Callable[[genai.Client], object]) -> dict[str, Any]:
    try:
        body = json.loads(_capture(create), parse_constant=no_constant)
    except Exception as error:
        raise InputError(f"config cannot be sent: google-genai {genai.__version__} says: {error}") from error
    written: dict[str, Any] = body["batch"]["inputConfig"]["requests"]["requests"][0]["request"]
    written.pop("model", None)  # the job's URL carries it
    message = snake_case(written)
    assert isinstance(message, dict)
    return message


def snake_case(value: Any, words: Words = Words.PROTO, parent: str = "") -> Any:
    """``value`` with the field names of its messages in snake_case and the user's own words untouched."""
    if words is Words.OPAQUE:
        return value
    if isinstance(value, list):
        return [snake_case(item, words, parent) for item in value]
    if not isinstance(value, dict):
        return value
    if words is Words.NAMES:
        return {name: snake_case(message, Words.PROTO, parent) for name, message in value.items()}
    converted = {}
    for key, inner in value.items():
        name = _CAPITAL.sub("_", key).lower()
        below = WORDS.get((parent, name)) or WORDS.get(name) or Words.PROTO
        converted[name] = snake_case(inner, below, name)
    return converted


def checked_config(config: Mapping[str, Any] | types.GenerateContentConfig | None) -> types.GenerateContentConfig:
    return _checked(config, types.GenerateContentConfig)


def unsendable(message: Any, place: str = "") -> list[str]:
    """Values that the SDK passes on and for which the service refuses a whole input file.

    These are enum values that the SDK does not know (in a run's own config they are sent: the service may be newer than the SDK),
    and integers beyond the 32 bits of the service's settings.
    """
    if isinstance(message, Enum):
        return [] if message.name in type(message).__members__ else [f"{place} is {message.value!r}"]
    if isinstance(message, int):
        return [] if -(2**31) <= message < 2**31 else [f"{place} is {message}"]
    if isinstance(message, pydantic.BaseModel):
        inner = ((f"{place}.{name}".lstrip("."), getattr(message, name)) for name in message.model_fields_set)
        return [found for name, value in inner for found in unsendable(value, name)]
    if isinstance(message, list):
        return [found for item in message for found in unsendable(item, place)]
    return []


def checked_embed_config(config: Mapping[str, Any] | types.EmbedContentConfig | None) -> types.EmbedContentConfig:
    return _checked(config, types.EmbedContentConfig)


_Config = TypeVar("_Config", types.GenerateContentConfig, types.EmbedContentConfig)


def _checked(config: Mapping[str, Any] | _Config | None, kind: type[_Config]) -> _Config:
    """A copy, because the SDK changes schemas in place."""
    if config is None:
        return kind()
    if isinstance(config, kind):
        checked = config.model_copy(deep=True)
    elif isinstance(config, Mapping):
        try:
            checked = kind.model_validate(copy.deepcopy(dict(config)))
        except pydantic.ValidationError as error:
            _explain(error, kind)
        except (AttributeError, LookupError, TypeError, ValueError, RecursionError) as error:
            # Its enums raise this for a value that is not text, bypassing pydantic.
            raise InputError(f"config is refused by google-genai {genai.__version__}: {error}.") from error
    else:
        raise InputError(f"config must be a dict or a google.genai.types.{kind.__name__}, not {type(config).__name__}.")
    for field in _NOT_OF_THE_REQUEST:
        if getattr(checked, field) is not None:
            raise InputError(
                f"config.{field} steers the SDK's own HTTP call and is not part of a request. "
                "Leave it out; base URL, API version and timeout belong to the connection."
            )
    return checked


def _explain(error: pydantic.ValidationError, kind: type[pydantic.BaseModel]) -> NoReturn:
    """Each field once: pydantic reports one error for each member of a union."""
    findings: dict[str, str] = {}
    for finding in error.errors(include_url=False, include_input=False):
        field = str(finding["loc"][0]) if finding["loc"] else "config"
        place = ".".join(str(step) for step in finding["loc"])
        unknown = f"is not a field of google.genai.types.{kind.__name__}"
        is_unknown = finding["type"] == "extra_forbidden" and len(finding["loc"]) == 1
        findings.setdefault(field, f"{field!r} {unknown}" if is_unknown else f"{place}: {finding['msg']}")
    raise InputError(f"config is refused by google-genai {genai.__version__}: {'; '.join(findings.values())}.") from error


class _CapturedError(Exception):
    """Carries the body out of the transport, past everything that expects an answer."""

    def __init__(self, body: bytes) -> None:
        super().__init__("captured")
        self.body = body


def _capture(create: Callable[[genai.Client], object]) -> bytes:
    try:
        create(_unconnected_client())
    except _CapturedError as captured:
        return captured.body
    raise RuntimeError("the SDK's create ended without a request")


@functools.cache
def _unconnected_client() -> genai.Client:
    """Cached: making one takes a hundred times as long as writing a request with it. It holds no connection and no key."""

    def keep(sent: Any) -> NoReturn:
        raise _CapturedError(sent.content)

    http = http_library()
    transport = http.MockTransport(keep)
    # Both, because making the SDK's own imports what connections need.
    options = types.HttpOptions(
        httpx_client=http.Client(transport=transport), httpx_async_client=http.AsyncClient(transport=transport)
    )
    return genai.Client(api_key="unused", vertexai=False, http_options=options)
