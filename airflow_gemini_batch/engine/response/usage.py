"""The usage that an answer reports, in every spelling that the service has for it, as far as it decides about the price."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import msgspec

from airflow_gemini_batch.engine.costs.usage import Usage
from airflow_gemini_batch.engine.json.lenient import as_count, as_dict, as_list, field, read_any

#: Modality of the service -> ours. TEXT, and what is not known yet, has no rate of its own.
_MODALITIES = {"AUDIO": "audio", "IMAGE": "image", "DOCUMENT": "image", "VIDEO": "video"}

#: Member of ``usageMetadata`` -> what begins the names of its kinds.
DETAILS = {
    "promptTokensDetails": "input",
    "toolUsePromptTokensDetails": "input",
    "candidatesTokensDetails": "output",
    "cacheTokensDetails": "cached",
}


class Counts(msgspec.Struct, gc=False):
    """The token counts of an answer, as the service names them.

    :param parts: kind -> tokens, of everything that is not text; None where all is.
    """

    prompt: int | None = None
    output: int | None = None
    thoughts: int | None = None
    cached: int | None = None
    tool: int | None = None
    total: int | None = None
    parts: dict[str, int] | None = None

    def usage(self) -> Usage | None:
        """What decides about the price; None where the counts say too little."""
        if self.prompt is None:
            return None
        tool, thoughts = self.tool or 0, self.thoughts or 0
        # A count of zero is left out on the wire. The total shows when more than a zero is missing.
        if self.output is None and self.total is not None and self.total > self.prompt + tool + thoughts:
            return None
        return Usage(self.prompt + tool, self.cached or 0, (self.output or 0) + thoughts, self.parts)


_Count = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class _Detail(msgspec.Struct, rename="camel", gc=False):
    modality: str | None = None
    token_count: _Count | None = None


_Details = list[_Detail] | None


class TypedUsage(msgspec.Struct, rename="camel", gc=False):
    """``usageMetadata`` of an ordinary answer. Decoding raises for other types and spellings, which ``read_counts`` takes."""

    prompt_token_count: _Count | None = None
    candidates_token_count: _Count | None = None
    thoughts_token_count: _Count | None = None
    cached_content_token_count: _Count | None = None
    tool_use_prompt_token_count: _Count | None = None
    total_token_count: _Count | None = None
    prompt_tokens_details: _Details = None
    tool_use_prompt_tokens_details: _Details = None
    candidates_tokens_details: _Details = None
    cache_tokens_details: _Details = None

    def parts(self) -> dict[str, int] | None:
        """As in ``Counts``."""
        prompt, tool = self.prompt_tokens_details, self.tool_use_prompt_tokens_details
        output, cached = self.candidates_tokens_details, self.cache_tokens_details
        # Nearly every answer is text alone, and says so once.
        if not tool and not output and not cached and (not prompt or (len(prompt) == 1 and prompt[0].modality == "TEXT")):
            return None
        named = {"input": (*(prompt or ()), *(tool or ())), "output": output or (), "cached": cached or ()}
        return parts_of(
            (side, detail.modality or "", detail.token_count or 0) for side, details in named.items() for detail in details
        )


def read_counts(usage: dict[str, Any]) -> Counts:
    """``usageMetadata`` as plain objects, of any content."""
    details = [
        (side, as_text(field(detail, "modality")), as_count(field(detail, "tokenCount")) or 0)
        for name, side in DETAILS.items()
        for detail in map(as_dict, as_list(field(usage, name)))
    ]
    return Counts(
        prompt=as_count(field(usage, "promptTokenCount")),
        output=as_count(field(usage, "candidatesTokenCount")),
        thoughts=as_count(field(usage, "thoughtsTokenCount")),
        cached=as_count(field(usage, "cachedContentTokenCount")),
        tool=as_count(field(usage, "toolUsePromptTokenCount")),
        total=as_count(field(usage, "totalTokenCount")),
        parts=parts_of(details),
    )


def as_text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def parts_of(details: Iterable[tuple[str, str, int]]) -> dict[str, int] | None:
    """Tokens that are not text, by kind.

    :param details: ``input``, ``output`` or ``cached``; the modality; tokens.
    """
    parts: dict[str, int] = {}
    composed = False
    for side, name, count in details:
        composed = composed or side == "cached"
        modality = _MODALITIES.get(name)
        if modality is not None and count:
            kind = f"{side}_{modality}"
            parts[kind] = parts.get(kind, 0) + count
    if parts and composed:  # what is not named there is zero
        for modality in ("audio", "image", "video"):
            parts.setdefault(f"cached_{modality}", 0)
    return parts or None


def queries_in(raw: bytes) -> int:
    """Distinct searches that an answer reports. Empty ones are not billed, says the service's page on grounding."""
    if b"ebSearchQueries" not in raw and b"eb_search_queries" not in raw:
        return 0
    try:
        value = as_dict(read_any(raw))
    except (ValueError, RecursionError):
        return 0
    response = as_dict(value.get("response")) or value
    queries: set[str] = set()
    for candidate in map(as_dict, as_list(response.get("candidates"))):
        found = as_list(field(as_dict(field(candidate, "groundingMetadata")), "webSearchQueries"))
        queries.update(query for query in found if isinstance(query, str) and query)
    return len(queries)


def holds_media(raw: bytes) -> bool:
    """Whether an answer may hold media: a text about ``"inlineData"`` is taken for one too."""
    return b'"inlineData"' in raw or b'"inline_data"' in raw
