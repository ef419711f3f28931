"""The page of a comparison: what it says, and that it is complete, small and harmless whatever the comparison is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.run.storage import locate
from airflow_gemini_batch.evals.comparison import (
    Answer,
    Changed,
    Comparison,
    Example,
    GateResult,
    KeyCounts,
    ScorerComparison,
)
from airflow_gemini_batch.evals.report.comparison_page import MOST_BYTES, comparison_page, draw_report, write_report
from tests.comparisons import accuracy, brevity, comparison, run, scorer, several
from tests.markup import Markup, require_harmless, require_self_contained

MINUS = "\N{MINUS SIGN}"


def drawn(made: Comparison) -> Markup:
    return require_harmless(comparison_page(made).encode(), MOST_BYTES)


def texts_of(made: Comparison) -> str:
    """One after the other, with one space for each stretch of white space."""
    return " ".join(" ".join(drawn(made).texts).split())


def test_the_first_part_says_better_or_worse_by_how_much_how_sure_and_at_what_cost() -> None:
    first = texts_of(comparison()).split("Differences Scorers")[0]

    for said in (
        "with-examples against short-prompt",
        "better gate passed",
        "accuracy: 2.1 points better (95 % interval +1.4 to +2.8), 83.3 % against 81.2 %.",
        "+2.1 points 95 % interval +1.4 to +2.8, p < 0.001",
        "742 / 534 8,604 the same, of 9,880 keys",
        "9,880 113 keys in one run only",
        "Cost +42.5 % $5.87, was $4.12; judges $1.31 and $0.00 apart",
        "Output tokens +37.9 % 568,000, was 412,000",
        "Time +34.4 %",
        "2 warnings",
    ):
        assert said in first, said


def test_then_it_says_how_that_is_known_in_the_order_in_which_it_is_read() -> None:
    text = texts_of(comparison()).split("Both runs Method")[1]

    place = 0
    for said in (
        *("Differences", f"brevity {MINUS}0.031 ({MINUS}0.038 to {MINUS}0.024)", "the loss that the gate accepts"),
        *("By scorer", "accuracy primary", "81.2 % 80.4 % to 82 %, standard error 0.39 points, 9,961 keys"),
        "Pass: at 95 % the loss is smaller than the margin of 1 point; at worst the difference is +1.51 points.",
        *("39 keys of the baseline without a score: 39 BLOCKED.", "61 TRUNCATED, 27 BLOCKED, 4 no expected value."),
        "Whatever the missing answers would have been, the difference is +1.2 to +2.9 points, with intervals +0.5 to +3.6. "
        "With each of them at the worst score it is +1.3 points (+0.6 to +2).",
        *("Agresti and Min (2005)", "McNemar, mid-p", "1.01 points or more, in 80 % of all comparisons"),
        *(
            "p < 0.001",
            "The differences are skewed.",
            f"bootstrap {MINUS}0.005 to +0.021 sign-flip test p = 0.25",
            "0.21 within a key's answers, 0.44 between keys",
            "1 to 5",
        ),
        *("Missing keys", "only in the baseline 81 3 keys not in the input of the candidate"),
        *("Cost, tokens, time", "42 % more 9,880 keys 1.41 to 1.44 times p < 0.001", "one time for each run; rows have none"),
        *("Slices", "language, by accuracy", "en 6,100 83 % 86 % +3 points +2 to +4 402 219", "null 12", "all other values"),
        *("Fields of the answers", "confidence 9,880 40.6 % 5,869", "sources[].title"),
        *("What was asked differently", "prompt", "config.temperature"),
        *("Dead letters", "BLOCKED 39 0.39 % 27 0.27 %", "raise max_output_tokens"),
        *("How answers ended", "STOP 9,940 99.8 % 9,820 99.1 %"),
        *(
            "Regressions",
            "expected",
            "no score",
            "Improvements",
            "640 more changes of a score",
            "Warnings",
            "81 keys have no answer",
        ),
        *("Both runs", "s3://lake/evals/2026-11-20/short-prompt", "data_set=places-v3, team=search"),
        *(
            "Method",
            "one difference for each key",
            "3 tests, corrected by Holm's method (1979); accuracy decides and is not corrected",
        ),
        "pairs-*.parquet",
    ):
        assert said in text[place:], said
        place = text.index(said, place)


def test_it_asks_for_nothing_and_its_policy_names_its_style() -> None:
    require_self_contained(comparison_page(comparison()).encode())


def test_words_that_differ_are_marked_on_both_sides() -> None:
    example = Example(
        "q1",
        "accuracy",
        "regressed",
        -1.0,
        Answer(1.0, "It is <b>Paris</b>."),
        Answer(0.0, "It is <b>Rome</b>.", cut=1200, finish_reason="MAX_TOKENS", repeats=3),
    )

    page = comparison_page(comparison(examples=(example,), changed=()))

    assert "It is &lt;b&gt;<del>Paris</del>&lt;/b&gt;." in page
    assert "It is &lt;b&gt;<ins>Rome</ins>&lt;/b&gt;." in page
    assert "baseline: passed" in page
    assert "MAX_TOKENS · 3 answers, this is one · 1,200 more characters" in page


def test_an_answer_that_is_missing_says_why() -> None:
    lost = Example("q1", "accuracy", "improved", 1.0, Answer(None, None, "BLOCKED"), Answer(1.0, "Paris"))

    text = texts_of(comparison(examples=(lost,)))

    assert "no score → passed, +100 points" in text
    assert "No answer: BLOCKED" in text


@pytest.mark.parametrize(
    ("changes", "badges"),
    [
        ({}, "better gate passed"),
        ({"primary": None, "verdict": "undecided"}, "better and worse gate undecided"),
        ({"scorers": (brevity(),), "primary": None, "verdict": "fail"}, "worse gate failed"),
        ({"scorers": (brevity(better="lower"),), "primary": "brevity", "verdict": None}, "better gemini"),
        ({"scorers": (scorer("a"),), "primary": None, "verdict": None}, "no difference shown gemini"),
        ({"scorers": (scorer("a", n=0, ci=None),), "primary": None, "verdict": None}, "nothing to compare gemini"),
        ({"scorers": (), "primary": None, "verdict": None}, "nothing to compare gemini"),
    ],
)
def test_the_scorers_that_decide_say_better_or_worse(changes: dict[str, Any], badges: str) -> None:
    assert f"against short-prompt {badges}" in texts_of(comparison(**changes))


@pytest.mark.parametrize(
    ("gate", "better", "said"),
    [
        (
            GateResult(0.02, -0.05, -0.03, "fail", None),
            "higher",
            f"Fail: at 95 % the loss is larger than the margin of 2 points; at best the difference is {MINUS}3 points.",
        ),
        (GateResult(0.02, -0.01, 0.01, "pass", None), "lower", "at worst the difference is +1 point."),
        (
            GateResult(0.02, -0.03, 0.01, "undecided", 2319),
            "higher",
            f"Undecided: at 95 % the difference is {MINUS}3 points to +1 point, on both sides of a loss of 2 points. "
            "If the runs are truly equal, 2,319 keys would show it in 80 % of all comparisons.",
        ),
        (GateResult(0.0, -0.03, 0.01, "undecided", None), "higher", "No number of keys would decide it."),
        (GateResult(0.02, -0.03, 0.01, "undecided", None), "higher", "How many keys would decide it is not known."),
        (
            GateResult(0.02, None, None, "undecided", None),
            "higher",
            "there is no interval to compare with the margin of 2 points.",
        ),
    ],
)
def test_the_verdict_of_the_gate_is_a_sentence(gate: GateResult, better: Any, said: str) -> None:
    assert said in texts_of(comparison(scorers=(scorer("accuracy", gate=gate, better=better),)))


def test_scorers_of_yes_or_no_share_a_plot_and_numbers_have_one_each() -> None:
    made = comparison(scorers=(scorer("a"), scorer("b"), brevity(), scorer("c", better="lower")))

    markup = drawn(made)

    plots = [attributes for tag, attributes in markup.elements if tag == "div" and attributes.get("class") == "forest"]
    lines = [
        str(attributes["aria-label"])
        for tag, attributes in markup.elements
        if tag == "svg" and "points (" in str(attributes.get("aria-label"))
    ]
    assert len(plots) == 3
    assert lines == [f"{name}: +2.1 points (+1.4 to +2.8)" for name in "abc"]


def test_the_line_of_the_margin_is_that_of_the_scorers_of_a_plot() -> None:
    gates = [GateResult(margin, 0.0, 0.1, "pass", None) for margin in (0.02, 0.02, 0.05)]
    first, second, other = (scorer(f"s{number}", gate=gate) for number, gate in enumerate(gates))

    def lines(*scorers: ScorerComparison) -> int:
        return comparison_page(comparison(scorers=scorers, margin=None)).count('class="margin"')

    assert lines(first, second) == 3  # and one that says what it is
    assert lines(first, other) == lines(first, scorer("none")) == 0


def test_a_p_value_is_the_corrected_one_where_that_differs() -> None:
    text = texts_of(comparison(scorers=(accuracy(), scorer("other", p=0.012, p_holm=0.024))))

    assert "+1.4 to +2.8, p = 0.024 corrected" in text
    assert "McNemar, mid-p, p = 0.012" in text


def test_what_only_one_run_was_asked_is_said() -> None:
    text = texts_of(comparison(changed=(Changed("config.temperature", "", "0.2"),)))

    assert "config.temperature baseline not set candidate 0.2" in text


def test_several_candidates_begin_with_a_table_and_have_a_part_each() -> None:
    markup = drawn(several(3))

    ids = [str(attributes["id"]) for _, attributes in markup.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = {str(attributes["href"])[1:] for tag, attributes in markup.elements if tag == "a"}
    assert {"c1-top", "c2-top", "c3-top", "c3-regressed"} <= links <= set(ids)
    text = " ".join(" ".join(markup.texts).split())
    assert "3 candidates Each is compared with the baseline short-prompt (gemini-3.6-flash), here by accuracy ." in text
    assert f"variant-0 gemini-3.6-flash better gate passed +2.1 points +1.4 to +2.8 p < 0.001 {MINUS}27.2 %" in text
    assert "9 tests, corrected by Holm's method" in text


def test_runs_of_the_same_name_are_told_apart() -> None:
    text = texts_of(comparison(baseline=run("lake/monday/answers"), candidate=run("lake/tuesday/answers")))
    same = texts_of(comparison(baseline=run("lake/answers", run_id="1"), candidate=run("lake/answers", run_id="2")))

    assert "tuesday/answers against monday/answers" in text
    assert "answers (2) against answers (1)" in same


def test_costs_of_runs_of_different_sizes_are_those_of_a_row() -> None:
    made = comparison(baseline=run("a", rows=1_000, cost_usd=1.0), candidate=run("b", rows=2_000, cost_usd=3.0))

    assert "Cost +50 % $3.00, was $1.00; the ratio is that of one row" in texts_of(made)


def test_costs_that_are_unknown_are_said_to_be() -> None:
    assert "Cost unknown unknown, was $4.12" in texts_of(comparison(candidate=run("b", cost_usd=None)))


def test_a_comparison_of_nothing_has_a_page() -> None:
    empty = Comparison("", 0.95, 0, 0, run("a"), run("b"), KeyCounts(0, 0, 0, 0, 0), ())

    text = texts_of(empty)

    assert "nothing to compare" in text
    assert "Regressions" not in text
    assert "Slices" not in text


def test_a_report_is_written_where_it_is_asked_for_or_beside_the_comparison(tmp_path: Path) -> None:
    made = comparison(uri=str(tmp_path / "comparisons"))

    asked, beside = write_report(made, tmp_path / "folder" / "page.html"), write_report(made)

    assert (asked, beside) == (str(tmp_path / "folder" / "page.html"), str(tmp_path / "comparisons" / "report.html"))
    assert Path(asked).read_text(encoding="utf-8") == Path(beside).read_text(encoding="utf-8") == comparison_page(made)


def test_a_comparison_that_was_never_written_needs_a_path() -> None:
    with pytest.raises(InputError, match="give path"):
        write_report(comparison(uri=""))


def test_a_page_that_cannot_be_written_fails_no_comparison(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "report.html").mkdir()  # which no file can replace

    draw_report(comparison(), locate(str(tmp_path)))

    [told] = [record for record in caplog.records if "was not drawn" in record.message]
    assert told.levelname == "WARNING"
    assert "write_report draws it" in told.message


def test_a_document_that_was_read_back_has_the_same_page() -> None:
    made = several(2)

    again = msgspec.json.decode(msgspec.json.encode(made), type=Comparison)

    assert comparison_page(again) == comparison_page(made)
