"""The grammar of ``${column}``, and how a column that is not there is reported."""

from __future__ import annotations

import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.request.placeholders import Template, parse, require_columns


@pytest.mark.parametrize(
    ("text", "texts", "columns"),
    [
        ("plain", ("plain",), ()),
        ("${a}", ("", ""), ("a",)),
        ("x ${a} y ${b}", ("x ", " y ", ""), ("a", "b")),
        ("${a}${a}", ("", "", ""), ("a", "a")),
        ("$name!", ("", "!"), ("name",)),
        ("${my column.v2}", ("", ""), ("my column.v2",)),
        ("$$ and $${a}", ("$ and ${a}",), ()),
        ("it costs $5, or 5$", ("it costs $5, or 5$",), ()),
        ('{"a": {{ b }}}', ('{"a": {{ b }}}',), ()),
        ("$é", ("$é",), ()),
    ],
)
def test_a_text_is_cut_at_its_placeholders(text: str, texts: tuple[str, ...], columns: tuple[str, ...]) -> None:
    assert parse(text, argument="prompt") == Template(texts, columns)


@pytest.mark.parametrize("text", ["${}", "tell ${text", "${{x}}"])
def test_a_placeholder_that_names_no_column_is_an_error_that_shows_it(text: str) -> None:
    with pytest.raises(InputError, match=r"prompt has a placeholder that names no column.*\$\{"):
        parse(text, argument="prompt")


@given(st.lists(st.sampled_from(["${a}", "$a ", "${b}", "$$", "text ", "é\n", "{", "}", '"'])), st.text(), st.text())
def test_filling_agrees_with_string_template(pieces: list[str], a: str, b: str) -> None:
    text = "".join(pieces)
    row: dict[str, Any] = {"a": a, "b": b}

    template = parse(text, argument="prompt")

    values = [*(row[column] for column in template.columns), ""]
    filled = "".join(part + value for part, value in zip(template.texts, values, strict=True))
    assert filled == string.Template(text).substitute(row)


def test_a_missing_column_is_reported_with_the_nearest_spelling_first() -> None:
    with pytest.raises(InputError, match=r"prompt names a column .*: 'txt'\. It has: 'text', 'id', 'lang'"):
        require_columns(["txt"], ["id", "lang", "text"], by="prompt")


def test_all_missing_columns_are_named_at_once() -> None:
    with pytest.raises(InputError, match="columns that the source does not have: 'a', 'b'"):
        require_columns(["a", "id", "b", "a"], ["id"], by="carry")


def test_a_source_without_any_column_is_told_so() -> None:
    with pytest.raises(InputError, match=r"that the source does not have: 'id'\. It has: no columns"):
        require_columns(["id"], [], by="key")
