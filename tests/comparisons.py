"""Comparisons for tests of what shows them: a realistic one of 10,000 questions, and changes to it."""

from __future__ import annotations

import random
from typing import Any, Literal

import msgspec

from airflow_gemini_batch.evals.comparison import (
    AmountComparison,
    Answer,
    Bounds,
    Changed,
    ComparedRun,
    Comparison,
    Example,
    FieldComparison,
    GateResult,
    KeyCounts,
    ScorerComparison,
    Side,
    Slice,
)

_PLACES = "Lyon Turin Osaka Porto Ghent Cusco Izmir Bergen Malmo Leeds Quito Hue Pune Nantes Graz".split()  # noqa: SIM905


def comparison(**changes: Any) -> Comparison:
    """A new prompt: better by rule, not shown by the judge, longer answers, some keys lost."""
    given: dict[str, Any] = {
        "created": "2026-11-28T06:40:12+00:00",
        "level": 0.95,
        "seed": 0,
        "resamples": 0,
        "baseline": run("s3://lake/evals/2026-11-20/short-prompt", cost_usd=4.12, seconds=5_400.0),
        "candidate": run(
            "s3://lake/evals/2026-11-27/with-examples",
            model="gemini-3.6-flash",
            results=9_912,
            dead_letters=88,
            finish_reasons={"STOP": 9_820, "MAX_TOKENS": 92},
            cost_usd=5.87,
            judge_cost_usd=1.31,
            seconds=7_260.0,
            request_sha256="b7" * 32,
        ),
        "keys": KeyCounts(
            9_961,
            9_912,
            9_880,
            81,
            32,
            7,
            {"candidate": 3},
            {"baseline": {"BLOCKED": 39}, "candidate": {"TRUNCATED": 61, "BLOCKED": 27}},
        ),
        "scorers": (accuracy(), brevity(), judged()),
        "words": (
            "Pass: by accuracy, the loss is smaller than the margin of 1.0 points.",
            "accuracy: 2.1 points better (95 % interval +1.4 to +2.8), 83.3 % against 81.2 %.",
            "brevity: 0.031 worse (95 % interval -0.038 to -0.024), 0.381 against 0.412.",
            "judge: no difference shown; 9,880 keys could show 0.02. The difference is +0.008 (95 % interval -0.006 to +0.022).",
            "The cost of a key is 42.0 % higher (95 % interval +41.0 % to +44.0 %), $5.87 against $4.12 in all.",
        ),
        "primary": "accuracy",
        "margin": 0.01,
        "verdict": "pass",
        "amounts": (
            AmountComparison("cost_usd", 4.12, 5.87, 9_880, 0.000412, 0.000587, 1.42, (1.41, 1.44), 1e-9),
            AmountComparison("prompt_tokens", 1_912_000, 3_404_000, 9_880, 191.2, 340.4, 1.79, (1.78, 1.8), 1e-9),
            AmountComparison("output_tokens", 412_000, 568_000, 9_880, 41.2, 56.8, 1.38, (1.36, 1.4), 1e-9),
            AmountComparison("thoughts_tokens", 0, 0, note="no key has an amount above 0 on both sides"),
            AmountComparison("seconds", 5_400, 7_260, note="one time for each run; rows have none"),
        ),
        "fields": (
            FieldComparison("answer", 9_880, 9_102, 778, 0, 0),
            FieldComparison("confidence", 9_880, 4_011, 5_869, 0, 0),
            FieldComparison("sources[].title", 9_880, 8_020, 1_400, 60, 400),
        ),
        "slices": slices(),
        "examples": examples(),
        "examples_left_out": 640,
        "changed": (
            Changed(
                "prompt",
                "Answer briefly: ${question}",
                "Answer in one sentence, as in these examples.\n${examples}\n\nAnswer: ${question}",
            ),
            Changed("config.temperature", "0.2", "0"),
        ),
        "warnings": ("81 keys have no answer of the candidate; see the bounds.", "brevity is skewed."),
        "uri": "s3://lake/evals/2026-11-27/with-examples/comparisons/default",
    }
    return Comparison(**(given | changes))


def run(uri: str, **changes: Any) -> ComparedRun:
    given: dict[str, Any] = {
        "run": uri,
        "run_id": "0123456789abcdef",
        "model": "gemini-3.6-flash",
        "request_sha256": "a3" * 32,
        "rows": 10_000,
        "results": 9_961,
        "dead_letters": 39,
        "finish_reasons": {"STOP": 9_940, "MAX_TOKENS": 21},
        "finished_at": "2026-11-27T05:10:44+00:00",
        "scores": "default",
        "labels": {"team": "search", "data_set": "places-v3"},
    }
    return ComparedRun(**(given | changes))


def accuracy(**changes: Any) -> ScorerComparison:
    return scorer(
        "accuracy",
        primary=True,
        shown=True,
        bounds=Bounds(0.012, 0.029, (0.005, 0.036), 0.013, (0.006, 0.02)),
        gate=GateResult(0.01, 0.0151, 0.0269, "pass", None),
        missing={"baseline": {"BLOCKED": 39}, "candidate": {"TRUNCATED": 61, "BLOCKED": 27, "unlabelled": 4}},
        words="accuracy: 2.1 points better (95 % interval +1.4 to +2.8), 83.3 % against 81.2 %.",
        **changes,
    )


def brevity(**changes: Any) -> ScorerComparison:
    given: dict[str, Any] = {
        "kind": "float",
        "baseline": Side(9_961, 0.412, 0.0021, (0.408, 0.416)),
        "candidate": Side(9_912, 0.381, 0.0022, (0.377, 0.385)),
        "difference": -0.031,
        "stderr": 0.0036,
        "ci": (-0.038, -0.024),
        "method": "t",
        "p": 2e-16,
        "p_holm": 4e-16,
        "test": "t",
        "improved": 3_100,
        "regressed": 6_700,
        "same": 80,
        "mde": 0.01,
        "worst": 0.0,
        "best": 1.0,
        "shown": True,
        "warnings": ("The differences are skewed.",),
    }
    return scorer("brevity", **(given | changes))


def judged(**changes: Any) -> ScorerComparison:
    given: dict[str, Any] = {
        "kind": "float",
        "repeats": 3,
        "baseline": Side(9_961, 3.91, 0.009, (3.89, 3.93)),
        "candidate": Side(9_912, 3.92, 0.009, (3.9, 3.94)),
        "difference": 0.008,
        "stderr": 0.0071,
        "ci": (-0.006, 0.022),
        "method": "t",
        "p": 0.26,
        "p_holm": 0.26,
        "test": "t",
        "improved": 2_100,
        "regressed": 2_050,
        "same": 5_730,
        "within": 0.21,
        "between": 0.44,
        "mde": 0.02,
        "worst": 1.0,
        "best": 5.0,
        "bootstrap_ci": (-0.005, 0.021),
        "sign_flip_p": 0.25,
        "words": "judge: no difference shown; 9,880 keys could show 0.02.",
    }
    return scorer("judge", **(given | changes))


def scorer(name: str, **changes: Any) -> ScorerComparison:
    given: dict[str, Any] = {
        "name": name,
        "kind": "boolean",
        "n": 9_880,
        "repeats": 1,
        "baseline": Side(9_961, 0.812, 0.0039, (0.804, 0.82)),
        "candidate": Side(9_912, 0.833, 0.0037, (0.826, 0.84)),
        "difference": 0.021,
        "stderr": 0.0036,
        "ci": (0.014, 0.028),
        "method": "agresti-min",
        "p": 1.2e-8,
        "p_holm": 1.2e-8,
        "test": "mcnemar-midp",
        "improved": 742,
        "regressed": 534,
        "same": 8_604,
        "within": None,
        "between": None,
        "bounds": None,
        "mde": 0.0101,
        "gate": None,
    }
    return ScorerComparison(**(given | changes))


def slices() -> tuple[Slice, ...]:
    rows = (("en", 6_100, 0.83, 0.86, (0.02, 0.04), 402, 219), ("de", 2_200, 0.80, 0.81, (-0.01, 0.03), 150, 128))
    found = [Slice("language", v, "accuracy", n, a, b, round(b - a, 3), ci, up, down) for v, n, a, b, ci, up, down in rows]
    rest = Slice("language", None, "accuracy", 12, 0.5, 0.4, -0.1, None, 1, 2, warnings=("Too few keys for an interval.",))
    return (*found, rest, Slice("language", "", "accuracy", 1_568, 0.77, 0.76, -0.01, (-0.04, 0.02), 189, 185, rest=True))


def examples(regressed: int = 50, improved: int = 50) -> tuple[Example, ...]:
    """The same ones each time."""
    drawn = random.Random(7)
    return (
        *(example(drawn, number, "regressed") for number in range(regressed)),
        *(example(drawn, number, "improved") for number in range(improved)),
    )


def example(drawn: random.Random, number: int, change: Literal["regressed", "improved"]) -> Example:
    place, other = drawn.sample(_PLACES, 2)
    right = f"{place} has {drawn.randrange(90, 900)},000 inhabitants, according to the last census, and lies on a river."
    wrong = right.replace(place, other).replace("according to the last census", "as far as I know")
    before, after = (right, wrong) if change == "regressed" else (wrong, right)
    lost = change == "regressed" and number % 10 == 7
    return Example(
        f"q-{drawn.randrange(10_000):05}",
        "accuracy" if number % 3 else "brevity",
        change,
        -1.0 if change == "regressed" else 1.0,
        Answer(1.0 if change == "regressed" else 0.0, before, finish_reason="STOP"),
        Answer(None, None, "TRUNCATED")
        if lost
        else Answer(0.0 if change == "regressed" else 1.0, after, explanation="names the city"),
        expected=place,
        carried={"question": f"Which city of about {drawn.randrange(90, 900)},000 people lies on the river?"},
    )


def several(count: int) -> Comparison:
    """As many candidates, each with a document of its own."""
    first = comparison()
    others = tuple(
        msgspec.structs.replace(first, candidate=run(f"s3://lake/evals/2026-11-27/variant-{number}", cost_usd=3.0 + number))
        for number in range(count - 1)
    )
    return msgspec.structs.replace(first, others=others)
