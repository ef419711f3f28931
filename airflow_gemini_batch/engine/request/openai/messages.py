"""Chat messages as ``contents`` and ``system_instruction``.

The two differ: Gemini keeps the system instruction beside the turns, so all system messages are joined there; it calls the
assistant ``model``; and the results of function calls are one turn, by function name where OpenAI has the call's id.
"""

from __future__ import annotations

import base64
import binascii
import os.path
import re
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

from airflow_gemini_batch.engine.request.media import MIME_TYPES
from airflow_gemini_batch.engine.request.openai.values import (
    Json,
    NotConvertibleError,
    items,
    object_of,
    only,
    read_json,
    text,
    without_nulls,
)

_DATA_URI = re.compile(r"data:(?P<type>[\w.+-]+/[\w.+-]+)(?P<parameters>;[^,]*)?,(?P<data>.*)", re.DOTALL)
_LINKS = ("https://", "http://", "gs://")
_SOUNDS = {"wav": "audio/wav", "mp3": "audio/mp3"}


def converted_messages(messages: Any) -> Json:
    """``{"contents": […], "system_instruction": …}``. Raises NotConvertibleError."""
    system: list[Json] = []
    contents: list[Json] = []
    names: dict[str, str] = {}
    answering = False
    for place, message in enumerate(items(messages, "messages")):
        where = f"messages[{place}]"
        found = without_nulls(object_of(message, where))
        role = found.get("role")
        if role in ("system", "developer"):
            only(found, {"role", "content", "name"}, where)
            system += _texts(found.get("content"), where)
            continue
        if role == "user":
            only(found, {"role", "content", "name"}, where)
            contents.append({"role": "user", "parts": _parts(found.get("content"), where)})
        elif role == "assistant":
            contents.append({"role": "model", "parts": _assistant(found, where, names)})
        elif role == "tool":
            only(found, {"role", "content", "tool_call_id"}, where)
            answer = _tool_answer(found, where, names)
            if answering:
                contents[-1]["parts"].append(answer)
            else:
                contents.append({"role": "user", "parts": [answer]})
        else:
            raise NotConvertibleError(f"{where} has the role {role!r}; known are system, developer, user, assistant and tool")
        answering = role == "tool"
    if not contents:
        raise NotConvertibleError("'messages' has no message of the user")
    request: Json = {"contents": contents}
    if system:
        request["system_instruction"] = {"parts": system}
    return request


def _texts(content: Any, where: str) -> list[Json]:
    """Content that may be text only."""
    if isinstance(content, str):
        return [{"text": content}]
    parts = []
    for item in items(content, f"{where}.content"):
        part = object_of(item, f"{where}.content[]")
        if part.get("type") != "text":
            raise NotConvertibleError(f"{where} may hold text only, not {part.get('type')!r}")
        parts.append({"text": text(part.get("text"), f"{where}.content[].text")})
    return parts


def _parts(content: Any, where: str) -> list[Json]:
    if isinstance(content, str):
        return [{"text": content}]
    return [_part(object_of(item, f"{where}.content[]"), where) for item in items(content, f"{where}.content")]


def _part(part: Json, where: str) -> Json:
    kind = part.get("type")
    if kind == "text":
        return {"text": text(part.get("text"), f"{where}.content[].text")}
    if kind == "image_url":
        image = object_of(part.get("image_url"), f"{where}.content[].image_url")
        return _linked(text(image.get("url"), f"{where}.content[].image_url.url"), where)
    if kind == "input_audio":
        audio = object_of(part.get("input_audio"), f"{where}.content[].input_audio")
        if str(audio.get("format")) not in _SOUNDS:
            raise NotConvertibleError(f"{where}: audio of the format {audio.get('format')!r}; known are {', '.join(_SOUNDS)}")
        return _inline(_SOUNDS[audio["format"]], text(audio.get("data"), f"{where}.content[].input_audio.data"), where)
    if kind == "file":
        file = object_of(part.get("file"), f"{where}.content[].file")
        if "file_data" not in file:
            raise NotConvertibleError(f"{where}: a file given by id is stored at OpenAI; give its content as file_data")
        return _linked(text(file["file_data"], f"{where}.content[].file.file_data"), where)
    raise NotConvertibleError(f"{where}: content of type {kind!r} cannot be converted")


def _linked(url: str, where: str) -> Json:
    if data := _DATA_URI.fullmatch(url):
        if ";base64" in (data["parameters"] or "").lower():
            return _inline(data["type"], data["data"], where)
        return _inline(data["type"], base64.b64encode(unquote_to_bytes(data["data"])).decode(), where)
    if not url.startswith(_LINKS):
        raise NotConvertibleError(f"{where}: {url[:60]!r} is neither a data: URI nor a link")
    file: Json = {"file_uri": url}
    try:
        ending = os.path.splitext(urlsplit(url).path)[1]
    except ValueError as error:
        raise NotConvertibleError(f"{where}: {url[:60]!r} is not a valid link: {error}") from error
    if mime_type := MIME_TYPES.get(ending.lower()):
        file["mime_type"] = mime_type
    return {"file_data": file}


def _inline(mime_type: str, data: str, where: str) -> Json:
    try:
        base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise NotConvertibleError(f"{where}: the data of a part is not base64") from None
    return {"inline_data": {"mime_type": mime_type, "data": data}}


def _assistant(message: Json, where: str, names: dict[str, str]) -> list[Json]:
    only(message, {"role", "content", "name", "tool_calls"}, where)
    parts = [part for part in _texts(message.get("content") or [], where) if part["text"]]
    for call in items(message.get("tool_calls", []), f"{where}.tool_calls"):
        if object_of(call, f"{where}.tool_calls[]").get("type") != "function":
            raise NotConvertibleError(f"{where}: a tool call of type {call.get('type')!r} cannot be converted")
        function = object_of(call.get("function"), f"{where}.tool_calls[].function")
        name = text(function.get("name"), f"{where}.tool_calls[].function.name")
        names[text(call.get("id"), f"{where}.tool_calls[].id")] = name
        part: Json = {"function_call": {"name": name, "args": _arguments(function.get("arguments"), where)}}
        if signature := _signature(call):
            part["thought_signature"] = signature
        parts.append(part)
    if not parts:
        raise NotConvertibleError(f"{where} of the assistant is empty")
    return parts


def _arguments(arguments: Any, where: str) -> Json:
    try:
        found = read_json(text(arguments, f"{where}.tool_calls[].function.arguments") or "{}")
    except NotConvertibleError:
        raise
    except (ValueError, RecursionError) as error:
        raise NotConvertibleError(f"{where}: the arguments of a tool call are not valid JSON: {error}") from error
    return object_of(found, "arguments")


def _signature(call: Json) -> str | None:
    """Where Gemini's compatibility layer keeps the signature that the model expects back with its own call."""
    extra = object_of(call.get("extra_content") or {}, "tool_calls[].extra_content")
    google = object_of(extra.get("google") or {}, "tool_calls[].extra_content.google")
    signature = google.get("thought_signature")
    return None if signature is None else text(signature, "tool_calls[].extra_content.google.thought_signature")


def _tool_answer(message: Json, where: str, names: dict[str, str]) -> Json:
    name = names.get(text(message.get("tool_call_id"), f"{where}.tool_call_id"))
    if name is None:
        raise NotConvertibleError(f"{where} answers the call {message['tool_call_id']!r}, which no message before it made")
    said = "".join(part["text"] for part in _texts(message.get("content"), where))
    try:
        response = read_json(said)
    except (ValueError, RecursionError):
        response = said
    return {"function_response": {"name": name, "response": response if isinstance(response, dict) else {"result": response}}}
