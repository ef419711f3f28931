"""Two questions are compared field by field, and a long text is shown around the place where it differs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_gemini_batch.engine.build.differences import describe_differences

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), json_values), st.dictionaries(st.text(), json_values))
def test_there_is_a_difference_exactly_where_values_differ(was: dict[str, object], now: dict[str, object]) -> None:
    assert bool(describe_differences(was, now)) == (
        repr(sorted(was.items())) != repr(sorted(now.items())) and not _same(was, now)
    )


def _same(was: object, now: object) -> bool:
    if isinstance(was, dict) and isinstance(now, dict):
        return was.keys() == now.keys() and all(_same(was[name], now[name]) for name in was)
    if isinstance(was, list) and isinstance(now, list):
        return len(was) == len(now) and all(map(_same, was, now))
    return type(was) is type(now) and was == now


@pytest.mark.parametrize(
    ("was", "now", "said"),
    [
        ({"model": "a"}, {"model": "b"}, "model is 'a', this call has 'b'"),
        ({"a": {"b": [1, {"c": 2}]}}, {"a": {"b": [1, {"c": 3}]}}, "a.b[1].c is 2, this call has 3"),
        ({"a": {}}, {"a": {"temperature": 0.5}}, "a.temperature is absent, this call has 0.5"),
        ({"carry": ["x"]}, {"carry": ["x", "y"]}, "carry is ['x'], this call has ['x', 'y']"),
        ({"key": None}, {"key": "id"}, "key is None, this call has 'id'"),
        ({"a": 1}, {"a": True}, "a is 1, this call has True"),
    ],
)
def test_the_place_is_named(was: dict[str, object], now: dict[str, object], said: str) -> None:
    assert describe_differences(was, now) == [said]


def test_a_long_text_is_shown_around_its_first_difference() -> None:
    [said] = describe_differences({"prompt": "p" * 500 + "old" + "q" * 500}, {"prompt": "p" * 500 + "new" + "q" * 500})

    assert "pppold" in said
    assert "pppnew" in said
    assert len(said) < 300


def test_of_many_differences_three_are_shown() -> None:
    said = describe_differences({str(n): 0 for n in range(9)}, {str(n): 1 for n in range(9)})

    assert len(said) == 4
    assert said[-1] == "and 6 more"
