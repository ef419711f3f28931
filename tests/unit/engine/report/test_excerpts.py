"""Texts of rows as a page shows them: of a bounded size, and harmless."""

from __future__ import annotations

import unicodedata

import markupsafe
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_gemini_batch.engine.report.excerpts import bytes_in_html, excerpt, text_block

ANY_TEXT = st.one_of(
    st.text(st.characters(), max_size=300),
    st.text("<>&\"'\x00\x1b\u202e\ud800\U000e0001a", max_size=300),
)


@given(ANY_TEXT, st.integers(10, 200))
def test_an_excerpt_takes_no_more_than_its_room(text: str, room: int) -> None:
    for shown in (excerpt(text, room), text_block(text, room)):
        left_out = len("… (1,234 characters left out) …".encode())

        assert len(str(markupsafe.escape(shown)).encode()) <= room + left_out
        assert {unicodedata.category(one) for one in shown} - {"Cc"} & {"Cf", "Cs", "Zl", "Zp"} == set()
        assert {one for one in shown if unicodedata.category(one) == "Cc"} <= {"\n", "\t"}


@given(ANY_TEXT)
def test_the_size_is_that_of_the_html(text: str) -> None:
    shown = excerpt(text, 10_000)

    assert bytes_in_html(shown) == len(str(markupsafe.escape(shown)).encode())


def test_a_short_text_is_whole() -> None:
    assert excerpt("Grüße, 世界", 100) == "Grüße, 世界"
    assert text_block("a\r\n\tb\x1b[2J", 100) == "a\n\tb\\x1b[2J"
    assert excerpt("a\nb", 100) == "a\\nb"


def test_a_long_text_shows_its_beginning_and_its_end() -> None:
    shown = excerpt("head " + "x" * 5000 + " tail", 100)

    assert shown.startswith("head xxx")
    assert shown.endswith("xxx tail")
    assert "… (4,910 characters left out) …" in shown


@pytest.mark.parametrize("before", [0, 10, 40, 59, 70])
def test_no_part_of_an_api_key_remains_where_a_text_is_cut(before: int) -> None:
    key = "AIza" + "0123456789abcdefghijklmnopqrstuvwxy"

    shown = excerpt("-" * before + key + "-" * 500, 100)

    assert "0123456789" not in shown
