"""What the emulated service consists of: options, clock, memory, fault rules, and who may call it."""

from __future__ import annotations

import re
import secrets
import string
from pathlib import Path

from starlette.requests import Request

from airflow_gemini_batch.emulator.clock import Clock
from airflow_gemini_batch.emulator.faults.rules import FaultRules
from airflow_gemini_batch.emulator.http import refusals
from airflow_gemini_batch.emulator.journal import Journal
from airflow_gemini_batch.emulator.options import DEFAULT_PROJECT, Options
from airflow_gemini_batch.emulator.store import Store

API_VERSIONS = ("v1", "v1beta", "v1alpha")

#: Models by the look of their names: an emulator that knew the list by heart would be out of date next month.
_MODEL_NAME = re.compile(r"models/(gemini|gemma|text-embedding|embedding|imagen|learnlm)-[a-z0-9.\-]+|tunedModels/[^/]+")
#: Names that stand for the newest version of a model are known to v1beta alone.
_ALIAS = re.compile(r"models/gemini-.*-latest")

GENERATING_METHODS = ("generateContent", "batchGenerateContent", "createCachedContent")
EMBEDDING_METHODS = ("embedContent", "batchEmbedContents", "asyncBatchEmbedContent")


class Service:
    """One emulated service on one state folder."""

    def __init__(self, folder: Path, options: Options) -> None:
        self.options = options
        self.store = Store(folder)
        offset = int(self.store.setting("clock_offset_ns", "0"))
        self.clock = Clock(offset, lambda offset_ns: self.store.set_setting("clock_offset_ns", str(offset_ns)))
        self.journal = Journal(self.store, self.clock)
        self.rules = FaultRules(self.store)
        self._projects = options.projects_by_key()

    def project_of(self, request: Request) -> str:
        """The project whose key came with the call, or the service's refusal."""
        key = request.headers.get("x-goog-api-key") or request.query_params.get("key") or _bearer(request)
        if not key:
            raise refusals.key_missing()
        if self._projects:
            if key not in self._projects:
                raise refusals.key_invalid()
            return self._projects[key]
        if key.startswith("invalid"):
            raise refusals.key_invalid()
        return DEFAULT_PROJECT

    def close(self) -> None:
        self.store.close()


def _bearer(request: Request) -> str | None:
    """The key as OpenAI's clients send it."""
    kind, _, key = request.headers.get("authorization", "").partition(" ")
    return key if kind.lower() == "bearer" and "/openai/" in request.url.path else None


def version_of(request: Request) -> str:
    """The API version in the call's path."""
    return next((part for part in request.url.path.split("/") if part in API_VERSIONS), "v1beta")


def base_url_of(request: Request) -> str:
    """The address by which this caller reaches the emulator: what the answers' URLs must begin with."""
    scheme = request.headers.get("x-forwarded-proto", request.url.scheme).split(",")[0].strip()
    host = request.headers.get("x-forwarded-host") or request.headers.get("host") or request.url.netloc
    return f"{scheme}://{host.split(',')[0].strip()}"


def known_model(model: str, version: str, method: str) -> str:
    wrong_methods = GENERATING_METHODS if "embedding" in model else EMBEDDING_METHODS
    is_alias_elsewhere = version != "v1beta" and _ALIAS.fullmatch(model)
    if not _MODEL_NAME.fullmatch(model) or is_alias_elsewhere or method in wrong_methods:
        raise refusals.model_not_found(model, version, method)
    return model


def new_id(length: int) -> str:
    return "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(length))
