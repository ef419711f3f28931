"""What the encoder writes is what the SDK sends, for every field of ``GenerateContentConfig``.

The SDK talks to a server on loopback here, the way it would to the service, and knows nothing of the encoder. A field
that a newer SDK adds fails the first test until it has a sample.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pyarrow as pa
import pydantic
import pytest
from google import genai
from google.genai import types

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.request.encoding import compile_request
from airflow_gemini_batch.engine.specs import GenerateRequest

MODEL = "gemini-3.6-flash"


class Answer(pydantic.BaseModel):
    bestGuess: str
    others: list[str] = []


SCHEMA = {"type": "OBJECT", "properties": {"bestGuess": {"type": "STRING", "max_length": "9"}}, "required": ["bestGuess"]}
JSON_SCHEMA = {"type": "object", "properties": {"bestGuess": {"type": "string", "maxLength": 9}}, "additionalProperties": False}
DECLARATION = {
    "name": "lookUp",
    "description": "d",
    "parameters": {"type": "OBJECT", "properties": {"orderId": {"type": "STRING"}}, "propertyOrdering": ["orderId"]},
    "response": {"type": "OBJECT", "properties": {"totalPrice": {"type": "NUMBER"}}},
    "behavior": "BLOCKING",
}


def look_up(order_id: str, at_most: int = 3) -> str:
    """Look an order up."""
    return order_id


#: One value or several for each field, as a user would write them.
SAMPLES: dict[str, list[Any]] = {
    "http_options": [{"timeout": 1000}],
    "should_return_http_response": [True],
    "system_instruction": ["Be nice", ["Be nice", "and short"], {"parts": [{"text": "Be nice"}]}, types.Part(text="Be nice")],
    "temperature": [0, 0.25, 1],
    "top_p": [0.9],
    "top_k": [40],
    "candidate_count": [2],
    "max_output_tokens": [1024],
    "stop_sequences": [["STOP", "\u2028"]],
    "response_logprobs": [True, False],
    "logprobs": [5],
    "presence_penalty": [0.5],
    "frequency_penalty": [-0.5],
    "seed": [42],
    "response_mime_type": ["application/json"],
    "response_schema": [SCHEMA, Answer, list[Answer], types.Schema(type=types.Type.STRING, enum=["a", "b"])],
    "response_json_schema": [JSON_SCHEMA, Answer.model_json_schema()],
    "routing_config": [{"manual_mode": {"model_name": "x"}}],
    "model_selection_config": [{"feature_selection_preference": "BALANCED"}],
    "safety_settings": [[{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_ONLY_HIGH"}]],
    "tools": [
        [{"google_search": {}}],
        [{"googleSearch": {"exclude_domains": ["example.org"]}}],
        [{"google_search": {"time_range_filter": {"start_time": "2026-01-01T00:00:00Z", "end_time": "2026-02-01T00:00:00Z"}}}],
        [{"url_context": {}}, {"code_execution": {}}],
        [{"function_declarations": [DECLARATION]}],
        [{"function_declarations": [{"name": "f", "parameters_json_schema": JSON_SCHEMA, "response_json_schema": JSON_SCHEMA}]}],
        [{"google_maps": {"enable_widget": True}}],
        [{"file_search": {"file_search_store_names": ["fileSearchStores/a"], "top_k": 3, "metadata_filter": "a = 1"}}],
        [{"computer_use": {"environment": "ENVIRONMENT_BROWSER", "excluded_predefined_functions": ["a"]}}],
        [{"mcp_servers": [{"name": "m", "streamable_http_transport": {"url": "https://m", "headers": {"X-oddCase": "v"}}}]}],
        [look_up],
        [{"retrieval": {"vertex_ai_search": {"datastore": "d"}}}],
        [{"enterprise_web_search": {}}],
    ],
    "tool_config": [
        {"function_calling_config": {"mode": "ANY", "allowed_function_names": ["lookUp"]}},
        {"retrievalConfig": {"latLng": {"latitude": 1.5, "longitude": 2.5}, "languageCode": "de"}},
    ],
    "labels": [{"costCenter": "a", "under_score": "b"}],
    "cached_content": ["cachedContents/abc", "abc"],
    "response_modalities": [["TEXT", "IMAGE"]],
    "media_resolution": ["MEDIA_RESOLUTION_LOW"],
    "speech_config": [
        "Kore",
        {"language_code": "de-DE", "voice_config": {"prebuilt_voice_config": {"voice_name": "Kore"}}},
        {
            "multi_speaker_voice_config": {
                "speaker_voice_configs": [
                    {"speaker": "camelCase", "voice_config": {"prebuilt_voice_config": {"voice_name": "Kore"}}},
                    {"speaker": "B", "voice_config": {"prebuilt_voice_config": {"voice_name": "Puck"}}},
                ]
            }
        },
    ],
    "audio_timestamp": [True],
    "automatic_function_calling": [{"disable": True}],
    "thinking_config": [{"thinking_budget": 0}, {"includeThoughts": True, "thinkingLevel": "LOW"}],
    "image_config": [{"aspect_ratio": "16:9", "image_size": "2K"}],
    "enable_enhanced_civic_answers": [True],
    "model_armor_config": [{"prompt_template_name": "a"}],
    "service_tier": ["flex"],
    "audio_transcription_config": [{}],
    "continuation_token": [b"\xfb\xff\x00"],
    "automatic_continuation": [True],
    "generation_output_config": [{}],
    "store": [True],
}
CASES = [(field, sample) for field, samples in SAMPLES.items() for sample in samples]
#: These steer the SDK's own call. The encoder refuses them, since the user expects something of them that a file cannot do.
REFUSED_BY_US_ALONE = {"http_options"}


class _Recorder(BaseHTTPRequestHandler):
    """Answers like a service that has created a job, and keeps what it was sent."""

    bodies: list[bytes]

    def do_POST(self) -> None:
        self.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        answer = b'{"name":"batches/b","metadata":{"state":"BATCH_STATE_PENDING","name":"batches/b"}}'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:
        pass


class Sdk:
    """The SDK as a user has it, and what it sends."""

    def __init__(self, url: str, bodies: list[bytes]) -> None:
        options = types.HttpOptions(base_url=url, timeout=10_000)
        self.client = genai.Client(api_key="none", vertexai=False, http_options=options)
        self.bodies = bodies

    def sends(self, contents: str, config: Any) -> Any:
        """The request inside the body."""
        request = types.InlinedRequest(contents=contents, config=types.GenerateContentConfig.model_validate(config))
        self.client.batches.create(model=MODEL, src=[request])
        return json.loads(self.bodies.pop())["batch"]["inputConfig"]["requests"]["requests"][0]["request"]

    def refusal(self, config: Any) -> str | None:
        """What the SDK says to a config that it does not send to the Gemini API."""
        try:
            self.sends("hi", config)
        except ValueError as error:
            return str(error)
        return None


@pytest.fixture(scope="module")
def sdk() -> Iterator[Sdk]:
    bodies: list[bytes] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Recorder", (_Recorder,), {"bodies": bodies}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield Sdk(f"http://127.0.0.1:{server.server_port}", bodies)
    server.shutdown()
    server.server_close()
    thread.join()


def encoded(config: Any, text: str = "hi") -> Any:
    batch = pa.record_batch({"text": [text]})
    (line,) = compile_request(GenerateRequest(prompt="${text}", config=config), batch.schema, MODEL).encode(batch).rows()
    assert isinstance(line, bytes)
    return json.loads(line)


def in_one_case(value: Any) -> Any:
    """Every key in lower case without underscores: what is left to compare are the fields, their places and their values."""
    if isinstance(value, dict):
        return {re.sub("_", "", key).lower(): in_one_case(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [in_one_case(item) for item in value]
    return value


def test_every_field_of_the_type_has_a_sample() -> None:
    fields = set(types.GenerateContentConfig.model_fields)

    assert fields - set(SAMPLES) == set(), "new in this SDK: give them samples, and look at sdk_request.WORDS"


@pytest.mark.parametrize(("field", "sample"), CASES, ids=[f"{field}-{number}" for number, (field, _) in enumerate(CASES)])
def test_a_field_is_written_where_the_sdk_puts_it(sdk: Sdk, field: str, sample: Any) -> None:
    if field not in types.GenerateContentConfig.model_fields:
        pytest.skip(f"google-genai {genai.__version__} has no {field}")
    config = {field: sample}
    refusal = field if field in REFUSED_BY_US_ALONE else sdk.refusal(config)

    if refusal is None:
        assert in_one_case(encoded(config)) == in_one_case(sdk.sends("hi", config))
    else:
        with pytest.raises(InputError, match=re.escape(refusal)):
            encoded(config)


def test_all_accepted_fields_together(sdk: Sdk) -> None:
    """But for the cached content, which the service does not take beside tools and a system instruction."""
    config = {}
    for field, samples in SAMPLES.items():
        if field not in types.GenerateContentConfig.model_fields or field in {*REFUSED_BY_US_ALONE, "cached_content"}:
            continue
        if sdk.refusal({field: samples[0]}) is None:
            config[field] = samples[0]

    assert len(config) > 25
    assert in_one_case(encoded(config)) == in_one_case(sdk.sends("hi", config))


@pytest.mark.parametrize("as_instance", [True, False])
def test_either_case_and_an_instance_say_the_same(sdk: Sdk, as_instance: bool) -> None:
    config: Any = {"maxOutputTokens": 5, "thinkingConfig": {"thinkingBudget": 0}, "safetySettings": []}
    config = types.GenerateContentConfig.model_validate(config) if as_instance else config

    assert in_one_case(encoded(config)) == in_one_case(sdk.sends("hi", config))


@pytest.mark.parametrize("text", ["hi", " ", 'a"b\\c\n\u2028 ${text} é 😀 \0'])
def test_the_text_is_the_text(sdk: Sdk, text: str) -> None:
    assert encoded({"seed": 1}, text)["contents"] == sdk.sends(text, {"seed": 1})["contents"]


def test_message_keys_are_snake_case_and_the_users_words_are_not_touched() -> None:
    def keys(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            for key, inner in value.items():
                yield key
                yield from keys(inner)
        elif isinstance(value, list):
            for item in value:
                yield from keys(item)

    config = {
        field: SAMPLES[field][0]
        for field in ("response_json_schema", "thinking_config", "speech_config", "image_config", "safety_settings")
    } | {"tools": [{"function_declarations": [DECLARATION]}, *SAMPLES["tools"][9]]}

    camel = {key for key in keys(encoded(config)) if key != key.lower()}

    assert camel == {"bestGuess", "maxLength", "additionalProperties", "orderId", "totalPrice", "X-oddCase"}
