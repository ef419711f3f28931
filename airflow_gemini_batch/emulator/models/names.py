"""Which model names the emulator accepts, and for which methods."""

from __future__ import annotations

import re

from airflow_gemini_batch.emulator.http import refusals

#: Models by the form of their names: an emulator that held a fixed list would be out of date next month.
_MODEL_NAME = re.compile(r"models/(gemini|gemma|text-embedding|embedding|imagen|learnlm)-[a-z0-9.\-]+|tunedModels/[^/]+")
#: Names that stand for the newest version of a model are known to v1beta alone.
_ALIAS = re.compile(r"models/gemini-.*-latest")

GENERATING_METHODS = ("generateContent", "batchGenerateContent", "createCachedContent")
EMBEDDING_METHODS = ("embedContent", "batchEmbedContents", "asyncBatchEmbedContent")


def known_model(model: str, version: str, method: str) -> str:
    """`model` as it came. Raises the service's 404 where the name, the API version and the method do not fit together."""
    wrong_methods = GENERATING_METHODS if "embedding" in model else EMBEDDING_METHODS
    is_alias_elsewhere = version != "v1beta" and _ALIAS.fullmatch(model)
    if not _MODEL_NAME.fullmatch(model) or is_alias_elsewhere or method in wrong_methods:
        raise refusals.model_not_found(model, version, method)
    return model
