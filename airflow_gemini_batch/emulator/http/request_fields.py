"""The fields that a request may have, and the service's errors for unknown ones.

All input lines are checked when the job is created, and the error lists every invalid line. The tables follow the public API
description, plus what the official SDK sends beyond it. Messages that are not listed here are not checked; of scalars only
strings and bytes are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from airflow_gemini_batch.emulator.proto_json import Json, bytes_of, snake

#: Message -> field -> type of the field: a message, "{X}" for a map to X, "text", "bytes", or "" for unchecked.
_MESSAGES: dict[str, dict[str, str]] = {
    "GenerateContentRequest": {
        "contents": "Content",
        "systemInstruction": "Content",
        "tools": "Tool",
        "toolConfig": "ToolConfig",
        "safetySettings": "SafetySetting",
        "generationConfig": "GenerationConfig",
        **dict.fromkeys(["model", "cachedContent", "serviceTier", "store", "labels"], ""),
    },
    "EmbedContentRequest": {
        "content": "Content",
        **dict.fromkeys(
            ["model", "taskType", "title", "outputDimensionality", "embedContentConfig", "autoTruncate", "mimeType"], ""
        ),
    },
    "Content": {"parts": "Part", "role": ""},
    "Part": {
        "text": "text",
        "inlineData": "Blob",
        "fileData": "FileData",
        **dict.fromkeys(
            [
                *["thought", "thoughtSignature", "functionCall", "functionResponse", "executableCode"],
                *["codeExecutionResult", "videoMetadata", "partMetadata", "mediaResolution", "toolCall"],
                *["toolResponse", "audioTranscription", "mediaProcessing"],
            ],
            "",
        ),
    },
    "Blob": {"mimeType": "text", "data": "bytes", "displayName": "text"},
    "FileData": dict.fromkeys(["mimeType", "fileUri", "displayName"], "text"),
    "Tool": {
        "functionDeclarations": "FunctionDeclaration",
        **dict.fromkeys(
            [
                *["googleSearch", "googleSearchRetrieval", "codeExecution", "computerUse", "urlContext"],
                *["fileSearch", "googleMaps", "mcpServers"],
            ],
            "",
        ),
    },
    "FunctionDeclaration": {
        "parameters": "Schema",
        "response": "Schema",
        **dict.fromkeys(["name", "description", "parametersJsonSchema", "responseJsonSchema", "behavior"], ""),
    },
    "ToolConfig": dict.fromkeys(["functionCallingConfig", "retrievalConfig", "includeServerSideToolInvocations"], ""),
    "SafetySetting": dict.fromkeys(["category", "threshold", "method"], ""),
    "GenerationConfig": {
        "responseSchema": "Schema",
        "thinkingConfig": "ThinkingConfig",
        **dict.fromkeys(
            [
                *["candidateCount", "stopSequences", "maxOutputTokens", "temperature", "topP", "topK", "seed"],
                *["responseMimeType", "responseJsonSchema", "_responseJsonSchema", "presencePenalty"],
                *["frequencyPenalty", "responseLogprobs", "logprobs", "enableEnhancedCivicAnswers"],
                *["responseModalities", "speechConfig", "imageConfig", "mediaResolution", "audioTimestamp"],
                *["enableAffectiveDialog", "responseFormat", "translationConfig", "audioTranscriptionConfig"],
            ],
            "",
        ),
    },
    "ThinkingConfig": dict.fromkeys(["includeThoughts", "thinkingBudget", "thinkingLevel"], ""),
    "Schema": {
        "items": "Schema",
        "anyOf": "Schema",
        "properties": "{Schema}",
        **dict.fromkeys(
            [
                *["type", "format", "title", "description", "nullable", "enum", "maxItems", "minItems", "required"],
                *["minProperties", "maxProperties", "minimum", "maximum", "minLength", "maxLength", "pattern"],
                *["example", "propertyOrdering", "default", "additionalProperties", "defs", "ref"],
            ],
            "",
        ),
    },
    "CreateBatchRequest": {"batch": "Batch"},
    "Batch": {
        "inputConfig": "InputConfig",
        "webhookConfig": "WebhookConfig",
        "displayName": "text",
        **dict.fromkeys(
            ["name", "model", "priority", "output", "batchStats", "state", "createTime", "endTime", "updateTime"], ""
        ),
    },
    "InputConfig": {"fileName": "text", "requests": "InlinedRequests"},
    "InlinedRequests": {"requests": "InlinedRequest"},
    # The request is checked when it is written to the input file.
    "InlinedRequest": dict.fromkeys(["request", "metadata"], ""),
    "WebhookConfig": dict.fromkeys(["uris", "userMetadata"], ""),
    "InputLine": dict.fromkeys(["key", "request", "metadata"], ""),
}

_EITHER_SPELLING: dict[str, dict[str, str]] = {
    message: {spelling: holds for name, holds in fields.items() for spelling in (name, snake(name))}
    for message, fields in _MESSAGES.items()
}


class FieldProblem(NamedTuple):
    """A field that a message does not have, or whose value has the wrong type (`is_known`)."""

    field: str
    is_known: bool

    def __str__(self) -> str:
        return f"invalid value for field '{self.field}'" if self.is_known else f"no such field: '{self.field}'"


def field_problems(value: Json, message: str) -> Iterator[FieldProblem]:
    """The fields in `value` that do not fit `message`, depth first, in document order."""
    known = _EITHER_SPELLING[message]
    for name, inner in value.items():
        holds = known.get(name)
        if holds is None:
            yield FieldProblem(name, is_known=False)
        elif not holds or inner is None:
            continue
        elif holds in _SCALARS:
            if not _SCALARS[holds](inner):
                yield FieldProblem(name, is_known=True)
        elif holds.startswith("{"):
            yield from _problems_of_all(name, list(inner.values()) if isinstance(inner, dict) else [inner], holds[1:-1])
        else:
            yield from _problems_of_all(name, inner if isinstance(inner, list) else [inner], holds)


def _problems_of_all(name: str, items: list[Any], message: str) -> Iterator[FieldProblem]:
    for item in items:
        if isinstance(item, dict):
            yield from field_problems(item, message)
        else:
            yield FieldProblem(name, is_known=True)


def _is_base64(value: Any) -> bool:
    try:
        return isinstance(value, str) and bytes_of(value) is not None
    except ValueError:
        return False


_SCALARS: dict[str, Callable[[Any], bool]] = {"text": lambda value: isinstance(value, str), "bytes": _is_base64}


def request_of(line: Json) -> Json | None:
    """The request in an input line. A bare request without `request` around it is accepted: one official sample has them."""
    if "request" in line:
        request = line["request"]
        return request if isinstance(request, dict) else None
    return line if "contents" in line or "content" in line else None


def line_error(line: Json, message: str) -> str | None:
    """The first problem in the structure of a decoded input line, or None."""
    request = request_of(line)
    if request is None:
        return next((str(problem) for problem in field_problems(line, "InputLine")), "request is missing")
    if request is not line:
        for problem in field_problems(line, "InputLine"):
            return str(problem)
        if not isinstance(line.get("key", ""), str):
            return f"invalid value for string field key: {line['key']!r}"
    for problem in field_problems(request, message):
        if not (request is line and problem == ("key", False)):
            return str(problem)
    return None
