"""The body of an OpenAI batch line as a Gemini request: pure functions from a dict to a dict.

Nothing is dropped silently: a field without a counterpart raises ``NotConvertibleError``, by the tables of ``fields``. Values are
checked where they are converted, because the service refuses a whole input file for one value of a wrong type.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from airflow_gemini_batch.engine.request.openai.fields import (
    CHAT,
    EMBEDDINGS,
    LOWEST_LEVEL_OF_PRO,
    THINKING_BUDGETS,
    THINKING_LEVELS,
    Field,
    Treatment,
)
from airflow_gemini_batch.engine.request.openai.messages import converted_messages
from airflow_gemini_batch.engine.request.openai.values import (
    Json,
    NotConvertibleError,
    boolean,
    integer,
    items,
    number,
    object_of,
    only,
    text,
    without_nulls,
)

#: Fields that keep their value: the type that each must have, and its name in ``generation_config``.
_PLAIN: dict[str, tuple[Callable[[Any, str], Any], str]] = {
    "temperature": (number, "temperature"),
    "top_p": (number, "top_p"),
    "max_tokens": (integer, "max_output_tokens"),
    "max_completion_tokens": (integer, "max_output_tokens"),
    "n": (integer, "candidate_count"),
    "seed": (integer, "seed"),
    "presence_penalty": (number, "presence_penalty"),
    "frequency_penalty": (number, "frequency_penalty"),
    "logprobs": (boolean, "response_logprobs"),
    "top_logprobs": (integer, "logprobs"),
}

#: Values that a batch follows anyway.
_HARMLESS: dict[str, tuple[Any, ...]] = {
    "stream": (False,),
    "parallel_tool_calls": (True,),
    "modalities": (["text"],),
    "logit_bias": ({},),
}


def _level(value: Any, name: str) -> str:
    level = text(value, name).upper()
    if level not in THINKING_LEVELS.values():
        raise NotConvertibleError(f"'{name}' is {level!r}; known are {', '.join(THINKING_LEVELS.values())}")
    return level


_OF_THINKING: dict[str, Callable[[Any, str], Any]] = {
    "thinking_level": _level,
    "thinking_budget": integer,
    "include_thoughts": boolean,
}

_CALLING_MODES = {"none": "NONE", "auto": "AUTO", "required": "ANY"}


def chat_request(body: Json, model: str) -> Json:
    """A chat completions body as ``GenerateContentRequest``. Raises NotConvertibleError."""
    body = without_nulls(body)
    _check_fields(body, CHAT)
    if "messages" not in body:
        raise NotConvertibleError("'messages' is missing")
    request = converted_messages(body["messages"])
    config: Json = {}
    for name, (checked, target) in _PLAIN.items():
        if name in body:
            config[target] = checked(body[name], name)
    if "stop" in body:
        stops = [body["stop"]] if isinstance(body["stop"], str) else body["stop"]
        config["stop_sequences"] = [text(stop, "stop") for stop in items(stops, "stop")]
    if "response_format" in body:
        config |= _response_format(object_of(body["response_format"], "response_format"))
    if "reasoning_effort" in body:
        config["thinking_config"] = _thinking(text(body["reasoning_effort"], "reasoning_effort"), model)
    if "extra_body" in body:
        _add_google(object_of(body["extra_body"], "extra_body"), request, config)
    if config:
        request["generation_config"] = config
    if tools := items(body.get("tools", []), "tools"):
        request["tools"] = [{"function_declarations": [_declaration(tool) for tool in tools]}]
    if "tool_choice" in body:
        request["tool_config"] = {"function_calling_config": _calling(body["tool_choice"])}
    return request


def embed_request(body: Json, dimensions: int) -> Json:
    """An embeddings body as ``EmbedContentRequest``. Raises NotConvertibleError."""
    body = without_nulls(body)
    _check_fields(body, EMBEDDINGS)
    if "dimensions" in body and integer(body["dimensions"], "dimensions") != dimensions:
        raise NotConvertibleError(f"'dimensions' is {body['dimensions']}, the run has {dimensions}: set RawRequest(dimensions=…)")
    given = body.get("input")
    if isinstance(given, list) and len(given) == 1:
        [given] = given
    if not isinstance(given, str) or not given:
        raise NotConvertibleError("'input' must be one text, since a row has one vector; write a line for each text")
    return {"content": {"parts": [{"text": given}]}, "output_dimensionality": dimensions}


def _check_fields(body: Mapping[str, Any], table: Mapping[str, Field]) -> None:
    for name, value in body.items():
        field = table.get(name)
        if field is None:
            raise NotConvertibleError(f"'{name}' is not a known field")
        if name in _HARMLESS:
            # Compared by type as well: 0 is not false here.
            if not any(value == harmless and type(value) is type(harmless) for harmless in _HARMLESS[name]):
                raise NotConvertibleError(f"'{name}' cannot be converted: {field.note}")
        elif field.treatment is Treatment.REFUSED:
            raise NotConvertibleError(f"'{name}' cannot be converted: {field.note}")


def _response_format(form: Json) -> Json:
    kind = form.get("type")
    if kind == "text":
        return {}
    if kind == "json_object":
        return {"response_mime_type": "application/json"}
    if kind == "json_schema":
        schema = object_of(form.get("json_schema"), "response_format.json_schema")
        found = object_of(schema.get("schema"), "response_format.json_schema.schema")
        return {"response_mime_type": "application/json", "response_json_schema": found}
    raise NotConvertibleError(f"response_format of type {kind!r} cannot be converted")


def _thinking(effort: str, model: str) -> Json:
    name = model.rpartition("/")[2]
    if name.startswith("gemini-2.5"):
        if effort in THINKING_BUDGETS:
            return {"thinking_budget": THINKING_BUDGETS[effort]}
    elif effort in THINKING_LEVELS:
        level = THINKING_LEVELS[effort]
        return {"thinking_level": LOWEST_LEVEL_OF_PRO if level == "MINIMAL" and "-pro" in name else level}
    raise NotConvertibleError(f"reasoning_effort {effort!r} has no counterpart in {name}")


def _add_google(extra: Json, request: Json, config: Json) -> None:
    """What Google's own compatibility layer takes under ``extra_body``."""
    only(extra, {"google"}, "extra_body")
    google = object_of(extra.get("google", {}), "extra_body.google")
    only(google, {"thinking_config", "cached_content"}, "extra_body.google")
    if "cached_content" in google:
        request["cached_content"] = text(google["cached_content"], "extra_body.google.cached_content")
    if "thinking_config" in google:
        if "thinking_config" in config:
            raise NotConvertibleError("'reasoning_effort' and extra_body.google.thinking_config set the same; leave one out")
        where = "extra_body.google.thinking_config"
        thinking = without_nulls(object_of(google["thinking_config"], where))
        only(thinking, _OF_THINKING, where)
        config["thinking_config"] = {name: _OF_THINKING[name](value, f"{where}.{name}") for name, value in thinking.items()}


def _declaration(tool: Any) -> Json:
    kind = object_of(tool, "tools[]").get("type")
    if kind != "function":
        raise NotConvertibleError(f"a tool of type {kind!r} cannot be converted")
    function = without_nulls(object_of(tool.get("function"), "tools[].function"))
    only(function, {"name", "description", "parameters", "strict"}, "tools[].function")
    declaration: Json = {"name": text(function.get("name"), "tools[].function.name")}
    if "description" in function:
        declaration["description"] = text(function["description"], "tools[].function.description")
    if "parameters" in function:
        declaration["parameters_json_schema"] = object_of(function["parameters"], "tools[].function.parameters")
    return declaration


def _calling(choice: Any) -> Json:
    if isinstance(choice, str) and choice in _CALLING_MODES:
        return {"mode": _CALLING_MODES[choice]}
    if isinstance(choice, dict) and choice.get("type") == "function":
        function = object_of(choice.get("function"), "tool_choice.function")
        return {"mode": "ANY", "allowed_function_names": [text(function.get("name"), "tool_choice.function.name")]}
    raise NotConvertibleError(f"tool_choice {str(choice)[:80]!r} cannot be converted")
