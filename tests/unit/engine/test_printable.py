"""Texts from outside, as they are shown."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from airflow_gemini_batch.engine.printable import MASK, masked_bytes, printable, remember_key

KEY = "canary-key-0123456789-abcdef"


@given(st.text(st.characters(), max_size=50))
def test_any_text_becomes_one_line_that_acts_on_nothing(text: str) -> None:
    shown = printable(text)

    assert len(shown.splitlines()) <= 1
    shown.encode()
    assert not any(
        character in shown for character in "\x00\x07\x1b\x7f\x85\x9b\u061c\u200b\u200e\u200f\u2028\u202a\u202e\u2066\u2069\ufeff"
    )


@given(st.text(st.characters(categories=["L", "N", "P", "S", "Zs", "M"]), max_size=50))
def test_a_text_that_is_only_read_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


@given(st.text(max_size=20), st.text(max_size=20))
def test_a_key_is_masked_wherever_it_stands(before: str, after: str) -> None:
    remember_key(KEY)

    assert KEY not in printable(f"{before}{KEY}{after}{KEY.upper()}")
    assert MASK in printable(f"{before}{KEY}{after}")


def test_a_key_of_another_process_is_masked_by_its_form() -> None:
    assert printable("key=AIza" + "x" * 35) == f"key={MASK}"


def test_short_keys_are_not_taken_for_words() -> None:
    for key in ("any", "emulator"):
        remember_key(key)

    assert printable("not any more") == "not any more"
    assert masked_bytes(b"the emulator") == b"the emulator"


def test_the_content_of_a_file_keeps_its_length() -> None:
    remember_key(KEY)
    line = json.dumps({"error": {"message": KEY}}).encode()

    assert len(masked_bytes(line)) == len(line)
    assert KEY.encode() not in masked_bytes(line)
