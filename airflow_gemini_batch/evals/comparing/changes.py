"""What was asked differently of the two runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from airflow_gemini_batch.engine.run.layout import Manifest
from airflow_gemini_batch.evals.comparison import Changed

#: Characters of a value that are kept.
_LONGEST = 10_000

#: What a request says once more in its own place, where the spec has it already.
_REPEATED = frozenset({"contents", "response_json_schema", "response_schema", "response_mime_type"})

#: In this order; then what belongs to the config, then the rest.
_FIRST = ("model", "repeats", "prompt", "text", "system_instruction")

_ABSENT = ""


def changes(baseline: Manifest | None, candidate: Manifest | None) -> tuple[Changed, ...]:
    """Nothing where a run does not say what was asked."""
    if baseline is None or candidate is None:
        return ()
    was, now = _asked(baseline), _asked(candidate)
    names = sorted({**was, **now}, key=lambda name: (_FIRST.index(name) if name in _FIRST else len(_FIRST), name))
    found = [Changed(name, was.get(name, _ABSENT), now.get(name, _ABSENT)) for name in names]
    return tuple(one for one in found if one.baseline != one.candidate)


def _asked(manifest: Manifest) -> dict[str, str]:
    asked = {"model": manifest.model, "repeats": manifest.repeats, **dict(_parts(manifest.request))}
    if manifest.sample is not None:
        asked["sample"] = manifest.sample
    if manifest.source.fingerprint is not None:
        asked["source"] = f"{manifest.source.description} ({manifest.source.fingerprint[:12]})"
    return {name: _text(value) for name, value in asked.items() if value is not None}


def _parts(request: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The request by what users call it: ``prompt``, ``config.temperature``, ``response_schema``."""
    for name, value in request.items():
        if name in ("request", "embed_request") and isinstance(value, Mapping):
            yield from _config(value)
        else:
            yield name, value


def _config(request: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in request.items():
        if name in ("generation_config", "generationConfig") and isinstance(value, Mapping):
            yield from _config(value)
        elif name not in _REPEATED:
            yield f"config.{name}", value


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value, order="sorted").decode()
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
