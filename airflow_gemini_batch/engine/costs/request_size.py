"""How many tokens a request may be, seen from its bytes alone: a range.

Text is counted by a rule that needs no vocabulary: every ASCII digit is a token, punctuation is half a token, and all else a
quarter for each byte of UTF-8. Measured against Gemini's own vocabulary it gives 0.75 (UUIDs) to 1.66 (Hindi) times the truth.
Media are counted by the published rules where their tokens follow from what can be seen, and are named as unknown where they do
not. Output is at most what the request or the model allows; thoughts are a part of it.
"""

from __future__ import annotations

import functools
import string
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import msgspec

#: What the count is multiplied with for the two ends.
LOW, HIGH = 0.6, 1.35

#: Beginning of a model's name -> tokens that it can write (the pages of the models). The first that fits.
_OUTPUT_LIMITS = {
    "gemini-2.0": 8_192,
    "gemini-1": 8_192,
    "gemini-2.5-flash-image": 32_768,
    "gemini-3-pro-image": 32_768,
    "gemini-2.5": 65_536,
    "gemini-3": 65_536,
    "gemini-4": 65_536,
    "gemini-flash": 65_536,
    "gemini-pro": 65_536,
}

#: Tokens of an image at most, by ``media_resolution`` (Gemini 3 and newer).
_BY_RESOLUTION = {
    "MEDIA_RESOLUTION_LOW": 280,
    "MEDIA_RESOLUTION_MEDIUM": 560,
    "MEDIA_RESOLUTION_HIGH": 1120,
    "MEDIA_RESOLUTION_ULTRA_HIGH": 2240,
}
_DEFAULT_RESOLUTION = "MEDIA_RESOLUTION_HIGH"

_DIGITS = string.digits.encode()
_PUNCTUATION = string.punctuation.encode()
_Raw = msgspec.Raw
_NONE = msgspec.Raw(b"")


class _Blob(msgspec.Struct, gc=False):
    """Media inside a request, or named by it; fields in both of the service's spellings."""

    mimeType: str = ""
    mime_type: str = ""
    data: _Raw = _NONE

    @property
    def kind(self) -> str:
        return self.mimeType or self.mime_type


class _Part(msgspec.Struct, gc=False):
    text: str | None = None
    inlineData: _Blob | None = None
    inline_data: _Blob | None = None
    fileData: _Blob | None = None
    file_data: _Blob | None = None
    functionResponse: _Raw = _NONE
    function_response: _Raw = _NONE


class _Content(msgspec.Struct, gc=False):
    parts: list[_Part] = []


class _Config(msgspec.Struct, gc=False):
    maxOutputTokens: int | None = None
    max_output_tokens: int | None = None
    candidateCount: int | None = None
    candidate_count: int | None = None
    responseModalities: list[str] = []
    response_modalities: list[str] = []
    mediaResolution: str | None = None
    media_resolution: str | None = None
    responseSchema: _Raw = _NONE
    response_schema: _Raw = _NONE
    responseJsonSchema: _Raw = _NONE
    response_json_schema: _Raw = _NONE


class _Request(msgspec.Struct, gc=False):
    contents: list[_Content] = []
    content: _Content | None = None
    systemInstruction: _Content | None = None
    system_instruction: _Content | None = None
    generationConfig: _Config | None = None
    generation_config: _Config | None = None
    tools: _Raw = _NONE
    cachedContent: str | None = None
    cached_content: str | None = None


class _Line(msgspec.Struct, gc=False):
    request: _Request


class _AnyLine(msgspec.Struct, gc=False):
    request: _Raw


_decode = msgspec.json.Decoder(_Line).decode
_decode_any = msgspec.json.Decoder(_AnyLine).decode


class Unbounded(NamedTuple):
    """What has no upper end that can be seen from a request.

    :param part: ``input``, which countTokens can count; ``tool``, whose results are input that it cannot; ``output``; ``price``.
    :param what: in words, such as ``video/mp4``.
    """

    part: Literal["input", "tool", "output", "price"]
    what: str


@dataclass(slots=True)
class RequestSize:
    """Tokens of one request, as far as its bytes tell.

    :param text: input that is text, by the rule; the truth lies between ``LOW`` and ``HIGH`` times that.
    :param images: input that is images, at most.
    :param output: at most, thoughts included; None where neither the request nor the model says.
    :param unknown: what else goes in and cannot be counted from here.
    :param media_out: whether the output may be media, such as images; None where the request does not say.
    """

    text: int = 0
    images: int = 0
    output: int | None = 0
    unknown: list[Unbounded] = field(default_factory=list)
    media_out: bool | None = False

    @property
    def low(self) -> int:
        return int(self.text * LOW)

    @property
    def middle(self) -> int:
        return self.text + self.images

    @property
    def high(self) -> int:
        return -int(-self.text * HIGH // 1) + self.images


def output_limit(model: str) -> int | None:
    """The tokens that a model can write; None where that is not known here."""
    name = model.removeprefix("models/")
    return next((limit for prefix, limit in _OUTPUT_LIMITS.items() if name.startswith(prefix)), None)


def tokens_of_text(text: bytes) -> int:
    """By the rule; JSON must have been decoded, because escapes are not what the model reads."""
    digits = len(text) - len(text.translate(None, _DIGITS))
    punctuation = len(text) - len(text.translate(None, _PUNCTUATION))
    return -int(-(digits + punctuation / 2 + (len(text) - digits - punctuation) / 4) // 1)


@functools.lru_cache(maxsize=64)
def _tools_that_add_input(tools: bytes) -> list[Unbounded]:
    """What a search, a page or a program returns is input too, and some are paid for: only functions answer with output alone."""
    try:
        named = {name for tool in msgspec.json.decode(tools, type=list[dict[str, msgspec.Raw]]) for name in tool}
    except msgspec.MsgspecError:
        return [Unbounded("tool", "tools of an unusual shape")]
    return [Unbounded("tool", f"the tool {name}") for name in sorted(named - {"functionDeclarations", "function_declarations"})]


class Sizer:
    """Sizes of the requests to one model."""

    def __init__(self, model: str) -> None:
        self._limit = output_limit(model)
        name = model.removeprefix("models/")
        self._fixed_images = not name.startswith(("gemini-1", "gemini-2"))

    def of_line(self, line: bytes) -> RequestSize:
        """:param line: of a requests file."""
        try:
            return self._of(_decode(line).request)
        except msgspec.MsgspecError:  # a request of another shape, which the service may refuse
            raw = bytes(_decode_any(line).request)
            return RequestSize(
                text=tokens_of_text(raw), output=self._limit, unknown=[Unbounded("input", "a request of an unusual shape")]
            )

    def _of(self, request: _Request) -> RequestSize:
        size = RequestSize()
        config = request.generationConfig or request.generation_config or _Config()
        system = request.systemInstruction or request.system_instruction
        contents = [*request.contents, *(one for one in (request.content, system) if one is not None)]
        texts: list[str] = []
        for content in contents:
            for part in content.parts:
                if part.text is not None:
                    texts.append(part.text)
                else:
                    self._count(part, config, size)
        if len(texts) == 1:
            size.text += tokens_of_text(texts[0].encode())
        elif texts:
            size.text += tokens_of_text("".join(texts).encode())
        schemas = (config.responseSchema, config.response_schema, config.responseJsonSchema, config.response_json_schema)
        size.text += sum(tokens_of_text(bytes(raw)) for raw in (request.tools, *schemas) if raw is not _NONE)
        size.unknown += [] if request.tools is _NONE else _tools_that_add_input(bytes(request.tools))
        if request.cachedContent or request.cached_content:
            size.unknown.append(Unbounded("input", "a cached content"))
        if request.content is None:
            limit = config.maxOutputTokens or config.max_output_tokens or self._limit
            answers = config.candidateCount or config.candidate_count or 1
            size.output = None if limit is None else limit * answers
            asked = [one.upper() for one in (*config.responseModalities, *config.response_modalities)]
            size.media_out = any(one != "TEXT" for one in asked) if asked else None
        return size

    def _count(self, part: _Part, config: _Config, size: RequestSize) -> None:
        for raw in (part.functionResponse, part.function_response):
            size.text += tokens_of_text(bytes(raw)) if raw is not _NONE else 0
        blob = part.inlineData or part.inline_data or part.fileData or part.file_data
        if blob is None:
            return
        if blob.kind.startswith("image/") and self._fixed_images:
            resolution = config.mediaResolution or config.media_resolution or _DEFAULT_RESOLUTION
            size.images += _BY_RESOLUTION.get(resolution, _BY_RESOLUTION[_DEFAULT_RESOLUTION])
        elif blob.kind.startswith("text/") and blob.data is not _NONE:
            size.text += len(bytes(blob.data)) * 3 // 4  # in base64; a byte may be a token
        else:
            size.unknown.append(Unbounded("input", blob.kind or "media of an unknown type"))
