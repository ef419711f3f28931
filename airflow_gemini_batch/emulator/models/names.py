"""Which model names the emulator accepts, and for which methods."""

from __future__ import annotations

import re

from airflow_gemini_batch.emulator.http import refusals

#: Models are recognised by the form of their names. A fixed list would soon be out of date.
_MODEL_NAME = re.compile(r"models/(gemini|gemma|text-embedding|embedding|imagen|learnlm)-[a-z0-9.\-]+|tunedModels/[^/]+")
#: Aliases for the newest version of a model exist only in v1beta.
_ALIAS = re.compile(r"models/gemini-.*-latest")

GENERATING_METHODS = ("generateContent", "batchGenerateContent", "createCachedContent")
EMBEDDING_METHODS = ("embedContent", "batchEmbedContents", "asyncBatchEmbedContent")


def known_model(model: str, version: str, method: str) -> str:
    """Returns `model`. Raises the service's 404 if the name, the API version and the method do not fit together."""
    wrong_methods = GENERATING_METHODS if "embedding" in model else EMBEDDING_METHODS
    is_alias_elsewhere = version != "v1beta" and _ALIAS.fullmatch(model)
    if not _MODEL_NAME.fullmatch(model) or is_alias_elsewhere or method in wrong_methods:
        raise refusals.model_not_found(model, version, method)
    return model
