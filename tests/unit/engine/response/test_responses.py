"""One output line is an answer, a refusal or garbage: every form the service is known to write, and others."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.genai import types
from pydantic.alias_generators import to_camel, to_snake

from airflow_gemini_batch.engine.reasons import (
    REASON_BY_FINISH,
    RETRYABLE_BY_REASON,
    STATUS_BY_CODE,
    STATUSES,
    Reason,
    is_retryable,
)
from airflow_gemini_batch.engine.response.responses import Answer, Garbage, Refusal, classify
from airflow_gemini_batch.engine.run.tables import TOKEN_COLUMNS

SUCCESS = (
    b'{"response":{"responseId":"6VFkaIDwEPXVjMcP4-XW6Qo","usageMetadata":{"totalTokenCount":848,"promptTokensDetails":'
    b'[{"modality":"TEXT","tokenCount":8}],"thoughtsTokenCount":829,"candidatesTokenCount":11,"promptTokenCount":8},'
    b'"candidates":[{"content":{"role":"model","parts":[{"text":"AI learns \xe2\x80\xa6"}]},"finishReason":"STOP","index":0}],'
    b'"modelVersion":"gemini-2.5-flash"},"key":"request_1"}'
)
ERROR = (
    b'{"key":"r7","error":{"code":13,"message":"An internal error has occurred. Please retry or report in '
    b'https://developers.generativeai.google/guide/troubleshooting"}}'
)
EMBEDDING = b'{"response":{"tokenCount":"1","embedding":{"values":[-0.034119852,0.0025719088,0.017325249]}},"key":"request_1"}'


def answered(*parts: Any, finish_reason: str | None = "STOP", usage: Any = None, **response: Any) -> bytes:
    """A line of the key k1 with one candidate."""
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}}
    if finish_reason is not None:
        candidate["finishReason"] = finish_reason
    return line({"candidates": [candidate], "usageMetadata": usage or {"promptTokenCount": 1}, **response})


def line(response: Any) -> bytes:
    return json.dumps({"key": "k1", "response": response}).encode()


def answer(raw: bytes) -> Answer:
    read = classify(raw)
    assert isinstance(read, Answer)
    return read


def refusal(raw: bytes) -> Refusal:
    read = classify(raw)
    assert isinstance(read, Refusal)
    return read


def garbage(raw: bytes) -> Garbage:
    read = classify(raw)
    assert isinstance(read, Garbage)
    return read


class TestAnswers:
    def test_the_official_success_line_fills_every_column(self) -> None:
        read = answer(SUCCESS)

        assert (read.key, read.text, read.finish_reason) == ("request_1", "AI learns …", "STOP")
        assert (read.prompt_tokens, read.output_tokens, read.thoughts_tokens, read.cached_tokens) == (8, 11, 829, None)
        assert (read.total_tokens, read.model_version, read.response_id) == (848, "gemini-2.5-flash", "6VFkaIDwEPXVjMcP4-XW6Qo")

    def test_the_raw_response_is_kept_byte_for_byte(self) -> None:
        raw = b'{"key":"a", "response" : {"x": 1.10, "candidates": [ {"content":{"parts":[{"text":"t"}]}} ]} }'

        assert answer(raw).response == b'{"x": 1.10, "candidates": [ {"content":{"parts":[{"text":"t"}]}} ]}'

    def test_text_parts_are_joined_and_thoughts_left_out(self) -> None:
        raw = answered({"text": "secret ", "thought": True}, {"text": "one "}, {"text": "two"}, {"thoughtSignature": "AA=="})

        assert answer(raw).text == "one two"

    def test_only_the_first_candidate_counts(self) -> None:
        candidates = [{"content": {"parts": [{"text": text}]}, "finishReason": "STOP"} for text in ("first", "second")]

        assert answer(line({"candidates": candidates})).text == "first"

    @pytest.mark.parametrize(
        "part",
        [
            {"functionCall": {"name": "f", "args": {}}},
            {"inlineData": {"mimeType": "image/png", "data": "AA=="}},
            {"inline_data": {"mime_type": "image/png", "data": "AA=="}},
            {"executableCode": {"code": "1"}},
            {"somethingNew": {}},
        ],
    )
    def test_content_other_than_text_is_an_answer_without_text(self, part: dict[str, Any]) -> None:
        assert answer(answered(part)).text is None

    def test_an_embedding_is_an_answer_and_its_token_count_a_string(self) -> None:
        read = answer(EMBEDDING)

        assert (read.text, read.finish_reason) == (None, None)
        assert (read.prompt_tokens, read.total_tokens) == (1, 1)

    @pytest.mark.parametrize("finish_reason", [None, "FINISH_REASON_UNSPECIFIED", "A_NEW_ONE"])
    def test_content_without_a_known_finish_reason_is_an_answer(self, finish_reason: str | None) -> None:
        assert answer(answered({"text": "t"}, finish_reason=finish_reason)).text == "t"

    def test_snake_case_is_read_too(self) -> None:
        candidate = {"content": {"parts": [{"text": "t"}]}, "finish_reason": "STOP"}
        usage = {"prompt_token_count": 1, "candidates_token_count": 2, "total_token_count": 3}

        read = answer(line({"candidates": [candidate], "usage_metadata": usage, "model_version": "m", "response_id": "r"}))

        assert (read.finish_reason, read.prompt_tokens, read.output_tokens, read.total_tokens) == ("STOP", 1, 2, 3)
        assert (read.model_version, read.response_id) == ("m", "r")

    def test_a_cut_answer_in_snake_case_is_no_result(self) -> None:
        candidate = {"content": {"parts": [{"text": "t"}]}, "finish_reason": "MAX_TOKENS"}

        assert refusal(line({"candidates": [candidate]})).reason is Reason.TRUNCATED

    @pytest.mark.parametrize(
        ("count", "read"),
        [(5, 5), ("5", 5), (5.0, 5), (2**63 - 1, 2**63 - 1), (2**63, None), ("9" * 30, None), (1.5, None), (True, None),
         ("x", None), (None, None), ([], None)],
    )  # fmt: skip
    def test_token_counts_are_integers_or_null(self, count: Any, read: int | None) -> None:
        assert answer(answered({"text": "t"}, usage={"promptTokenCount": count})).prompt_tokens == read

    def test_line_separators_of_unicode_are_text(self) -> None:
        raw = SUCCESS.replace(b"AI learns", "a\u2028b\u2029c\u0085d".encode())

        assert answer(raw).text == "a\u2028b\u2029c\u0085d …"

    def test_a_lone_surrogate_is_mended_in_the_text_and_kept_in_the_raw_answer(self) -> None:
        raw = SUCCESS.replace(b"AI learns", rb"x\ud83dy\ud83d\ude00")

        read = answer(raw)

        assert read.text == "x\ufffdy\U0001f600 …"
        assert rb"\ud83dy" in read.response

    @pytest.mark.parametrize("value", [b"NaN", b"-Infinity", b"1e999", b"9" * 5000, b'"tab\there"'])
    def test_what_only_python_reads_does_not_cost_the_row(self, value: bytes) -> None:
        raw = SUCCESS.replace(b'"index":0', b'"avgLogprobs":' + value)

        read = answer(raw)

        assert read.text == "AI learns …"
        assert value in read.response

    @pytest.mark.parametrize("raw", [b"\xef\xbb\xbf" + SUCCESS, SUCCESS + b"\r", b"  " + SUCCESS + b" \n"])
    def test_bom_and_white_space_around_a_line_are_tolerated(self, raw: bytes) -> None:
        assert answer(raw).text == "AI learns …"

    @pytest.mark.parametrize("extra", [{"error": None}, {"error": {}}, {"status": {"code": 0}}, {"status": "SUCCEEDED"}])
    def test_an_error_that_says_nothing_does_not_spoil_an_answer(self, extra: dict[str, Any]) -> None:
        raw = json.dumps({**json.loads(SUCCESS), **extra}).encode()

        assert answer(raw).text == "AI learns …"


#: Member of usageMetadata -> the column with its count.
COLUMN_BY_COUNT = {
    "promptTokenCount": "prompt_tokens",
    "candidatesTokenCount": "output_tokens",
    "thoughtsTokenCount": "thoughts_tokens",
    "cachedContentTokenCount": "cached_tokens",
    "toolUsePromptTokenCount": "tool_tokens",
    "totalTokenCount": "total_tokens",
}


class TestTokens:
    def test_every_count_that_the_sdk_knows_has_a_column(self) -> None:
        counts = {to_camel(name) for name in types.GenerateContentResponseUsageMetadata.model_fields if name.endswith("_count")}

        assert counts == set(COLUMN_BY_COUNT)
        assert set(COLUMN_BY_COUNT.values()) == set(TOKEN_COLUMNS)

    @pytest.mark.parametrize("form", ["plain", "as text", "snake_case", "media"])
    @pytest.mark.parametrize(("member", "column"), COLUMN_BY_COUNT.items())
    def test_each_count_arrives_in_its_column(self, member: str, column: str, form: str) -> None:
        count: Any = "7" if form == "as text" else 7
        name = to_snake(member) if form == "snake_case" else member
        part = {"inlineData": {"mimeType": "image/png", "data": "AA=="}} if form == "media" else {"text": "t"}

        read = answer(answered(part, usage={name: count}))

        assert {name: getattr(read, name) for name in TOKEN_COLUMNS} == {**dict.fromkeys(TOKEN_COLUMNS), column: 7}

    def test_the_columns_explain_the_total(self) -> None:
        usage = {"promptTokenCount": 100, "cachedContentTokenCount": 60, "toolUsePromptTokenCount": 2360,
                 "candidatesTokenCount": 40, "thoughtsTokenCount": 500, "totalTokenCount": 3000}  # fmt: skip

        read = answer(answered({"text": "t"}, usage=usage))

        parts = (read.prompt_tokens, read.tool_tokens, read.output_tokens, read.thoughts_tokens)
        assert sum(part or 0 for part in parts) == read.total_tokens


class TestRefusals:
    def test_the_reported_error_line(self) -> None:
        read = refusal(ERROR)

        assert (read.key, read.reason, read.code, read.status) == ("r7", Reason.REQUEST_ERROR, 13, "INTERNAL")
        assert read.message is not None
        assert read.message.startswith("An internal error has occurred.")
        assert read.retryable
        assert read.line == ERROR

    @pytest.mark.parametrize(("code", "status"), STATUS_BY_CODE.items())
    @pytest.mark.parametrize("member", ["error", "status"])
    def test_every_code_is_known_by_name(self, member: str, code: int, status: str) -> None:
        read = classify(json.dumps({"key": "k1", member: {"code": code, "message": "m"}}).encode())

        assert isinstance(read, Refusal)
        if code == 0:
            assert read.reason is Reason.EMPTY
        else:
            assert (read.reason, read.code, read.status) == (Reason.REQUEST_ERROR, code, status)
            assert read.retryable is STATUSES[status].retryable

    @pytest.mark.parametrize("code", [2, 4, 8, 10, 13, 14, 408, 429, 500, 502, 503, 504, 507, 529, "8"])
    def test_transient_codes_are_retryable(self, code: Any) -> None:
        assert refusal(json.dumps({"key": "k1", "error": {"code": code}}).encode()).retryable

    @pytest.mark.parametrize("code", [1, 3, 5, 6, 7, 9, 11, 12, 15, 16, 17, 99, 400, 401, 403, 404, 418, 499, 501, 900, -1, None])
    def test_other_and_unknown_codes_are_not(self, code: int | None) -> None:
        assert not refusal(json.dumps({"key": "k1", "error": {"code": code, "message": "m"}}).encode()).retryable

    def test_the_name_decides_where_the_code_has_two_meanings(self) -> None:
        assert refusal(b'{"key":"a","error":{"code":409,"status":"ABORTED"}}').retryable
        assert not refusal(b'{"key":"a","error":{"code":409,"status":"ALREADY_EXISTS"}}').retryable

    @pytest.mark.parametrize(
        ("raw", "code", "status", "message"),
        [
            (b'{"key":"a","error":"quota"}', None, None, "quota"),
            (b'{"key":"a","error":8}', 8, "RESOURCE_EXHAUSTED", None),
            (b'{"key":"a","error":["x"]}', None, None, '["x"]'),
            (b'{"key":"a","error":{"details":[1]}}', None, None, '{"details": [1]}'),
            (b'{"key":"a","error":{"code":"x","message":5}}', None, None, '{"code": "x", "message": 5}'),
            (b'{"key":"a","error":{"code":99999999999,"message":"m"}}', None, None, "m"),
            (b'{"key":"a","status":"UNAVAILABLE"}', 14, "UNAVAILABLE", None),
            (b'{"key":"a","response":{"error":{"code":3,"message":"m"}}}', 3, "INVALID_ARGUMENT", "m"),
            (b'{"key":"a","response":{"code":3,"message":"m"}}', 3, "INVALID_ARGUMENT", "m"),
            (rb'{"key":"a","error":{"code":3,"message":"\ud800"}}', 3, "INVALID_ARGUMENT", "\ufffd"),
        ],
    )
    def test_odd_errors_are_errors(self, raw: bytes, code: int | None, status: str | None, message: str | None) -> None:
        read = refusal(raw)

        assert (read.reason, read.code, read.status, read.message) == (Reason.REQUEST_ERROR, code, status, message)

    def test_an_error_beside_an_answer_is_believed(self) -> None:
        raw = SUCCESS[:-1] + b',"error":{"code":8}}'

        assert refusal(raw).reason is Reason.REQUEST_ERROR

    @pytest.mark.parametrize("finish_reason", sorted({*REASON_BY_FINISH, *(reason.value for reason in types.FinishReason)}))
    def test_every_finish_reason_of_the_sdk_is_in_the_table_and_none_is_a_result_by_accident(self, finish_reason: str) -> None:
        expected = REASON_BY_FINISH[finish_reason]

        read = classify(answered({"text": "partial"}, finish_reason=finish_reason))

        if expected is None:
            assert isinstance(read, Answer)
        else:
            assert isinstance(read, Refusal)
            assert (read.reason, read.status, read.code) == (expected, finish_reason, None)
            assert read.message

    @pytest.mark.parametrize("finish_reason", ["STOP", None, "FINISH_REASON_UNSPECIFIED", "A_NEW_ONE"])
    def test_a_candidate_without_content_is_empty(self, finish_reason: str | None) -> None:
        candidate = {"content": {"role": "model"}, "finishReason": finish_reason}

        read = refusal(line({"candidates": [candidate]}))

        assert (read.reason, read.status) == (Reason.EMPTY, finish_reason)

    def test_tokens_eaten_by_thinking_are_a_cut_answer_not_an_empty_one(self) -> None:
        assert refusal(answered(finish_reason="MAX_TOKENS")).reason is Reason.TRUNCATED

    def test_thoughts_alone_are_no_answer(self) -> None:
        assert refusal(answered({"text": "hm", "thought": True})).reason is Reason.EMPTY

    @pytest.mark.parametrize("block_reason", [reason.value for reason in types.BlockedReason])
    def test_a_blocked_prompt_has_no_candidates(self, block_reason: str) -> None:
        read = refusal(line({"promptFeedback": {"blockReason": block_reason}, "usageMetadata": {"promptTokenCount": 3}}))

        assert (read.reason, read.status, read.retryable) == (Reason.BLOCKED, block_reason, False)

    def test_the_services_own_words_are_the_message(self) -> None:
        candidate = {"finishReason": "SAFETY", "finishMessage": "because"}

        assert refusal(line({"candidates": [candidate]})).message == "because"

    @pytest.mark.parametrize(
        "raw",
        [
            b'{"key":"a"}',
            b'{"key":"a","response":null}',
            b'{"key":"a","response":{}}',
            b'{"key":"a","response":[]}',
            b'{"key":"a","response":5}',
            b'{"key":"a","response":{"candidates":[]}}',
            b'{"key":"a","response":{"candidates":{}}}',
            b'{"key":"a","response":{"candidates":[null]}}',
            b'{"key":"a","response":{"candidates":[{"content":[]}]}}',
            b'{"key":"a","response":{"candidates":[{"content":{"parts":[5]}}]}}',
            b'{"key":"a","response":{"candidates":[{"content":{"parts":[{"text":5}]}}]}}',
            b'{"key":"a","response":{"candidates":[{"content":{"parts":[{"text":""}]}}]}}',
        ],
    )
    def test_a_line_without_content_is_empty(self, raw: bytes) -> None:
        assert refusal(raw).reason is Reason.EMPTY


class TestGarbage:
    @pytest.mark.parametrize(
        ("raw", "key"),
        [
            (b'{"key":"a","response":{"candi', "a"),
            (b' { "key" : "a\\"b" , "resp', 'a"b'),
            (b'dates":[{"content":{}}]},"key":"a"}', "a"),
            (b'{"response":{"text":"x ,"key":"a"}', "a"),
            (b'{"key":"a","response":{"cand},"key":"a"}', "a"),
            (b'{"key":"a","response":{"cand},"key":"b"}', None),
            (b'{"key":"a', None),
            (b'{"key":"\\x","response":', None),
            (b'{"response":{"text":"say \\"key\\":\\"a\\"}', None),
            (b"not json", None),
            (b"", None),
            (b"[]", None),
            (b'"key"', None),
            (SUCCESS + SUCCESS[:-1], None),
        ],
    )
    def test_a_torn_line_has_a_key_only_where_it_is_certain(self, raw: bytes, key: str | None) -> None:
        assert garbage(raw).key == key

    def test_deep_nesting_is_garbage_not_a_crash(self) -> None:
        depth = 200_000

        read = garbage(b'{"key":"a","response":' + b"[" * depth + b"]" * depth + b"}")

        assert (read.key, read.message) == ("a", "nested too deeply to be read")


def test_retryable_is_settled_for_every_reason() -> None:
    assert set(RETRYABLE_BY_REASON) == set(Reason)
    assert {reason for reason in Reason if is_retryable(reason)} == {
        Reason.EMPTY,
        Reason.MALFORMED_LINE,
        Reason.MISSING,
        Reason.JOB_EXPIRED,
    }
    assert is_retryable(Reason.JOB_FAILED, 13)
    assert not is_retryable(Reason.JOB_FAILED, 3)
