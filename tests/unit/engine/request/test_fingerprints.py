"""Which requests have the same fingerprint."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_gemini_batch.engine.arrow.columns import large_binaries
from airflow_gemini_batch.engine.request.fingerprints import Fingerprinter, canonical

RAW = {"column": "request"}

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def fingerprint(request: str, model: str = "gemini-3.6-flash", spec: dict[str, Any] = RAW) -> bytes:
    return Fingerprinter(model, spec).of(large_binaries([request.encode(errors="surrogatepass")]))


def shuffled(value: Any, dice: random.Random) -> Any:
    if isinstance(value, dict):
        members = [(key, shuffled(inner, dice)) for key, inner in value.items()]
        dice.shuffle(members)
        return dict(members)
    return [shuffled(inner, dice) for inner in value] if isinstance(value, list) else value


@given(st.dictionaries(st.text(), values, max_size=5), st.randoms(use_true_random=False), st.booleans(), st.booleans())
def test_order_spaces_and_escapes_make_no_difference(
    request: dict[str, Any], dice: random.Random, ascii: bool, wide: bool
) -> None:
    other = json.dumps(shuffled(request, dice), ensure_ascii=ascii, indent=2 if wide else None)

    assert fingerprint(other) == fingerprint(json.dumps(request))


@given(values, values)
def test_other_values_have_another_form(one: Any, other: Any) -> None:
    forms = canonical(json.dumps({"a": one}).encode()), canonical(json.dumps({"a": other}).encode())

    assert (forms[0] == forms[1]) == (json.loads(forms[0]) == json.loads(forms[1]) and repr(as_json(one)) == repr(as_json(other)))


def as_json(value: Any) -> Any:
    """With the members of objects sorted and whole floats as integers, so that ``repr`` tells True from 1."""
    if isinstance(value, dict):
        return {key: as_json(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [as_json(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('{"a":1}', '{"a":1.0}'), ('{"a":100}', '{"a":1e2}'), ('{"a":0.5}', '{"a":5E-1}'), ('{"a":0}', '{"a":-0.0}'),
        ('{"a":0.10}', '{"a":0.1}'), ('{"a":"é"}', '{"a":"\\u00e9"}'), ('{"a":"/"}', '{"a":"\\/"}'),
    ],
)  # fmt: skip
def test_what_json_says_is_equal_is_equal(one: str, other: str) -> None:
    assert fingerprint(one) == fingerprint(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('{"a":1}', '{"a":"1"}'), ('{"a":1}', '{"a":true}'), ('{"a":null}', "{}"), ('{"a":[]}', '{"a":{}}'),
        ('{"a":[1,2]}', '{"a":[2,1]}'), ('{"a":1,"a":2}', '{"a":2}'), ('{"a":9007199254740993.0}', '{"a":9007199254740992.0}'),
        ('{"a":1e400}', '{"a":1e500}'), ('{"a":"\\ud83d"}', '{"a":"\\ud83e"}'),
    ],
)  # fmt: skip
def test_what_json_says_differs_differs(one: str, other: str) -> None:
    assert fingerprint(one) != fingerprint(other)


def test_the_model_counts_and_its_prefix_does_not() -> None:
    assert fingerprint("{}", "models/gemini-3.6-flash") == fingerprint("{}", "gemini-3.6-flash")
    assert fingerprint("{}", "gemini-3.6-pro") != fingerprint("{}", "gemini-3.6-flash")


def test_each_row_has_its_own_and_a_row_without_a_request_has_room_for_one() -> None:
    both = Fingerprinter("m", RAW).of(large_binaries([b'{"a":1}', None, b'{"a":2}']))

    assert both[:32] == fingerprint('{"a":1}', "m")
    assert len(both) == 96
    assert both[64:] == fingerprint('{"a":2}', "m")
