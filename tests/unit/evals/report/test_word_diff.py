"""What two texts have in common, and what not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_gemini_batch.engine.report.excerpts import bytes_in_html, text_block
from airflow_gemini_batch.evals.report.word_diff import Diff, Piece, word_diff

ROOM = 3_000


def marked(pieces: tuple[Piece, ...]) -> str:
    """``[changed]``, ``<gap>``"""
    return "".join(f"[{each.text}]" if each.changed else f"<{each.text}>" if each.gap else each.text for each in pieces)


def both(diff: Diff) -> tuple[str, str]:
    return marked(diff.baseline), marked(diff.candidate)


@pytest.mark.parametrize(
    ("baseline", "candidate", "expected"),
    [
        ("It is Paris.", "It is Lyon, I think.", ("It is [Paris].", "It is [Lyon, I think].")),
        ("42", "43", ("[42]", "[43]")),
        ("about 1,204.5 m", "about 1,204.6 m", ("about [1,204.5] m", "about [1,204.6] m")),
        (
            '{"price":12,"label":"good"}',
            '{"price":12,"label":"bad"}',
            ('{"price":12,"label":"[good]"}', '{"price":12,"label":"[bad]"}'),
        ),
        ("日本の首都は東京です", "日本の首都は大阪です", ("日本の首都は[東京]です", "日本の首都は[大阪]です")),
        ("हिन्दी में उत्तर", "हिन्दी में प्रश्न", ("हिन्दी में [उत्तर]", "हिन्दी में [प्रश्न]")),
        ("I don't", "I do", ("I [don't]", "I [do]")),
        ("a  b\nc", "a b c", ("a  b\nc", "a b c")),
        ("", "new", ("", "[new]")),
        ("the same", "the same", ("the same", "the same")),
        ("snake_case", "snake_cases", ("snake_[case]", "snake_[cases]")),
    ],
)
def test_words_that_the_other_side_has_not_are_marked(baseline: str, candidate: str, expected: tuple[str, str]) -> None:
    assert both(word_diff(baseline, candidate, ROOM)) == expected


def test_texts_without_anything_in_common_are_not_marked() -> None:
    diff = word_diff("one two three four " * 5, "five six seven eight " * 5, ROOM)

    assert diff.rewritten
    assert not any(piece.changed for piece in (*diff.baseline, *diff.candidate))


def test_long_stretches_that_both_have_are_cut_around_what_differs() -> None:
    left, right = both(word_diff("same " * 90 + "left " + "tail " * 60, "same " * 90 + "right " + "tail " * 60, ROOM))

    assert left == "< … (390 equal characters) … >" + "same " * 12 + "[left] " + "tail " * 12 + "< … (240 equal characters) … >"
    assert right == left.replace("left", "right")


def test_what_follows_the_words_that_are_compared_is_compared_as_a_whole() -> None:
    begin = " ".join(f"w{number}" for number in range(300))

    same = word_diff(f"x {begin} end", f"y {begin} end", 100_000)
    other = word_diff(f"x {begin} end", f"y {begin} other end", 100_000)

    assert both(same)[0].startswith("[x] w0 ")
    assert [piece.text for piece in same.candidate if piece.changed] == ["y"]
    assert [piece.text for piece in other.candidate if piece.changed] == ["y", "w299 other end"]


def test_a_text_that_has_no_room_is_cut_and_counted() -> None:
    diff = word_diff("a " * 3 + "b " * 2_000, "c " * 3 + "b " * 2_000 + "d", 60)

    assert sum(bytes_in_html(piece.text) for piece in diff.baseline if not piece.gap) < 60 + 40
    assert "left out" in marked(diff.baseline) or "equal characters" in marked(diff.baseline)


@given(st.text(max_size=300), st.text(max_size=300))
def test_nothing_is_lost_and_nothing_is_equal_that_is_marked(baseline: str, candidate: str) -> None:
    diff = word_diff(baseline, candidate, 100_000)

    if not any(piece.gap for piece in (*diff.baseline, *diff.candidate)):
        assert "".join(piece.text for piece in diff.baseline) == text_block(baseline, 6_000)
        assert "".join(piece.text for piece in diff.candidate) == text_block(candidate, 6_000)
    unmarked = ["".join("".join(p.text for p in side if not (p.changed or p.gap)).split()) for side in diff[:2]]
    assert diff.rewritten or unmarked[0] == unmarked[1]


@given(st.text(max_size=2_000), st.text(max_size=2_000), st.integers(0, 2_000))
def test_each_side_keeps_to_its_room(baseline: str, candidate: str, room: int) -> None:
    diff = word_diff(baseline, candidate, room)

    for side in diff[:2]:
        words = sum(len(piece.text) for piece in side if piece.gap)
        assert sum(bytes_in_html(piece.text) for piece in side) <= room + words + len("… (99,999 characters left out) …") * 2 + 8


@pytest.mark.parametrize("text", ["a b " * 5_000, "x" * 100_000, " \n" * 50_000, ". " * 50_000, "ab" * 3 + "\x1b" * 9_000])
def test_of_a_very_long_text_a_part_is_looked_at(text: str) -> None:
    diff = word_diff(text, text[1:] + "end", ROOM)

    assert sum(len(piece.text) for side in diff[:2] for piece in side) < 2 * ROOM + 200
