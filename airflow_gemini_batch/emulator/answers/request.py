"""Parsing a request in either spelling of its fields, counting its tokens, and checking its values."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from airflow_gemini_batch.emulator.http.bodies import to_json
from airflow_gemini_batch.emulator.proto_json import Json, get, get_int, get_list, get_object, get_text

#: A rough average for English text. The emulator counts all tokens this way.
BYTES_PER_TOKEN = 4

#: What Gemini counts for one small image. The emulator uses it for every part with media.
TOKENS_PER_MEDIA_PART = 258

#: The longest embedding of any Gemini model.
MAX_DIMENSIONS = 3072
_MAX_CANDIDATES = 8


@dataclass(frozen=True, slots=True)
class ParsedRequest:
    """One GenerateContentRequest."""

    request: Json
    config: Json
    prompt: str
    """The text of the last turn. The answer is made from it."""

    text_bytes: int
    """Size of all text in UTF-8, including the system instruction and earlier turns."""

    media: tuple[str, ...]
    """The MIME type of each part with media."""

    tools: tuple[Json, ...]
    modalities: tuple[str, ...]

    digest: int
    """Hash of the request. It decides every choice in the answer, so equal requests get equal answers."""

    def tokens_by_modality(self) -> dict[str, int]:
        counts = {"TEXT": tokens_in(self.text_bytes)}
        for mime_type in self.media:
            modality = modality_of(mime_type)
            counts[modality] = counts.get(modality, 0) + TOKENS_PER_MEDIA_PART
        return counts


_MODALITIES = {"image": "IMAGE", "audio": "AUDIO", "video": "VIDEO", "text": "DOCUMENT", "application": "DOCUMENT"}


def modality_of(mime_type: str) -> str:
    return _MODALITIES.get(mime_type.partition("/")[0], "DOCUMENT")


def parse_request(request: Json) -> ParsedRequest:
    contents = get_list(request, "contents")
    text_bytes = 0
    media: list[str] = []
    last_texts: list[str] = []
    for content in (get(request, "systemInstruction"), *contents):
        texts = []
        for part in _parts(content):
            text = part.get("text")
            if isinstance(text, str):
                texts.append(text)
                text_bytes += len(text.encode("utf-8", "surrogatepass"))
            else:
                media += _media_of(part)
        if content is not None and texts:
            last_texts = texts
    config = get_object(request, "generationConfig")
    content = to_json([request[name] for name in sorted(request) if name != "model"])
    return ParsedRequest(
        request,
        config,
        prompt="\n".join(last_texts),
        text_bytes=text_bytes,
        media=tuple(media),
        tools=tuple(tool for tool in get_list(request, "tools") if isinstance(tool, dict)),
        modalities=tuple(str(name).upper() for name in get_list(config, "responseModalities")),
        digest=int.from_bytes(hashlib.blake2b(content, digest_size=16).digest(), "big"),
    )


def tokens_in(size: int) -> int:
    """Tokens of `size` bytes of text, rounded up."""
    return -(-size // BYTES_PER_TOKEN)


def tokens_of(text: str) -> int:
    return tokens_in(len(text.encode("utf-8", "surrogatepass")))


def value_error(request: Json, *, embeds: bool) -> str | None:
    """The service's error for a request with an invalid value, or None. In a batch only that row fails, not the job."""
    if embeds:
        return _embedding_value_error(request)
    contents = get_list(request, "contents")
    if not contents:
        return "* GenerateContentRequest.contents: contents is not specified\n"
    for number, content in enumerate(contents):
        if not any(_parts(content)):
            return f"* GenerateContentRequest.contents[{number}].parts: contents.parts must not be empty.\n"
    config = get_object(request, "generationConfig")
    temperature = get(config, "temperature")
    if isinstance(temperature, (int, float)) and not 0 <= temperature <= 2:
        return f"Unable to submit request because it has a temperature value of {temperature} but the supported range is from 0 (inclusive) to 2 (inclusive)."  # noqa: E501
    candidates = get_int(config, "candidateCount")
    if candidates is not None and not 1 <= candidates <= _MAX_CANDIDATES:
        field = "GenerateContentRequest.generation_config.candidate_count"
        return f"* {field}: must be from 1 to {_MAX_CANDIDATES}, was {candidates}\n"
    most = get_int(config, "maxOutputTokens")
    if most is not None and most < 1:
        return f"* GenerateContentRequest.generation_config.max_output_tokens: must be positive, was {most}\n"
    return None


def dimension_of(request: Json) -> int | None:
    """The requested `outputDimensionality`, from the request itself or from `embedContentConfig`; None if not set."""
    return get_int(request, "outputDimensionality") or get_int(get_object(request, "embedContentConfig"), "outputDimensionality")


def _embedding_value_error(request: Json) -> str | None:
    if not any(_parts(get(request, "content"))):
        return "* EmbedContentRequest.content: content is empty\n"
    dimension = dimension_of(request)
    if dimension is not None and not 1 <= dimension <= MAX_DIMENSIONS:
        return f"* EmbedContentRequest.output_dimensionality: must be from 1 to {MAX_DIMENSIONS}, was {dimension}\n"
    return None


def file_uris(request: Json) -> Iterator[str]:
    """The URIs of the files that a request refers to."""
    contents = get_list(request, "contents") or get_list(request, "content")
    for content in contents:
        for part in _parts(content):
            if len(part) > 1 or "text" not in part:
                uri = get_text(get_object(part, "fileData"), "fileUri")
                if uri:
                    yield uri


def embed_text(request: Json) -> str:
    texts = (part.get("text") for part in _parts(get(request, "content")))
    return "\n".join(text for text in texts if isinstance(text, str))


def _parts(content: Any) -> list[Json]:
    """The parts of a content. A single part instead of a list is accepted, as the service does."""
    if not isinstance(content, dict):
        return []
    parts = content.get("parts")
    if isinstance(parts, list):
        return [part for part in parts if isinstance(part, dict)]
    return [parts] if isinstance(parts, dict) else []


def _media_of(part: Json) -> list[str]:
    for name in ("inlineData", "fileData"):
        if data := get_object(part, name):
            return [get_text(data, "mimeType") or "application/octet-stream"]
    return []
