"""``gemini-batch score`` and ``compare``."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_gemini_batch import GenerateRequest, run_batch
from airflow_gemini_batch.emulator import Emulator
from tests.integration.cli.conftest import Command

pytestmark = pytest.mark.integration

MODEL = "gemini-3.6-flash"
ROWS = 60


def answer(request: dict[str, Any]) -> Any:
    """The prompt, or a judge's verdict on it."""
    prompt = request["contents"][-1]["parts"][-1]["text"]
    asked = json.dumps(request)
    if "responseJsonSchema" in asked or "response_json_schema" in asked:
        return json.dumps({"explanation": "because", "score": 1 if "something else" in prompt else 5})
    return prompt


@pytest.fixture
def emulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    with Emulator(tmp_path / "service", answers=answer, pending_seconds=0, running_seconds=0) as emulator:
        monkeypatch.setenv("GOOGLE_API_KEY", "AIzaAnyKey")
        monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", emulator.url)
        yield emulator


def answered(destination: Path, wrong: set[int], repeats: int = 1) -> str:
    """The destination of a run that answers these rows wrongly."""
    rows = range(ROWS)
    table = pa.table(
        {
            "id": [f"k{row}" for row in rows],
            "body": ["something else" if row in wrong else f"number {row}" for row in rows],
            "expected": [f"number {row}" for row in rows],
            "half": [row % 2 for row in rows],
        }
    )
    run_batch(
        table,
        GenerateRequest(prompt="${body}"),
        model=MODEL,
        destination=str(destination),
        key="id",
        carry=["expected", "half"],
        repeats=repeats,
        options={"poll_interval": 0.05},
    )
    return str(destination)


@pytest.fixture
def runs(emulator: Emulator, tmp_path: Path) -> tuple[str, str]:
    return answered(tmp_path / "a", {1}), answered(tmp_path / "b", {2, 3, 4})


@pytest.mark.parametrize(
    "words",
    [
        "--scorer exact_match",
        """--scorer '{"type": "exact_match", "expected": "expected", "name": "exact_match"}'""",
        "--scorer @scorers.json",
        "--scorer my_scorers:ALL",
        '--scorer exact_match --labels labels.parquet --label-key id --scorer \'{"type": "contains", "expected": "wanted"}\'',
    ],
)
def test_a_run_is_scored(
    words: str, runs: tuple[str, str], gemini_batch: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("scorers.json").write_text('[{"type": "exact_match"}, {"type": "regex", "pattern": "[0-9]"}]')
    Path("my_scorers.py").write_text(
        "from airflow_gemini_batch.evals import ExactMatch\n\ndef short(row):\n    return len(row['text']) < 9\n\n"
        "ALL = [ExactMatch(), short]\n"
    )
    pq.write_table(pa.table({"id": [f"k{n}" for n in range(ROWS)], "wanted": [str(n) for n in range(ROWS)]}), "labels.parquet")

    code, lines, error = gemini_batch("score", runs[0], *shlex.split(words), "--json")

    assert code == 0, error
    document = json.loads("\n".join(lines))
    [exact] = [one for one in document["scorers"] if one["name"] == "exact_match"]
    assert (document["rows"], exact["scored"], exact["mean"]) == (ROWS, ROWS, (ROWS - 1) / ROWS)
    assert list((Path(runs[0]) / "scores" / "default").glob("part-*.parquet"))


def test_a_judge_is_asked_within_the_limit(runs: tuple[str, str], gemini_batch: Command, emulator: Emulator) -> None:
    judge = {"type": "judge", "model": "gemini-2.5-flash", "rubric": "Is this right? ${text}", "scale": [1, 5]}
    judge["config"] = {"max_output_tokens": 100}
    words = ("score", runs[1], "--scorer", json.dumps(judge), "--option", "poll_interval=0.05")

    refused, _, error = gemini_batch(*words, "--max-cost-usd", "0.0000001")
    jobs = len(emulator.journal("create"))
    code, lines, _ = gemini_batch(*words)

    assert (refused, "max_cost_usd" in error, jobs) == (7, True, 2)
    [line] = lines
    assert (code, line.startswith(f"judge {(57 * 5 + 3) / ROWS:.4g} over {ROWS} rows, judged for $")) == (0, True), line


@pytest.mark.parametrize(
    ("margin", "code", "verdict"),
    [("0.5", 0, "pass"), ("0.02", 4, "undecided"), (None, 0, None)],
)
def test_the_exit_code_is_the_verdict(
    margin: str | None, code: int, verdict: str | None, runs: tuple[str, str], gemini_batch: Command
) -> None:
    words = ["compare", *runs, "--scorer", "exact_match", *(["--margin", margin] if margin else [])]

    ended, lines, error = gemini_batch(*words)
    again, document, _ = gemini_batch(*words, "--json")

    assert (ended, again) == (code, code), error
    outcome = json.loads("\n".join(document))
    assert outcome["verdict"] == verdict
    assert (f"verdict: {verdict}" in lines) == (verdict is not None)
    [scorer] = outcome["candidates"][0]["scorers"]
    assert (scorer["improved"], scorer["regressed"], scorer["n"]) == (1, 3, ROWS)
    assert len("\n".join(document)) < 10_000
    assert Path(outcome["uri"], "comparison.json").is_file()


def test_a_candidate_that_fails_decides_over_one_that_passes(
    runs: tuple[str, str], gemini_batch: Command, tmp_path: Path
) -> None:
    bad = answered(tmp_path / "c", set(range(40)))

    code, lines, _ = gemini_batch("compare", runs[0], runs[1], bad, "--scorer", "exact_match", "--margin", "0.2")

    assert (code, lines[-2]) == (3, "verdict: fail")
    assert [f"{runs[1]}:" in lines, f"{bad}:" in lines] == [True, True]


def test_how_many_rows_are_needed(runs: tuple[str, str], gemini_batch: Command, tmp_path: Path) -> None:
    repeated = answered(tmp_path / "c", {1}, repeats=2), answered(tmp_path / "d", {2, 3, 4}, repeats=2)
    plan = ("--plan", "--effect", "0.03", "--scorer", "exact_match")

    code, lines, _ = gemini_batch("compare", *runs, *plan)
    unknown = gemini_batch("compare", *runs, *plan, "--repeats", "3")[1]
    _, document, _ = gemini_batch("compare", *repeated, *plan, "--repeats", "3", "--json")

    assert (code, lines) == (0, ["exact_match: 574 rows, to show a difference of 0.03"])
    assert unknown == ["exact_match: unknown, as these runs have too few differences or no repeats, to show a difference of 0.03"]
    [found] = json.loads("\n".join(document))["plans"]
    assert (found["scorer"], found["repeats"]) == ("exact_match", 3)
    assert found["rows"] > 100


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("compare a b --plan", "--plan and --effect go together"),
        ("score a --scorer exactly", "--scorer is 'exactly'; expected one of exact_match"),
        ("score a --scorer nowhere:NAME", "--scorer: nowhere:NAME cannot be imported: ModuleNotFoundError"),
        ("score a --scorer json:LOADS", "cannot be imported: AttributeError"),
        ("score a --scorer {broken", "--scorer: {broken cannot be read"),
        ("score a --scorer @absent.json", "absent.json cannot be read"),
        ("""score a --scorer '{"type": "guess"}'""", "whose type is one of exact_match"),
        ("""score a --scorer '{"type": "regex"}'""", "--scorer: regex cannot be made"),
        ("""score a --scorer '{"type": "regex", "pattern": "("}'""", "not a regular expression"),
        ("score /nowhere --scorer exact_match", "/nowhere holds no run"),
    ],
)
def test_what_is_wrong_is_one_line(words: str, message: str, emulator: Emulator, gemini_batch: Command) -> None:
    code, lines, error = gemini_batch(*shlex.split(words))

    assert (code, lines, len(error.splitlines())) == (1, [], 1)
    assert message in error
