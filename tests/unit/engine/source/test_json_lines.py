"""JSON Lines have the types of the whole file, whatever its first block holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_gemini_batch.engine.arrow.texts import texts
from airflow_gemini_batch.engine.arrow.values import NoText
from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.source import json_lines
from airflow_gemini_batch.engine.source.open import open_source


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A block holds about one line."""
    monkeypatch.setattr(json_lines, "BLOCK_BYTES", 16)


def read(tmp_path: Path, lines: list[Any]) -> list[Any]:
    """The values of the column ``a``."""
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"a": value, "n": 1}) + "\n" for value in lines))
    return [row["a"] for batch in open_source(tmp_path / "a.jsonl").batches(["a", "n"]) for row in batch.to_pylist()]


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ([{"x": 1}, {"x": 2, "late": "y"}], [{"x": 1, "late": None}, {"x": 2, "late": "y"}]),
        ([[{"x": 1}], [{"late": "y"}]], [[{"x": 1, "late": None}], [{"x": None, "late": "y"}]]),
        ([{"x": {}}, {"x": {"late": [1]}}], [{"x": {"late": None}}, {"x": {"late": [1]}}]),
        ([None, "text"], [None, "text"]),
        ([[], ["text"]], [[], ["text"]]),
        ([[], [{"x": 1}]], [[], [{"x": 1}]]),
        ([[None], [1]], [[None], [1]]),
        ([1, 0.5], [1.0, 0.5]),
        ([{"x": 1}, {"x": 0.5}], [{"x": 1.0}, {"x": 0.5}]),
        ([1, "text"], ["1", "text"]),
        ([True, 1], ["true", "1"]),
        ([[], "text"], ["[]", "text"]),
        ([{"x": 1}, {"x": "text"}], ['{"x": 1}', '{"x": "text"}']),
        ([{"x": 1}, [1], None, 1.5], ['{"x": 1}', "[1]", None, "1.5"]),
        ([[1, "text"]], ['[1, "text"]']),
        (["2026-01-02", "text", None], ["2026-01-02", "text", None]),
        (["2026-01-02 00:00:00"], ["2026-01-02 00:00:00"]),
        ([None, None], [None, None]),
    ],
    ids=str,
)
@pytest.mark.parametrize("step", [1, -1], ids=["forward", "backward"])
def test_values_of_later_lines_count_as_those_of_the_first(tmp_path: Path, lines: list[Any], found: list[Any], step: int) -> None:
    assert [as_set(value) for value in read(tmp_path, lines[::step])] == [as_set(value) for value in found[::step]]


def as_set(value: Any) -> Any:
    """Without the order of fields, which is that of their first appearance."""
    return json.dumps(value, sort_keys=True)


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**50), 2**50)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(values, max_size=8))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_values_are_read_without_a_loss(tmp_path: Path, lines: list[Any]) -> None:
    if not lines:
        return
    for value, found in zip(lines, read(tmp_path, lines), strict=True):
        is_json = isinstance(found, str) and not isinstance(value, str)
        assert without_nulls(json.loads(found) if is_json else found) == without_nulls(value)


def without_nulls(value: Any) -> Any:
    """A struct has every field in every row."""
    if isinstance(value, dict):
        return {name: without_nulls(inner) for name, inner in value.items() if without_nulls(inner) not in (None, {})}
    return [without_nulls(inner) or None for inner in value] if isinstance(value, list) else value


def test_a_lone_surrogate_concerns_its_own_row_alone(tmp_path: Path) -> None:
    lines = [
        r'{"a":"cut \ud83d"}',
        r'{"a":"\ud83d\ude00 \n"}',
        r'{"a":"\\ud83d"}',
        r'{"a":"cut \ude00","b":"\udfff"}',
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))

    written = [text for batch in open_source(tmp_path / "a.jsonl").batches(["a"]) for text in texts(batch.column(0))]

    assert [text if isinstance(text, str) else type(text) for text in written] == [NoText, "\U0001f600 \n", r"\ud83d", NoText]


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_utf16_is_said_by_name(tmp_path: Path, name: str, encoding: str) -> None:
    (tmp_path / name).write_bytes('{"a": 1}\n'.encode(encoding))

    with pytest.raises(InputError, match=r"is in UTF-16 or UTF-32; expected UTF-8\. Convert it"):
        open_source(tmp_path / name)


def test_a_mark_of_utf8_is_not_part_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n', encoding="utf-8-sig")

    assert open_source(tmp_path / "a.jsonl").schema.names == ["a"]
