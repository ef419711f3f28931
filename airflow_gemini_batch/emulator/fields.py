"""Which fields a request may have, and what the service says about those it does not know.

Input lines are checked when the job is created, all of them, and every bad line is named. The tables follow
the public API description and what the official SDK sends beyond it; a message not listed here is not looked into.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from airflow_gemini_batch.emulator.spelling import snake

Json = dict[str, Any]

#: Message -> field -> the message that the field holds ("" where it is a scalar or free JSON, "{X}" for a map to X).
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
        "inlineData": "Blob",
        "fileData": "FileData",
        **dict.fromkeys(
            [
                *["text", "thought", "thoughtSignature", "functionCall", "functionResponse", "executableCode"],
                *["codeExecutionResult", "videoMetadata", "partMetadata", "mediaResolution", "toolCall"],
                *["toolResponse", "audioTranscription", "mediaProcessing"],
            ],
            "",
        ),
    },
    "Blob": dict.fromkeys(["mimeType", "data", "displayName"], ""),
    "FileData": dict.fromkeys(["mimeType", "fileUri", "displayName"], ""),
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
    "InputLine": dict.fromkeys(["key", "request", "metadata"], ""),
}

_EITHER_SPELLING: dict[str, dict[str, str]] = {
    message: {spelling: holds for name, holds in fields.items() for spelling in (name, snake(name))}
    for message, fields in _MESSAGES.items()
}


def unknown_fields(value: Any, message: str) -> Iterator[str]:
    """The names in `value` that `message` does not have, depth first, in the order in which they stand there."""
    if isinstance(value, list):
        for item in value:
            yield from unknown_fields(item, message)
        return
    if not isinstance(value, dict):
        return
    known = _EITHER_SPELLING[message]
    for name, inner in value.items():
        holds = known.get(name)
        if holds is None:
            yield name
        elif holds.startswith("{"):
            for item in inner.values() if isinstance(inner, dict) else ():
                yield from unknown_fields(item, holds[1:-1])
        elif holds:
            yield from unknown_fields(inner, holds)


def request_of(line: Json) -> Json | None:
    """The request inside an input line; one official sample has bare requests without the envelope."""
    if "request" in line:
        request = line["request"]
        return request if isinstance(request, dict) else None
    return line if "contents" in line or "content" in line else None


def complaint_about(line: Json, message: str) -> str | None:
    """What is wrong with the shape of one decoded input line, or None."""
    request = request_of(line)
    if request is None:
        return next((f"no such field: '{name}'" for name in unknown_fields(line, "InputLine")), "request is missing")
    if request is not line:
        for name in unknown_fields(line, "InputLine"):
            return f"no such field: '{name}'"
        if not isinstance(line.get("key", ""), str):
            return f"invalid value for string field key: {line['key']!r}"
    for name in unknown_fields(request, message):
        if not (request is line and name == "key"):
            return f"no such field: '{name}'"
    return None
