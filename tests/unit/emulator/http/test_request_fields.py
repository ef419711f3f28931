"""Which input lines are accepted at create, and the errors for the others."""

from __future__ import annotations

import json

import pytest

from airflow_gemini_batch.emulator.batches.input_file import check
from airflow_gemini_batch.emulator.http.bodies import from_json
from airflow_gemini_batch.emulator.http.refusals import Refusal
from airflow_gemini_batch.emulator.http.request_fields import field_problems
from airflow_gemini_batch.emulator.proto_json import bytes_of, get, get_int, get_list


@pytest.mark.parametrize(
    ("request_body", "unknown"),
    [
        ({"contents": [{"parts": [{"text": "x"}]}]}, []),
        ({"contents": [{"parts": [{"txt": "x"}]}]}, ["txt"]),
        ({"generation_config": {"topK": 1, "top_p": 1}}, []),
        ({"generationConfig": {"top_q": 1}}, ["top_q"]),
        ({"thinkingConfig": {}, "colour": 1}, ["thinkingConfig", "colour"]),
        ({"generationConfig": {"responseSchema": {"type": "OBJECT", "properties": {"top_q": {"type": "STRING"}}}}}, []),
        ({"generationConfig": {"responseSchema": {"properties": {"a": {"tipe": "STRING"}}}}}, ["tipe"]),
        ({"generationConfig": {"responseJsonSchema": {"anything": 1}}}, []),
    ],
)
def test_unknown_fields_are_found_at_every_depth(request_body, unknown):
    assert [problem.field for problem in field_problems(request_body, "GenerateContentRequest")] == unknown


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ({"key": 1, "request": {"contents": []}}, "invalid value for string field key: 1"),
        ({"key": "a", "request": {"contents": []}, "extra": 1}, "no such field: 'extra'"),
        ({"key": "a"}, "request is missing"),
        ({"custom_id": "a", "body": {}}, "no such field: 'custom_id'"),
        ([], "a line must be a JSON object"),
    ],
)
def test_a_bad_line_is_explained(tmp_path, line, complaint):
    (tmp_path / "in").write_text(json.dumps(line) + "\n")

    with pytest.raises(Refusal, match="Error on line 1: invalid JSON, near column") as caught:
        check(tmp_path / "in", "generate")
    assert complaint in str(caught.value)


def test_fields_are_read_in_either_spelling():
    assert get({"displayName": "a"}, "displayName") == get({"display_name": "a"}, "displayName") == "a"
    assert get({"displayName": None}, "displayName", "b") == "b"
    assert get_int({"size_bytes": "5"}, "sizeBytes") == 5
    assert get_list({"parts": {"text": "x"}}, "parts") == [{"text": "x"}]


def test_both_base64_alphabets_are_read():
    assert bytes_of("-_8=") == bytes_of("+/8") == b"\xfb\xff"


def test_lone_surrogates_are_read_and_nan_is_not():
    assert from_json(b'"\\ud800"') == "\ud800"
    with pytest.raises(ValueError, match="NaN"):
        from_json(b"NaN")
