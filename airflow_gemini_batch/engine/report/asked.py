"""What was asked of the service, and what it could have cost, as people read it; and what they can do about dead letters."""

from __future__ import annotations

import copy
import json
from typing import Any

from airflow_gemini_batch.engine.costs.bounds import CostBounds
from airflow_gemini_batch.engine.run.layout import Manifest

#: Parts of the config that say the form of the answer.
_SCHEMAS = ("response_json_schema", "response_schema")

#: What a person can do about dead letters.
ADVICE = {
    "INVALID_INPUT": "No request could be built from the row.",
    "REQUEST_ERROR": "The service answered the row with an error.",
    "BLOCKED": "A filter stopped the prompt or the answer.",
    "TRUNCATED": "Cut at the token limit: raise max_output_tokens.",
    "EMPTY": "An answer without content.",
    "INVALID_OUTPUT": "The answer is not in the form that was asked for.",
    "MALFORMED_LINE": "A line of the output is not JSON.",
    "MISSING": "The job ended without this row.",
    "JOB_FAILED": "The job of the row failed.",
    "JOB_EXPIRED": "The job of the row was not done in time.",
    "JOB_CANCELLED": "The job was cancelled: a redrive sends the rows again.",
}


def bounds_of(manifest: Manifest) -> CostBounds | None:
    """What the whole run may cost; None where that was not measured when it was built."""
    bounds = [shard.bounds for shard in manifest.shards if shard.requests]
    known = [each for each in bounds if each is not None]
    if not known or len(known) != len(bounds):
        return None
    highs = [each.high for each in known if each.high is not None]
    return CostBounds(sum(each.low for each in known), sum(highs) if len(highs) == len(known) else None)


def asked_of(asked: dict[str, Any]) -> list[tuple[str, str]]:
    """A request spec as pairs of a heading and a text: prompt, system instruction, schema, and all the rest as JSON."""
    rest = copy.deepcopy(asked)
    request: dict[str, Any] = rest.get("request") or {}
    config: dict[str, Any] = request.get("generation_config") or {}
    system = request.get("system_instruction")
    found = [("prompt", rest.pop("prompt", None) or "")]
    if isinstance(system, dict) and _is_text(system):
        request.pop("system_instruction")
        found.insert(0, ("system instruction", "\n".join(part["text"] for part in system["parts"])))
    if not any(part.get("text") != "" for content in request.get("contents", ()) for part in content.get("parts", ())):
        request.pop("contents", None)  # where the prompt goes in
    schemas = [config.pop(name) for name in _SCHEMAS if name in config]
    kept = rest.pop("response_schema", None) or None
    found += [("schema of the answer", _readable(schema)) for schema in schemas[:1] or [kept] if schema]
    rest = {name: value for name, value in rest.items() if name != "type" and value not in (None, {}, [], "")}
    found += [("config", _readable(rest))] if rest and rest != {"request": {"generation_config": {}}} else []
    return [(heading, text) for heading, text in found if text]


def _is_text(content: dict[str, Any]) -> bool:
    """Whether a content is made of texts alone."""
    return {"parts"} <= set(content) <= {"parts", "role"} and all(set(part) == {"text"} for part in content["parts"])


def _readable(value: Any) -> str:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return str(value)
    return json.dumps(value, ensure_ascii=False, indent=2)
