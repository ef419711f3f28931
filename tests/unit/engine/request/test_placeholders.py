"""The grammar of ``${column}``."""

from __future__ import annotations

import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.request.placeholders import Template, parse


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
