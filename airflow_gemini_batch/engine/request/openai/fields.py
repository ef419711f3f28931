"""Which fields of an OpenAI request body have a counterpart in a Gemini request.

One table for each kind of body; the conversion uses it, the docs page shows it, and a test compares the two. A field that is not
in a table is refused: one dead letter is better than a setting silently lost on a million rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Treatment(Enum):
    CONVERTED = "converted"
    IGNORED = "ignored"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Field:
    """How a field is treated, and where it goes or why it does not."""

    treatment: Treatment
    note: str


def _converted(note: str) -> Field:
    return Field(Treatment.CONVERTED, note)


def _ignored(note: str) -> Field:
    return Field(Treatment.IGNORED, note)


def _refused(note: str) -> Field:
    return Field(Treatment.REFUSED, note)


_BOOKKEEPING = "bookkeeping of the caller; carry a column instead"

CHAT: dict[str, Field] = {
    "messages": _converted("`contents` and `system_instruction`"),
    "temperature": _converted("`generation_config.temperature`"),
    "top_p": _converted("`generation_config.top_p`"),
    "max_tokens": _converted("`generation_config.max_output_tokens`"),
    "max_completion_tokens": _converted("`generation_config.max_output_tokens`; overrides `max_tokens`"),
    "stop": _converted("`generation_config.stop_sequences`"),
    "n": _converted("`generation_config.candidate_count`"),
    "seed": _converted("`generation_config.seed`"),
    "presence_penalty": _converted("`generation_config.presence_penalty`"),
    "frequency_penalty": _converted("`generation_config.frequency_penalty`"),
    "logprobs": _converted("`generation_config.response_logprobs`"),
    "top_logprobs": _converted("`generation_config.logprobs`"),
    "response_format": _converted("`generation_config.response_mime_type` and `.response_json_schema`"),
    "reasoning_effort": _converted("`generation_config.thinking_config`: a budget for Gemini 2.5, a level for later models"),
    "tools": _converted("`tools[].function_declarations`; types other than `function` are refused"),
    "tool_choice": _converted("`tool_config.function_calling_config`"),
    "extra_body": _converted("`google.thinking_config` and `google.cached_content`; anything else is refused"),
    "model": _ignored("the run's model is used"),
    "stream": _ignored("only `false` is accepted: a batch does not stream"),
    "parallel_tool_calls": _ignored("only `true` is accepted: Gemini cannot be limited to one call"),
    "modalities": _ignored('only `["text"]` is accepted: set `response_modalities` in a `GenerateRequest`'),
    "service_tier": _ignored("batch jobs have their own tier"),
    "user": _ignored(_BOOKKEEPING),
    "metadata": _ignored(_BOOKKEEPING),
    "store": _ignored(_BOOKKEEPING),
    "safety_identifier": _ignored(_BOOKKEEPING),
    "prompt_cache_key": _ignored("Gemini caches by prefix by itself"),
    "prompt_cache_retention": _ignored("Gemini caches by prefix by itself"),
    "audio": _refused("spoken answers"),
    "logit_bias": _refused("only an empty one is accepted: Gemini cannot bias tokens"),
    "prediction": _refused("Gemini has no predicted outputs"),
    "verbosity": _refused("put it into the prompt"),
    "web_search_options": _refused("use a `GenerateRequest` with the tool `google_search`"),
    "functions": _refused("deprecated: use `tools`"),
    "function_call": _refused("deprecated: use `tool_choice`"),
    "stream_options": _refused("a batch does not stream"),
}

EMBEDDINGS: dict[str, Field] = {
    "input": _converted("`content`: a text, or a list with one text; several texts and tokens are refused"),
    "dimensions": _converted("`output_dimensionality`; must equal the run's"),
    "model": _ignored("the run's model is used"),
    "encoding_format": _ignored("the table has float32 vectors"),
    "user": _ignored(_BOOKKEEPING),
}

#: By the kind of model: Gemini 2.5 thinks by budget, later ones by level. Source: ai.google.dev, "OpenAI compatibility".
THINKING_BUDGETS = {"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24576}
THINKING_LEVELS = {"minimal": "MINIMAL", "low": "LOW", "medium": "MEDIUM", "high": "HIGH"}
#: Pro models of Gemini 3 have no level below this one.
LOWEST_LEVEL_OF_PRO = "LOW"
