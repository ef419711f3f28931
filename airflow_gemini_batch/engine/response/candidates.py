"""What an answer holds besides its text: the parts and metadata of its first candidate.

The raw response is read by typed structs that skip everything else; what they do not accept (snake_case names, NaN, unexpected
types) is read leniently, and never raises.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

import msgspec

from airflow_gemini_batch.engine.json.lenient import as_dict, as_list, as_text, field, read_object, with_valid_unicode


class Blob(msgspec.Struct, rename="camel", gc=False):
    mime_type: str | None = None
    data: bytes | None = None
    """None for invalid base64, which becomes the row's problem."""


class Part(msgspec.Struct, rename="camel", gc=False):
    text: str | None = None
    thought: bool | None = None
    inline_data: Blob | None = None
    function_call: msgspec.Raw = msgspec.Raw()
    executable_code: msgspec.Raw = msgspec.Raw()
    code_execution_result: msgspec.Raw = msgspec.Raw()


class _Content(msgspec.Struct, gc=False):
    parts: list[Part] | None = None


class Candidate(msgspec.Struct, rename="camel", gc=False):
    """The metadata are JSON as received, empty where there are none."""

    content: _Content | None = None
    grounding_metadata: msgspec.Raw = msgspec.Raw()
    citation_metadata: msgspec.Raw = msgspec.Raw()
    url_context_metadata: msgspec.Raw = msgspec.Raw()

    @property
    def parts(self) -> list[Part]:
        return (self.content.parts if self.content else None) or []

    @property
    def texts(self) -> list[str]:
        """The answer's texts that are not empty, in order: one for each stretch of text parts without another part in between.

        Thoughts are left out. Whatever is not text separates: code and its result, a function call, media, kinds not known yet.
        """
        stretches = [""]
        for part in self.parts:
            if part.thought:
                continue
            if part.text is None:
                stretches.append("")
            else:
                stretches[-1] += part.text
        return [text for text in stretches if text.strip()]


class _Response(msgspec.Struct, gc=False):
    candidates: list[Candidate] | None = None


_decode = msgspec.json.Decoder(_Response).decode
#: Where one of these occurs, names may be in snake_case.
_SNAKE_CASE = (b"_metadata", b"_data", b"_call", b"executable_code", b"code_execution_result")


def first_candidate(response: bytes) -> Candidate:
    try:
        candidates = None if any(name in response for name in _SNAKE_CASE) else _decode(response).candidates
    except (ValueError, RecursionError):
        candidates = None
    return candidates[0] if candidates else _read(response)


def _read(response: bytes) -> Candidate:
    try:
        members = read_object(response.decode())
    except (ValueError, RecursionError):
        return Candidate()
    candidates = as_list(members.get("candidates"))
    candidate = as_dict(candidates[0]) if candidates else {}
    parts = as_list(as_dict(candidate.get("content")).get("parts"))
    return Candidate(
        _Content([_part(as_dict(part)) for part in parts]),
        _json(field(candidate, "groundingMetadata")),
        _json(field(candidate, "citationMetadata")),
        _json(field(candidate, "urlContextMetadata")),
    )


def _part(part: dict[str, Any]) -> Part:
    blob = as_dict(field(part, "inlineData"))
    return Part(
        text=as_text(part.get("text")),
        thought=bool(part.get("thought")),
        inline_data=Blob(as_text(field(blob, "mimeType")), _bytes(blob.get("data"))) if blob else None,
        function_call=_json(field(part, "functionCall")),
        executable_code=_json(field(part, "executableCode")),
        code_execution_result=_json(field(part, "codeExecutionResult")),
    )


def _bytes(data: Any) -> bytes | None:
    """Base64 in either alphabet, with or without its padding, as the JSON form of a protobuf message may be, or in lines."""
    if not isinstance(data, str):
        return None
    data = "".join(data.split())
    try:
        return base64.b64decode(data.translate({45: "+", 95: "/"}) + "=" * (-len(data) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None


def _json(value: Any) -> msgspec.Raw:
    return msgspec.Raw() if value is None else msgspec.Raw(with_valid_unicode(json.dumps(value, ensure_ascii=False)).encode())
