"""Fields of structured answers as numbers: equal where the values are equal, and nowhere else."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_gemini_batch.evals.comparing.fields import fields_of, numbers_of, paths_of

TYPE = pa.struct(
    [
        pa.field("name", pa.string()),
        pa.field("price", pa.float64()),
        pa.field("lines", pa.list_(pa.struct([pa.field("sku", pa.string()), pa.field("sizes", pa.list_(pa.int64()))]))),
        pa.field("extras", pa.map_(pa.string(), pa.int64())),
    ]
)
PATHS = ["name", "price", "lines[].sku", "lines[].sizes[]", "extras"]

LINE = st.fixed_dictionaries(
    {"sku": st.sampled_from([None, "", "a", "b"]), "sizes": st.one_of(st.none(), st.lists(st.integers(-2, 2), max_size=3))}
)
ANSWER = st.one_of(
    st.none(),
    st.fixed_dictionaries(
        {
            "name": st.sampled_from([None, "", "x", "None"]),
            "price": st.sampled_from([None, 0.0, 1.0, -1.0, -2.0, 0.5]),
            "lines": st.one_of(st.none(), st.lists(LINE, max_size=3)),
            "extras": st.sampled_from([None, [], [("a", 1)], [("a", 1), ("b", 2)], [("b", 2), ("a", 1)]]),
        }
    ),
)


def numbers(answers: list[Any], type: pa.DataType = TYPE) -> dict[str, list[int]]:
    paths = list(paths_of(type))
    return {path: column.to_pylist() for path, column in zip(paths, numbers_of(pa.array(answers, type), paths), strict=True)}


def value_at(answer: Any, path: str) -> Any:
    """What the field holds, in a form that can be compared: None where there is no value."""
    if answer is None:
        return None
    if path == "extras":
        return None if answer["extras"] is None else json.dumps(sorted(answer["extras"]))
    if not path.startswith("lines[]"):
        return answer[path]
    if answer["lines"] is None:
        return None
    name = "sku" if path.endswith("sku") else "sizes"
    return json.dumps([line if line is None else line[name] for line in answer["lines"]])


def test_the_paths_of_a_type_are_its_fields() -> None:
    assert list(paths_of(TYPE)) == PATHS
    assert list(paths_of(pa.string())) == ["parsed"]
    assert list(paths_of(pa.list_(pa.int64()))) == ["[]"]
    assert fields_of([pa.schema([("text", pa.string())])]) == ()
    assert fields_of(
        [pa.schema([("parsed", TYPE)]), pa.schema([("parsed", pa.struct([("name", pa.string()), ("new", pa.int64())]))])]
    ) == (
        *PATHS,
        "new",
    )


@given(answers=st.lists(ANSWER, min_size=1, max_size=8))
def test_numbers_are_equal_where_and_only_where_values_are(answers: list[Any]) -> None:
    found = numbers(answers)

    for path in PATHS:
        values = [value_at(answer, path) for answer in answers]
        assert [number == 0 for number in found[path]] == [value is None for value in values], path
        for first, one in zip(values, found[path], strict=True):
            for second, other in zip(values, found[path], strict=True):
                assert (first == second) == (one == other), (path, first, second)


@given(answers=st.lists(ANSWER, min_size=1, max_size=8), start=st.integers(0, 7))
def test_a_slice_of_a_column_has_the_same_numbers(answers: list[Any], start: int) -> None:
    part = pa.array(answers, TYPE).slice(start)

    for whole, sliced in zip(numbers_of(pa.array(answers, TYPE), PATHS), numbers_of(part, PATHS), strict=True):
        assert whole.to_pylist()[start:] == sliced.to_pylist()


@pytest.mark.parametrize(("one", "other"), [(pa.int64(), pa.float64()), (pa.string(), pa.large_string())])
def test_a_changed_type_does_not_make_equal_values_differ(one: pa.DataType, other: pa.DataType) -> None:
    values = [1, 2, None] if pa.types.is_integer(one) else ["a", "", None]

    assert numbers(values, one) == numbers(values, other)


def test_a_field_that_a_run_does_not_have_has_no_value() -> None:
    [name, other] = numbers_of(pa.array([{"name": "x"}], pa.struct([("name", pa.string())])), ["name", "other"])

    assert name[0].as_py() > 0
    assert other.to_pylist() == [0]
