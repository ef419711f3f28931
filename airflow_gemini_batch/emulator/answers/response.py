"""Builds a GenerateContentResponse with the parts that the request's settings ask for."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import Any

from airflow_gemini_batch.emulator.answers.extracts import extract, phrase
from airflow_gemini_batch.emulator.answers.picture import png
from airflow_gemini_batch.emulator.answers.request import (
    BYTES_PER_TOKEN,
    TOKENS_PER_MEDIA_PART,
    ParsedRequest,
    parse_request,
    tokens_of,
)
from airflow_gemini_batch.emulator.answers.structured import structured_value
from airflow_gemini_batch.emulator.proto_json import Json, get, get_int, get_list, get_object, get_text

_JSON_TYPES = ("application/json", "text/x.enum")

#: The thought summary, where the request asks for thoughts.
_THOUGHT = "The request comes with a text. The answer repeats its most important part: {}."

#: What comes before the code, where the request has the tool `code_execution`.
_CODE_FOLLOWS = "I use code for this.\n"

_URL = re.compile(r"https?://[^\s<>\"'()\[\]{}]+")
#: Google's limit for the tool `url_context`.
_MAX_PAGES = 20


def generate_content(request: Json, model: str, *, answer: str = "", own: Any = None) -> Json:
    """
    :param answer: tells answers to equal requests apart, as the service does: the id depends on it, and nothing else.
    :param own: the text to answer with, or a value that is written as JSON. Default (None): one is made of the request.
    """
    parsed = parse_request(request)
    thoughts = _thoughts(parsed)
    candidates = [_candidate(parsed, index, own) for index in range(max(1, get_int(parsed.config, "candidateCount") or 1))]
    if thoughts:
        for candidate in candidates:
            candidate["content"]["parts"].insert(0, {"text": thoughts, "thought": True})
    return {
        "candidates": candidates,
        "usageMetadata": _usage(parsed, candidates, tokens_of(thoughts)),
        "modelVersion": model.rpartition("/")[2],
        "responseId": base64.urlsafe_b64encode(_id_of(parsed, answer)).decode().rstrip("="),
    }


def _id_of(parsed: ParsedRequest, answer: str) -> bytes:
    digest = (parsed.digest & (1 << 128) - 1).to_bytes(16, "big")
    return hashlib.sha256(digest + answer.encode()).digest()[:16] if answer else digest


def token_counts(by_modality: dict[str, int]) -> Json:
    """A CountTokensResponse."""
    return {"totalTokens": sum(by_modality.values()), "promptTokensDetails": _details(by_modality)}


def _candidate(parsed: ParsedRequest, index: int, own: Any) -> Json:
    call = _function_call(parsed) if own is None else None
    if call is not None:
        return {"content": {"parts": [{"functionCall": call}], "role": "model"}, "finishReason": "STOP", "index": index}
    text, reason = _within_limits(_text(parsed, index, own), parsed.config)
    parts: list[Json] = _code_parts(parsed)
    if text and parsed.modalities != ("IMAGE",):
        parts.append({"text": text})
    if "IMAGE" in parsed.modalities:
        data = base64.b64encode(png(parsed.digest + index)).decode()
        parts.append({"inlineData": {"mimeType": "image/png", "data": data}})
    content: Json = {"parts": parts, "role": "model"}
    candidate: Json = {"content": content, "finishReason": reason, "index": index}
    if _asks_for(parsed, "googleSearch"):
        candidate["groundingMetadata"] = _grounding(parsed, text)
    if pages := _pages(parsed):
        found = [{"retrievedUrl": page, "urlRetrievalStatus": "URL_RETRIEVAL_STATUS_SUCCESS"} for page in pages]
        candidate["urlContextMetadata"] = {"urlMetadata": found}
    return candidate


def _text(parsed: ParsedRequest, index: int, own: Any) -> str:
    if own is not None:
        return own if isinstance(own, str) else json.dumps(own, ensure_ascii=False)
    schema = _schema(parsed.config)
    if schema is None:
        return extract(parsed.prompt, 2 + index)
    value = structured_value(schema, parsed.prompt, parsed.digest + index)
    if get_text(parsed.config, "responseMimeType") == "text/x.enum" and isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def _schema(config: Json) -> Json | None:
    """The schema of the answer, or None for plain text. JSON without a schema is an object with one string."""
    for name in ("responseJsonSchema", "_responseJsonSchema", "responseSchema"):
        schema = get(config, name)
        if isinstance(schema, dict):
            return schema
    if get_text(config, "responseMimeType") in _JSON_TYPES:
        return {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}
    return None


def _within_limits(text: str, config: Json) -> tuple[str, str]:
    """The text, cut at the first stop sequence and at `max_output_tokens`, and the finish reason."""
    stops = [text.find(stop) for stop in get_list(config, "stopSequences") if isinstance(stop, str) and stop in text]
    if stops:
        text = text[: min(stops)]
    most = get_int(config, "maxOutputTokens")
    if most is None or tokens_of(text) <= most:
        return text, "STOP"
    return text.encode("utf-8", "surrogatepass")[: BYTES_PER_TOKEN * most].decode("utf-8", "ignore"), "MAX_TOKENS"


def _thoughts(parsed: ParsedRequest) -> str:
    thinking = get_object(parsed.config, "thinkingConfig")
    return _THOUGHT.format(phrase(parsed.prompt, parsed.digest)) if get(thinking, "includeThoughts") is True else ""


def _function_call(parsed: ParsedRequest) -> Json | None:
    """A call of one of the declared functions. None if there are none, or if the mode is NONE."""
    if not parsed.tools:
        return None
    calling = get_object(get_object(parsed.request, "toolConfig"), "functionCallingConfig")
    allowed = get_list(calling, "allowedFunctionNames")
    declared = [
        function
        for tool in parsed.tools
        for function in get_list(tool, "functionDeclarations")
        if isinstance(function, dict) and (not allowed or function.get("name") in allowed)
    ]
    if not declared or get_text(calling, "mode").upper() == "NONE":
        return None
    function = declared[parsed.digest % len(declared)]
    parameters = get(function, "parametersJsonSchema") or get(function, "parameters")
    arguments = structured_value(parameters, parsed.prompt, parsed.digest) if isinstance(parameters, dict) else {}
    return {"name": function.get("name", ""), "args": arguments}


def _asks_for(parsed: ParsedRequest, tool_name: str) -> bool:
    return any(get(tool, tool_name) is not None for tool in parsed.tools)


def _code_parts(parsed: ParsedRequest) -> list[Json]:
    """A text that announces code, the code and its result, where the request has the tool. The answer follows them."""
    if not _asks_for(parsed, "codeExecution"):
        return []
    topic = phrase(parsed.prompt, parsed.digest)
    return [
        {"text": _CODE_FOLLOWS},
        {"executableCode": {"language": "PYTHON", "code": f"print({topic!r})\n"}},
        {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": f"{topic}\n"}},
    ]


def _pages(parsed: ParsedRequest) -> list[str]:
    """The pages that the prompt names, if the request has the tool `url_context`. None of them is fetched."""
    if not _asks_for(parsed, "urlContext"):
        return []
    return list(dict.fromkeys(url.rstrip(".,;:!?") for url in _URL.findall(parsed.prompt)))[:_MAX_PAGES]


def _tool_tokens(parsed: ParsedRequest, candidates: list[Json]) -> int:
    """What tools returned to the model: results of code, and pages, each as large as a small image."""
    results = [
        part["codeExecutionResult"] for one in candidates for part in one["content"]["parts"] if "codeExecutionResult" in part
    ]
    return sum(tokens_of(result["output"]) for result in results) + TOKENS_PER_MEDIA_PART * len(_pages(parsed))


def _grounding(parsed: ParsedRequest, text: str) -> Json:
    topic = phrase(parsed.prompt, parsed.digest)
    end = len(text.encode("utf-8", "surrogatepass"))
    return {
        "webSearchQueries": [topic.lower()],
        "searchEntryPoint": {"renderedContent": f'<div class="container">{topic}</div>'},
        "groundingChunks": [{"web": {"uri": "https://example.com/synthetic", "title": "example.com"}}],
        "groundingSupports": [
            {"segment": {"startIndex": 0, "endIndex": end, "text": text}, "groundingChunkIndices": [0]},
        ],
    }


def _usage(parsed: ParsedRequest, candidates: list[Json], thoughts: int) -> Json:
    by_modality = parsed.tokens_by_modality()
    prompt = sum(by_modality.values())
    output = sum(_tokens_of_part(part) for one in candidates for part in one["content"]["parts"])
    usage: Json = {"promptTokenCount": prompt, "candidatesTokenCount": output}
    if thoughts:
        usage["thoughtsTokenCount"] = thoughts
    if get_text(parsed.request, "cachedContent"):
        usage["cachedContentTokenCount"] = prompt // 2
    tools = _tool_tokens(parsed, candidates)
    if tools:
        usage["toolUsePromptTokenCount"] = tools
        usage["toolUsePromptTokensDetails"] = _details({"TEXT": tools})
    usage["totalTokenCount"] = prompt + output + thoughts + tools
    usage["promptTokensDetails"] = _details(by_modality)
    if "cachedContentTokenCount" in usage:
        usage["cacheTokensDetails"] = [{"modality": "TEXT", "tokenCount": usage["cachedContentTokenCount"]}]
    media = TOKENS_PER_MEDIA_PART * sum("inlineData" in part for one in candidates for part in one["content"]["parts"])
    if media:
        usage["candidatesTokensDetails"] = _details({"TEXT": output - media, "IMAGE": media})
    return usage


def _tokens_of_part(part: Json) -> int:
    if part.get("thought"):
        return 0
    if "inlineData" in part:
        return TOKENS_PER_MEDIA_PART
    return tokens_of(part["text"] if "text" in part else json.dumps(part))


def _details(by_modality: dict[str, int]) -> list[dict[str, Any]]:
    return [{"modality": name, "tokenCount": count} for name, count in by_modality.items() if count]
