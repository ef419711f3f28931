"""Whatever a comparison holds, its page is small and harmless."""

from __future__ import annotations

import math
import re
from typing import Literal

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_gemini_batch.evals.comparison import (
    AmountComparison,
    Answer,
    Bounds,
    Changed,
    Comparison,
    Example,
    FieldComparison,
    GateResult,
    KeyCounts,
    ScorerComparison,
    Side,
    Slice,
)
from airflow_gemini_batch.evals.report.comparison_page import MOST_BYTES, comparison_page
from tests import comparisons
from tests.comparisons import accuracy, comparison, run, scorer
from tests.markup import EVIL, Markup, require_harmless

TEXTS = st.one_of(st.just(EVIL), st.text(max_size=60), st.just("x" * 50_000))


def drawn(made: Comparison) -> Markup:
    return require_harmless(comparison_page(made).encode(), MOST_BYTES)


CHANGES: tuple[Literal["regressed", "improved"], ...] = ("regressed", "improved")


def long_examples(count: int, text: str) -> tuple[Example, ...]:
    answers = Answer(0.0, text + "a"), Answer(1.0, "b" + text)
    carried = {"question": text, "other": text}
    return tuple(
        Example(f"key-{n}", "accuracy", "regressed" if n % 2 else "improved", 1.0, *answers, text, carried) for n in range(count)
    )


def test_a_page_of_200_examples_of_usual_length_has_all_of_them_whole() -> None:
    made = comparison(examples=comparisons.examples(100, 100))

    page = comparison_page(made)

    assert len(page.encode()) < MOST_BYTES / 2
    assert page.count('<details class="example"') == 200
    assert "left out" not in page
    assert "usual length" not in page


def test_a_page_of_as_many_examples_as_compare_chooses_shows_answers_of_2000_characters_around_what_differs() -> None:
    words = " ".join(f"word{number}" for number in range(200))
    answers = [f"{words} {word} {words}"[:2_000] for word in ("old", "new")]
    examples = [
        Example(f"k{number}", "accuracy", change, 1.0, Answer(0.0, answers[0]), Answer(1.0, answers[1]))
        for change in CHANGES
        for number in range(50)
    ]

    page = comparison_page(comparison(examples=tuple(examples)))

    assert len(page.encode()) < MOST_BYTES
    assert (page.count("<del>old</del>"), page.count("<ins>new</ins>")) == (100, 100)
    assert "usual length" not in page


def test_of_more_examples_the_first_of_each_side_are_shown_and_the_rest_counted() -> None:
    page = comparison_page(comparison(examples=comparisons.examples(300, 150)))

    assert page.count('<details class="example"') == 200
    assert "Not shown: 200 more examples" in page
    assert "Not shown: 50 more examples" in page


def test_what_one_side_does_not_need_the_other_has() -> None:
    page = comparison_page(comparison(examples=comparisons.examples(300, 20)))

    assert page.count('<details class="example"') == 200


@pytest.mark.parametrize("text", ["<\x1b&" * 20_000, "a b " * 20_000, "\U000e0001" * 20_000, "'\"" * 40_000])
def test_a_page_of_huge_texts_and_lists_is_small_and_says_what_is_left_out(text: str) -> None:
    other = text[:5_000]
    made = comparison(
        examples=long_examples(1_000, text),
        scorers=tuple(accuracy_with(f"{number}{other}", text) for number in range(200)),
        slices=tuple(
            Slice(other, f"{n}{text}", "accuracy", 1, 0.1, 0.2, 0.1, (0.0, 0.2), 1, 1, warnings=(text,) * 9) for n in range(999)
        ),
        fields=tuple(FieldComparison(f"{n}{text}", 1, 1, 0, 0, 0) for n in range(999)),
        changed=tuple(Changed(f"{n}{other}", text, "x" + text) for n in range(200)),
        amounts=tuple(AmountComparison(f"{n}{other}", 1, 2, 3, 1, 2, 2.0, (1.5, 2.5), 0.1, text) for n in range(99)),
        warnings=(text,) * 300,
        words=(text,) * 300,
        baseline=run(
            text, labels={f"{n}{other}": text for n in range(300)}, finish_reasons={f"{n}{other}": 1 for n in range(300)}
        ),
        keys=KeyCounts(1, 1, 1, 0, 0, reasons={"baseline": {f"{n}{other}": 1 for n in range(300)}}),
    )

    several = comparison_page(msgspec.structs.replace(made, others=(made,) * 60))
    markup = require_harmless(comparison_page(made).encode(), MOST_BYTES)

    require_harmless(several.encode(), MOST_BYTES)
    for said in (
        "more examples",
        "more slices",
        "more fields",
        "more scorers",
        "more differences",
        "more warnings",
        "characters left out",
    ):
        assert said in markup.text, said
    assert re.search(r"cut to (50|20|5) % of their usual length", several)
    assert "The first 8 candidates are shown in full below." in several


def accuracy_with(name: str, text: str) -> ScorerComparison:
    missing = {side: {f"{n}{text[:2_000]}": n + 1 for n in range(99)} for side in ("baseline", "candidate", text[:99])}
    return msgspec.structs.replace(accuracy(), name=name, words=text, warnings=(text,) * 20, primary=False, missing=missing)


def everywhere(text: str) -> Comparison:
    """A comparison in which every text is this one."""
    side = Side(1, 0.5, 0.1, (0.4, 0.6))
    evil = msgspec.structs.replace(
        accuracy(), name=text, words=text, warnings=(text,), missing={text: {text: 1}}, baseline=side, candidate=side
    )
    answer = Answer(1.0, text, text, text, text, 2, 3)
    one_run = msgspec.structs.replace(
        run(text),
        run_id=text,
        model=text,
        request_sha256=text,
        finished_at=text,
        scores=text,
        labels={text: text},
        finish_reasons={text: 1},
    )
    other = Answer(0.0, text[::-1], text, text, text, 2, 3)
    return comparison(
        created=text,
        baseline=one_run,
        candidate=one_run,
        keys=KeyCounts(1, 1, 1, 1, 1, 1, {text: 1}, {"baseline": {text: 1}, text: {text: 1}}),
        scorers=(evil,),
        cluster=text,
        words=(text,),
        primary=text,
        amounts=(AmountComparison(text, 1.0, 2.0, 1, 1.0, 2.0, 2.0, (1.0, 3.0), 0.5, text),),
        fields=(FieldComparison(text, 1, 1, 0, 0, 0),),
        slices=(Slice(text, text, text, 1, 0.1, 0.2, 0.1, (0.0, 0.2), 1, 1, warnings=(text,)),),
        examples=(
            Example(text, text, "regressed", -1.0, answer, other, text, {text: text}),
            Example(text, text, "improved", 1.0, Answer(None, None, text), answer, text, {text: text}),
        ),
        changed=(Changed(text, text, text[::-1]),),
        warnings=(text,),
        uri=text,
    )


def test_evil_texts_are_harmless_wherever_they_are() -> None:
    made = everywhere(EVIL)

    markup = drawn(msgspec.structs.replace(made, others=(made,)))

    assert markup.text.count("<script>alert(1)") >= 40
    assert "\\x1b[31m" in markup.text
    assert "\\u202e" in markup.text


@settings(max_examples=25, deadline=None)
@given(TEXTS)
def test_whatever_a_text_is_the_page_is_small_and_harmless(text: str) -> None:
    made = everywhere(text)

    drawn(msgspec.structs.replace(made, others=(made,)))


def test_keys_of_apis_are_masked_though_a_difference_goes_through_them() -> None:
    key = "AIza" + "b" * 35
    example = Example("q", "accuracy", "regressed", -1.0, Answer(1.0, f"it is {key}"), Answer(0.0, f"it is {key[:-1]}c or so"))

    page = comparison_page(comparison(examples=(example,)))

    assert "AIza" not in page
    assert page.count("[API key]") >= 2


NUMBERS = st.one_of(st.none(), st.floats())
ENDS = st.one_of(st.none(), st.tuples(st.floats(), st.floats()))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_whatever_the_figures_are_there_is_a_page(data: st.DataObject) -> None:
    def number() -> float | None:
        return data.draw(NUMBERS)

    def side() -> Side:
        return Side(data.draw(st.integers(0, 9)), number(), number(), data.draw(ENDS))

    gate = GateResult(data.draw(st.floats(0, 10)), number(), number(), "undecided", None)
    one = scorer(
        "accuracy",
        kind=data.draw(st.sampled_from(["boolean", "float"])),
        baseline=side(),
        candidate=side(),
        difference=number(),
        stderr=number(),
        ci=data.draw(ENDS),
        p=number(),
        p_holm=number(),
        within=number(),
        between=number(),
        mde=number(),
        gate=gate,
        bounds=Bounds(number(), number(), data.draw(ENDS), number(), data.draw(ENDS)),
        worst=number(),
        best=number(),
        shown=True,
    )
    counts = data.draw(st.tuples(*[st.integers(0, 9)] * 6))
    made = comparison(
        scorers=(one,),
        keys=KeyCounts(*counts),
        margin=number(),
        baseline=run("a", rows=counts[0], cost_usd=data.draw(st.one_of(st.none(), st.floats(0, 1e9)))),
        candidate=run("b", rows=counts[1], cost_usd=data.draw(st.one_of(st.none(), st.floats(0, 1e9)))),
        slices=(Slice("c", None, "accuracy", 0, number(), number(), number(), data.draw(ENDS), 0, 0),),
        amounts=(AmountComparison("total_tokens", 0.0, 5.0, 0, number(), number(), number(), data.draw(ENDS), number()),),
        fields=(FieldComparison("f", 0, 0, 0, 0, 0),),
    )

    markup = drawn(made)

    for _, attributes in markup.elements:
        for name in ("x", "x1", "x2", "width", "cx"):
            value = str(attributes.get(name) or "0").removesuffix("%")
            assert math.isfinite(float(value)), (name, value)
