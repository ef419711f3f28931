"""Texts that Arrow parses together have the values that they have one by one, whatever Arrow makes of them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_gemini_batch.engine.response.answer_columns import Answers
from airflow_gemini_batch.engine.response.extras import completed
from airflow_gemini_batch.engine.response.responses import Answer
from airflow_gemini_batch.engine.response.structured import ParsedColumn

SCHEMA: dict[str, Any] = {
    "$defs": {
        "Tone": {"type": "string", "enum": ["good", "bad"], "title": "Tone"},
        "Item": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "price": {"anyOf": [{"type": "number"}, {"type": "null"}]}},
            "required": ["name"],
            "additionalProperties": False,
        },
    },
    "type": "object",
    "properties": {
        "tone": {"$ref": "#/$defs/Tone", "description": "how it sounds"},
        "score": {"type": "number", "minimum": -1, "exclusiveMaximum": 1.5, "format": "double"},
        "count": {"type": "integer", "maximum": 1000},
        "free": {"type": "integer"},
        "sure": {"type": "boolean"},
        "items": {"type": "array", "items": {"$ref": "#/$defs/Item"}, "maxItems": 3},
        "mood": {"type": ["string", "null"], "enum": ["calm", None]},
        "note": {"type": "string", "nullable": True},
        "rows": {"type": "array", "items": {"type": "array", "items": {"type": ["integer", "null"]}}},
    },
    "required": ["tone", "score", "items", "note"],
}
GOOD: dict[str, Any] = {
    "tone": "good",
    "score": 0.25,
    "count": 7,
    "free": 2**62,
    "sure": True,
    "items": [{"name": "pen", "price": 2}, {"name": "é 😀 \n \0", "price": None}, {"name": ""}],
    "mood": "calm",
    "note": "x",
    "rows": [[1, None], []],
}
PLAIN = json.dumps(GOOD, ensure_ascii=False)


def changed(**members: Any) -> str:
    return json.dumps({**GOOD, **members})


def without(*names: str) -> str:
    return json.dumps({name: value for name, value in GOOD.items() if name not in names})


TEXTS: list[str | None] = [
    PLAIN,
    json.dumps(GOOD, indent=2),
    f"```json\n{PLAIN}\n```",
    f"\n {PLAIN}\t\r\n",
    PLAIN + PLAIN,
    PLAIN + "\n" + PLAIN,
    PLAIN[:-1],
    PLAIN[: len(PLAIN) // 2],
    PLAIN + "x",
    "\ufeff" + PLAIN,
    "",
    None,
    "null",
    " null",
    "[]",
    "7",
    "{}",
    f"[{PLAIN}]",
    *(without(name) for name in GOOD),
    *(changed(**{name: None}) for name in GOOD),
    *(changed(tone=tone) for tone in ("", "fine", 7, "Good", ["good"])),
    *(changed(score=score) for score in (-1, -1.0000001, 1.5, 1.4999999, 0, -0.0, True, "0", 10**400, [])),
    *(PLAIN.replace("0.25", text) for text in ("-0", "-0.0", "1e0", "1e-999", "1e999", "0.1e1", "NaN", "Infinity", "-Inf", "00",
                                               "0." + "3" * 400, "0.1234567890123456789", "5e-324", "1.", ".5", "+1"))
    ,
    *(changed(count=count) for count in (1000, 1001, -(2**63), -(2**63) - 1, 1.0, 1.5, True, "1")),
    *(changed(free=free) for free in (2**63 - 1, 2**63, 2**64, 1e3)),
    *(PLAIN.replace(": 7,", f": {text},") for text in ("-0", "7e0", "7.0", "0007")),
    *(changed(sure=sure) for sure in (False, 1, "true")),
    *(changed(items=items) for items in ([], {}, [None], [{}], [{"name": None}], [{"name": "a"}] * 3, [{"name": "a"}] * 4,
                                         [{"name": "a", "colour": "red"}], [{"name": 1}], ["a"], "a"))
    ,
    *(changed(mood=mood) for mood in ("cold", "")),
    *(changed(rows=rows) for rows in ([], [[]], [None], [[1.0]], [[[]]], [1])),
    changed(more=1),
    changed(more={"deep": [1, {"a": "b"}]}),
    changed(Tone="good"),
    PLAIN[:-1] + ', "x": 1e999}',
    PLAIN[:-1] + ', "x": ' + "[" * 3000 + "]" * 3000 + "}",
    PLAIN[:-1] + ', "tone": "bad"}',
    PLAIN[:-1] + r', "t\u006fne": "bad"}',
    PLAIN.replace('"tone"', r'"t\u006fne"'),
    PLAIN.replace("pen", r"p\u00e9n \/ \ud83d\ude00"),
    PLAIN.replace("pen", r"p\ud800n"),
    PLAIN.replace("pen", r"p\uDC00n"),
    PLAIN.replace("pen", r"p\udc00\ud800n"),
    PLAIN.replace("pen", r"p\ud800\ud800n"),
    PLAIN.replace("pen", r"p\ud800\u0041n"),
    PLAIN.replace("pen", r"p\udbff\udfffn"),
    PLAIN.replace("pen", r"p\\udc00n"),
    PLAIN.replace("pen", r"p\u0000n"),
    PLAIN.replace("pen", "p\nn"),
    PLAIN.replace("pen", "p\x00n"),
    PLAIN.replace("pen", "p\x7f\u2028\u0085n"),
    PLAIN.replace("pen", r"p\xn"),
    PLAIN.replace('"pen"', "'pen'"),
    PLAIN.replace(": true", ": tru"),
    PLAIN.replace(": true", ": True"),
    PLAIN.replace(", ", ", /* more */ ", 1),
    PLAIN[:-1] + ",}",
]  # fmt: skip


def check(texts: list[str | None], schema: dict[str, Any] = SCHEMA) -> Any:
    """Returns which texts Arrow has left."""
    column = ParsedColumn(schema)
    answers = [Answer("k", b"{}", text) for text in texts]
    one_by_one = [column.read([answer]) for answer in answers]
    assert column.texts is not None
    together = Answers.of(answers).with_parsed(column.texts)

    array, problems = completed(column, together)

    array.validate(full=True)
    assert array.type == column.type
    assert repr(array.to_pylist()) == repr([one[0].as_py() for one, _ in one_by_one])  # -0.0 is not 0.0
    assert problems == {place: found[0] for place, (_, found) in enumerate(one_by_one) if found}
    assert together.ahead is not None
    return together.ahead.is_null().to_pylist()


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_has_the_same_value_alone_and_between_good_ones(text: str | None) -> None:
    check([text])
    check([PLAIN, text, PLAIN])


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(texts=st.lists(st.sampled_from([PLAIN, PLAIN, PLAIN, *TEXTS]), max_size=8))
def test_any_texts_have_together_the_values_that_they_have_one_by_one(texts: list[str | None]) -> None:
    check(texts)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(
    members=st.lists(st.dictionaries(st.sampled_from(sorted(GOOD)), JSON, max_size=2), max_size=4),
    ascii=st.booleans(),
    cut=st.integers(0, 20),
)
def test_any_values_are_the_same(members: list[dict[str, Any]], ascii: bool, cut: int) -> None:
    texts = [json.dumps({**GOOD, **one}, ensure_ascii=ascii) for one in members]
    check([*texts, PLAIN[: len(PLAIN) - cut]])


@settings(deadline=None, max_examples=100)
@given(scores=st.lists(st.floats(-1, 1), min_size=1), names=st.lists(st.text(), max_size=3))
def test_numbers_and_texts_are_taken_exactly(scores: list[float], names: list[str]) -> None:
    check([json.dumps({**GOOD, "score": score, "items": [{"name": name} for name in names]}) for score in scores])


def test_bad_texts_are_left_and_slow_down_no_other() -> None:
    left = check(
        [PLAIN, PLAIN[:50], changed(tone="fine"), json.dumps(GOOD, indent=1), without("sure"), f"```\n{PLAIN}\n```", None]
    )

    assert left == [False, True, True, False, True, True, True]


@pytest.mark.parametrize(
    "more",
    [
        {"pattern": "a"},
        {"minLength": 1},
        {"format": "email"},
        {"format": "date"},
        {"type": ["string", "integer"]},
        {"enum": ["a", 1]},
        {"const": "a"},
        {"type": "object"},
        {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
        {"type": "array"},
        {"type": "number", "multipleOf": 0.5},
        {"type": "number", "maximum": 2**60 + 1},
        {"type": "object", "additionalProperties": {"type": "string"}},
    ],
)
def test_what_is_not_checked_here_is_left_to_the_validator(more: dict[str, Any]) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", **more}}}

    assert ParsedColumn(schema).texts is None


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["b"]},
        {"type": "object", "properties": {"a": {"type": "string"}}, "minProperties": 1},
        {"type": ["object", "null"], "properties": {"a": {"type": "string"}}},
        {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "properties": {"a": {"type": "string"}}},
        {"type": "object", "properties": {"a": {"$ref": "#"}}},
        {"type": "string"},
    ],
)
def test_so_is_a_whole_answer(schema: dict[str, Any]) -> None:
    assert ParsedColumn(schema).texts is None


def test_a_bare_word_is_no_json() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}

    assert ParsedColumn(schema, is_json=False).texts is None
