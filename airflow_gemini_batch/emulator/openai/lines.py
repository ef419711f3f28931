"""Translates OpenAI's batch lines to Gemini requests, and Gemini's answers to OpenAI's output lines.

Unknown fields of a request are silently ignored, as Google's page says of the real compatibility layer.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

from airflow_gemini_batch.emulator.batches.line_format import LineFormat
from airflow_gemini_batch.emulator.http import refusals
from airflow_gemini_batch.emulator.http.bodies import from_json, to_json
from airflow_gemini_batch.emulator.proto_json import Json

#: Endpoint by job kind, for the kinds of this layer.
ENDPOINT_BY_KIND = {"openai-generate": "/v1/chat/completions", "openai-embed": "/v1/embeddings"}

_SETTINGS = {
    "temperature": "temperature",
    "top_p": "topP",
    "max_tokens": "maxOutputTokens",
    "max_completion_tokens": "maxOutputTokens",
    "n": "candidateCount",
    "seed": "seed",
}
_FINISH_REASONS = {"STOP": "stop", "MAX_TOKENS": "length"}


def has_lines_for(source: Path, endpoint: str) -> bool:
    """Whether the first line of a file is one of OpenAI's, for this endpoint."""
    with source.open("rb") as lines:
        for text in lines:
            if text.strip():
                try:
                    line = from_json(text)
                except ValueError:
                    return False
                return isinstance(line, dict) and "custom_id" in line and "body" in line and line.get("url") == endpoint
    return False


def translate_input(source: Path, target: Path, endpoint: str) -> None:
    """Translates an OpenAI input file to Gemini's input lines. Raises a Refusal that lists invalid lines."""
    complaints = []
    with source.open("rb") as lines, target.open("wb") as output:
        for number, text in enumerate(lines, 1):
            if not text.strip():
                continue
            try:
                output.write(to_json(_translated(from_json(text), endpoint)) + b"\n")
            except (ValueError, TypeError, AttributeError, KeyError) as error:
                complaints.append(f"Error on line {number}: {_reason(error)}")
    if complaints:
        raise refusals.invalid_argument("\n".join(complaints))


def _reason(error: Exception) -> str:
    match error:
        case KeyError():
            return f"{error} is missing"
        case TypeError() | AttributeError():
            return f"a field has the wrong type ({error})"
        case _:
            return str(error)


def model_of(source: Path) -> str:
    """The model of the first line. A job has only one model."""
    with source.open("rb") as lines:
        for text in lines:
            try:
                return str(from_json(text)["body"]["model"]).removeprefix("models/")
            except (ValueError, TypeError, KeyError):
                break
    raise refusals.invalid_argument("Error on line 1: a line must be a JSON object with a body that names its model")


def output_line(kind: str, text: bytes, created: int) -> bytes:
    """Translates a line of the output. A line that a fault has made unreadable is returned unchanged."""
    try:
        row = from_json(text)
        line = _answered(row, kind, created)
    except (ValueError, TypeError, AttributeError, KeyError):
        return text
    return to_json(line) + b"\n"


def _translated(line: Json, endpoint: str) -> Json:
    if line.get("url") != endpoint:
        raise ValueError(f"url is {line.get('url')!r}, but the batch's endpoint is {endpoint!r}")
    body = line["body"]
    request = _embed(body) if endpoint.endswith("/embeddings") else _chat(body)
    return {"key": str(line["custom_id"]), "request": request}


def _chat(body: Json) -> Json:
    request: Json = {"contents": []}
    config: Json = {target: body[name] for name, target in _SETTINGS.items() if body.get(name) is not None}
    for message in body["messages"]:
        parts = _parts(message.get("content") or "")
        if message["role"] in ("system", "developer"):
            request.setdefault("systemInstruction", {"parts": []})["parts"] += parts
        else:
            role = "model" if message["role"] == "assistant" else "user"
            request["contents"].append({"role": role, "parts": parts})
    if stop := body.get("stop"):
        config["stopSequences"] = [stop] if isinstance(stop, str) else stop
    form = body.get("response_format") or {}
    if form.get("type") in ("json_object", "json_schema"):
        config["responseMimeType"] = "application/json"
    if form.get("type") == "json_schema":
        config["responseJsonSchema"] = form["json_schema"]["schema"]
    functions = [tool["function"] for tool in body.get("tools") or () if tool.get("type") == "function"]
    if functions:
        declared = [{"name": one["name"], "parametersJsonSchema": one.get("parameters") or {}} for one in functions]
        request["tools"] = [{"functionDeclarations": declared}]
    if config:
        request["generationConfig"] = config
    return request


def _embed(body: Json) -> Json:
    text = body["input"]
    request: Json = {"content": {"parts": [{"text": text if isinstance(text, str) else " ".join(text)}]}}
    if body.get("dimensions") is not None:
        request["outputDimensionality"] = body["dimensions"]
    return request


def _parts(content: Any) -> list[Json]:
    if isinstance(content, str):
        return [{"text": content}]
    parts: list[Json] = []
    for item in content:
        if item["type"] == "text":
            parts.append({"text": item["text"]})
        elif item["type"] == "image_url":
            head, found, data = item["image_url"]["url"].partition(";base64,")
            if not found or not head.startswith("data:"):
                raise ValueError("image_url must be a data: URI in base64")
            parts.append({"inlineData": {"mimeType": head.removeprefix("data:"), "data": data}})
    return parts


def _answered(row: Json, kind: str, created: int) -> Json:
    key = row.get("key")
    if "response" not in row:
        return {"id": f"batch_req_{key}", "custom_id": key, "response": None, "error": row["error"]}
    body = _vector(row["response"]) if kind == "openai-embed" else _completion(row["response"], created)
    response = {"status_code": 200, "request_id": body.get("id", ""), "body": body}
    return {"id": f"batch_req_{key}", "custom_id": key, "response": response, "error": None}


def _completion(response: Json, created: int) -> Json:
    usage = response["usageMetadata"]
    return {
        "id": response["responseId"],
        "object": "chat.completion",
        "created": created,
        "model": response["modelVersion"],
        "choices": [_choice(candidate) for candidate in response.get("candidates", [])],
        # In batches the layer spells these as the service's own JSON does, unlike in its interactive answers.
        "usage": {
            "promptTokens": usage["promptTokenCount"],
            "completionTokens": usage.get("candidatesTokenCount", 0),
            "totalTokens": usage["totalTokenCount"],
        },
    }


def _choice(candidate: Json) -> Json:
    parts = candidate.get("content", {}).get("parts", [])
    message: Json = {"role": "assistant", "content": "".join(part.get("text", "") for part in parts) or None}
    calls = [part["functionCall"] for part in parts if "functionCall" in part]
    if calls:
        message["tool_calls"] = [
            {"id": f"call_{place}", "type": "function", "function": {"name": one["name"], "arguments": json.dumps(one["args"])}}
            for place, one in enumerate(calls)
        ]
    reason = "tool_calls" if calls else _FINISH_REASONS.get(candidate["finishReason"], "content_filter")
    return {"index": candidate["index"], "message": message, "finish_reason": reason}


def _vector(response: Json) -> Json:
    tokens = int(response["tokenCount"])
    vector = {"object": "embedding", "index": 0, "embedding": response["embedding"]["values"]}
    return {"object": "list", "data": [vector], "usage": {"promptTokens": tokens, "totalTokens": tokens}}


#: Line format by job kind, for the batch code and the output writer.
FORMATS = {
    kind: LineFormat(
        native_kind=kind.removeprefix("openai-"),
        is_used_in=partial(has_lines_for, endpoint=endpoint),
        translate_input=partial(translate_input, endpoint=endpoint),
        output_line=partial(output_line, kind),
    )
    for kind, endpoint in ENDPOINT_BY_KIND.items()
}
