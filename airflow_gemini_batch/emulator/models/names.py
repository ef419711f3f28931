"""Which models the emulator knows, for which methods, and how small a cache of them may be."""

from __future__ import annotations

import re
from collections.abc import Collection

from airflow_gemini_batch.emulator.http import refusals

GENERATES = ("generateContent", "countTokens", "createCachedContent", "batchGenerateContent")
EMBEDS = ("embedContent", "countTextTokens", "countTokens", "asyncBatchEmbedContent")

#: The models of the service that can be used in batches. The option `models` adds others.
MODELS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        [
            *["gemini-4-argon", "gemini-4-carbon", "gemini-4-hydrogen", "gemini-4-neon"],
            *["gemini-3.8-flash", "gemini-3.7-flash", "gemini-3.6-flash", "gemini-3.5-flash", "gemini-3.5-flash-lite"],
            *["gemini-3.1-pro-preview", "gemini-3.1-pro-preview-customtools", "gemini-3.1-flash-lite"],
            *["gemini-3-pro-preview", "gemini-3-flash-preview"],
            *["gemini-2.5-pro", "gemini-2.5-flash", "gemini-2.5-flash-lite", "gemini-2.0-flash", "gemini-2.0-flash-lite"],
            *["gemini-flash-latest", "gemini-flash-lite-latest", "gemini-pro-latest"],
            # images
            *["gemini-3-pro-image", "gemini-3-pro-image-preview", "gemini-3.1-flash-image", "gemini-3.1-flash-image-preview"],
            *["gemini-3.1-flash-lite-image", "gemini-2.5-flash-image", "gemini-nano-banana-2.1", "nano-banana-pro-preview"],
            # speech
            *["gemini-3.8-flash-tts", "gemini-3.8-flash-lite-tts", "gemini-3.1-flash-tts-preview", "gemini-2.5-flash-tts"],
            *["gemini-2.5-pro-tts", "gemini-2.5-flash-lite-preview-tts", "gemini-2.5-flash-preview-tts"],
            "gemini-2.5-pro-preview-tts",
        ],
        GENERATES,
    ),
    **dict.fromkeys(["gemini-embedding-2", "gemini-embedding-2-preview", "gemini-embedding-001", "text-embedding-004"], EMBEDS),
}

#: Aliases for the newest version of a model exist only in v1beta.
_ALIAS = re.compile(r"models/gemini-.*-latest")
_TUNED_MODEL = re.compile(r"tunedModels/[^/]+")

GENERATING_METHODS = ("generateContent", "batchGenerateContent", "createCachedContent")
EMBEDDING_METHODS = ("embedContent", "batchEmbedContents", "asyncBatchEmbedContent")

#: Smallest cache, in tokens.
_MIN_CACHE_TOKENS = 4096
_MIN_CACHE_TOKENS_OF_FLASH = 1024


def known_model(model: str, version: str, method: str, more: Collection[str] = ()) -> str:
    """Returns `model`. Raises the service's 404 if the name, the API version and the method do not fit together.

    :param more: names of models (without `models/`) beyond those in `MODELS`.
    """
    kind, _, name = model.partition("/")
    is_listed = kind == "models" and (name in MODELS or name in more)
    wrong_methods = GENERATING_METHODS if "embedding" in model else EMBEDDING_METHODS
    is_alias_elsewhere = version != "v1beta" and _ALIAS.fullmatch(model)
    if not (is_listed or _TUNED_MODEL.fullmatch(model)) or is_alias_elsewhere or method in wrong_methods:
        raise refusals.model_not_found(model, version, method)
    return model


def methods_of(name: str) -> tuple[str, ...]:
    return MODELS.get(name) or (EMBEDS if "embedding" in name else GENERATES)


def min_cache_tokens(model: str) -> int:
    return _MIN_CACHE_TOKENS_OF_FLASH if "flash" in model else _MIN_CACHE_TOKENS
