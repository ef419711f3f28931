"""``compare`` on two runs that the emulator answered."""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_gemini_batch import DestinationError, InputError, WaitTimeoutError, redrive
from airflow_gemini_batch.emulator import Emulator, JobFault, RowFault
from airflow_gemini_batch.engine.finish.summary import Summary
from airflow_gemini_batch.engine.gemini.client import Endpoint
from airflow_gemini_batch.evals import Comparison, ExactMatch, Judge, Scorer, compare, load_comparison, score
from airflow_gemini_batch.evals.comparing.pairs_table import PAIRS_SCHEMA
from airflow_gemini_batch.evals.report.comparison_page import comparison_page
from tests.integration.evals.conftest import JUDGE_MODEL, OPTIONS

pytestmark = pytest.mark.integration

Answered = Callable[..., Summary]


def length(row: dict[str, Any]) -> float:
    return float(len(row["text"]))


LENGTH = Scorer("length", length, "float", worst=0, best=100, version="1", columns=("text",))


@pytest.fixture
def runs(answered: Answered, emulator: Emulator) -> tuple[str, str]:
    """Forty rows: the baseline answers k3 wrongly and not k4; the candidate answers k5, k6 and k7 wrongly, not k4 and not k8."""
    emulator.faults.add(RowFault(do="error", keys=("k4",), code=13))
    wrong = "something else"
    baseline = answered(40, "a", lambda row: wrong if row == 3 else f"number {row}", labels={"prompt": "old"})
    emulator.faults.add(RowFault(do="max_tokens", keys=("k8",)))
    candidate = answered(40, "b", lambda row: wrong if row in (5, 6, 7) else f"number {row}")
    emulator.faults.clear()
    return baseline.destination, candidate.destination


def pairs_of(found: Comparison, candidate: int = 0) -> list[dict[str, Any]]:
    table = pq.read_table(f"{found.uri}/pairs-{candidate:05}.parquet")
    assert table.schema == PAIRS_SCHEMA
    return table.to_pylist()


def state(folder: str) -> dict[str, tuple[bytes, int]]:
    return {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in Path(folder).iterdir() if file.is_file()}


def test_every_key_is_paired_or_counted_with_its_reason(runs: tuple[str, str]) -> None:
    found = compare(*runs, scorers=[ExactMatch(), LENGTH], margin=0.5)

    exact = found["exact_match"]
    assert (found.keys.paired, found.keys.only_baseline, found.keys.only_candidate, found.keys.neither) == (38, 1, 0, 1)
    assert found.keys.reasons == {"baseline": {"REQUEST_ERROR": 1}, "candidate": {"REQUEST_ERROR": 1, "TRUNCATED": 1}}
    assert (exact.n, exact.improved, exact.regressed, exact.same) == (38, 1, 3, 34)
    assert exact.difference == pytest.approx(-2 / 38)
    assert (exact.method, exact.test, exact.kind) == ("agresti-min", "mcnemar-midp", "boolean")
    assert exact.missing == {"baseline": {"REQUEST_ERROR": 1}, "candidate": {"REQUEST_ERROR": 1, "TRUNCATED": 1}}
    assert exact.baseline.mean == pytest.approx(38 / 39)
    assert exact.candidate.mean == pytest.approx(35 / 38)
    assert exact.bounds is not None
    assert (exact.bounds.low, exact.bounds.high) == (pytest.approx((-2 - 2) / 40), pytest.approx((-2 + 1) / 40))
    assert exact.bounds.as_worst == pytest.approx(-3 / 40)
    assert exact.gate is not None
    assert (exact.gate.verdict, found.verdict, found.margin) == ("pass", "pass", 0.5)
    assert found["length"].method == "t"
    assert "no difference shown" in exact.words
    assert found.baseline.labels == {"prompt": "old"}


def test_the_pairs_table_has_each_key_once_for_each_scorer(runs: tuple[str, str]) -> None:
    found = compare(*runs, scorers=[ExactMatch(), LENGTH])

    rows = [row for row in pairs_of(found) if row["scorer"] == "exact_match"]
    by_key = {row["key"]: row for row in rows}
    assert len(rows) == len(by_key) == 40
    assert {row["status"]: row["key"] for row in rows if row["status"] != "paired"} == {"neither": "k4", "only_baseline": "k8"}
    assert (by_key["k3"]["baseline"], by_key["k3"]["candidate"], by_key["k3"]["difference"]) == (0, 1, 1)
    assert (by_key["k8"]["baseline_reason"], by_key["k8"]["candidate_reason"]) == (None, "TRUNCATED")
    assert sorted(row["key"] for row in rows if row["difference"] == -1) == ["k5", "k6", "k7"]


def test_the_same_call_again_reads_what_it_has_written(runs: tuple[str, str]) -> None:
    first = compare(*runs, scorers=ExactMatch())
    before = state(first.uri)

    assert compare(*runs, scorers=ExactMatch()) == first == load_comparison(runs[1])
    assert state(first.uri) == before
    assert compare(*runs, scorers=ExactMatch(), margin=0.1) != first


def test_scores_of_functions_are_compared_again_only_where_they_have_changed(runs: tuple[str, str]) -> None:
    factor = 1.0

    def times(row: dict[str, Any]) -> float:
        return factor * len(row["text"])

    first = compare(*runs, scorers=times)
    assert compare(*runs, scorers=times) == first

    factor = 2.0
    changed = compare(*runs, scorers=times)["times"].difference
    assert changed == pytest.approx(2 * (first["times"].difference or 0))


def test_a_call_that_fails_leaves_no_comparison_and_the_next_one_completes_it(runs: tuple[str, str]) -> None:
    for run in runs:
        score(run, ExactMatch())
    whole = compare(*runs)
    Path(whole.uri, "report.html").write_text("of the comparison that is replaced")
    Path(whole.uri, "pairs-00001.parquet").write_bytes(b"of another comparison")

    Path(runs[1], "scores/default/part-00003-0.parquet").unlink()
    with pytest.raises(DestinationError, match="is gone"):
        compare(*runs, level=0.9)
    assert not Path(whole.uri, "comparison.json").exists()
    assert not Path(whole.uri, "report.html").exists()
    with pytest.raises(DestinationError, match="holds no comparison"):
        load_comparison(runs[1])

    Path(runs[1], "scores/default/_scores.json").unlink()
    score(runs[1], ExactMatch())
    again = compare(*runs)
    assert [file.name for file in sorted(Path(whole.uri).iterdir()) if file.is_file()] == [
        "comparison.json",
        "pairs-00000.parquet",
        "report.html",
    ]
    assert "that is replaced" not in Path(whole.uri, "report.html").read_text(encoding="utf-8")
    assert again["exact_match"] == whole["exact_match"]


def test_the_scores_that_both_runs_have_are_compared(runs: tuple[str, str]) -> None:
    with pytest.raises(DestinationError, match="no scores 'default'"):
        compare(*runs)

    score(runs[0], [ExactMatch(), LENGTH])
    score(runs[1], [LENGTH])

    assert [one.name for one in compare(*runs).scorers] == ["length"]
    with pytest.raises(InputError, match="primary is 'exact_match'"):
        compare(*runs, primary="exact_match")


def test_a_run_that_has_changed_since_it_was_scored_is_refused_and_scored_again_where_scorers_are_given(
    runs: tuple[str, str], endpoint: Endpoint
) -> None:
    for run in runs:
        score(run, ExactMatch())
    before = compare(*runs)
    redrive(runs[1], keys=["k4"], endpoint=endpoint, options=OPTIONS)

    with pytest.raises(DestinationError, match="earlier state"):
        compare(*runs)
    after = compare(*runs, scorers=ExactMatch())

    assert (before.keys.only_candidate, after.keys.only_candidate) == (0, 1)


def test_several_candidates_are_corrected_together(runs: tuple[str, str], answered: Answered) -> None:
    third = answered(40, "c", lambda row: "wrong" if row % 2 else f"number {row}").destination

    found = compare(*runs, third, scorers=ExactMatch())

    [other] = found.others
    ps = [found["exact_match"].p, other["exact_match"].p]
    assert ps[1] is not None
    assert ps[0] is not None
    assert (found["exact_match"].p_holm, other["exact_match"].p_holm) == (max(2 * ps[1], ps[0]), 2 * ps[1])
    assert other["exact_match"].shown
    assert other.candidate.run == third
    assert {row["key"] for row in pairs_of(found, 1)} == {f"k{row}" for row in range(40)}


def test_keys_that_only_one_run_was_asked_are_counted_apart(answered: Answered) -> None:
    few, many = answered(10, "few"), answered(15, "many")

    found = compare(few, many, scorers=ExactMatch())

    assert (found.keys.absent, found.keys.only_candidate) == ({"baseline": 5, "candidate": 0}, 5)
    assert found["exact_match"].missing["baseline"] == {"absent": 5}
    assert found["exact_match"].bounds is not None
    assert found["exact_match"].bounds.low == 0


def test_clusters_widen_the_interval_and_need_a_value_for_each_key(answered: Answered) -> None:
    def source(documents: list[str | None]) -> pa.Table:
        rows = range(60)
        bodies = [f"number {row}" for row in rows]
        expected = [f"number {row}" if row % 3 else "other" for row in rows]
        return pa.table({"id": [f"k{row}" for row in rows], "body": bodies, "expected": expected, "doc": documents})

    carry = ["body", "expected", "doc"]
    by_ten = source([f"d{row // 6}" for row in range(60)])
    first = answered(name="a", source=by_ten, carry=carry)
    second = answered(name="b", source=source([None] * 60), carry=carry, model="gemini-2.5-flash")

    found = compare(first, second, scorers=ExactMatch(), cluster="doc")
    assert (found.clusters, found["exact_match"].method) == (10, "constant")
    assert {row["cluster"] for row in pairs_of(found)} == {f"d{number}" for number in range(10)}
    with pytest.raises(InputError, match="no value in the column 'doc'"):
        compare(second, answered(name="c", source=source([None] * 60), carry=carry), scorers=ExactMatch(), cluster="doc")
    with pytest.raises(InputError, match="the column 'page'"):
        compare(first, second, scorers=ExactMatch(), cluster="page")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"level": 0.4}, "level is 0.4"),
        ({"margin": -1}, "margin is -1"),
        ({"margin": {"other": 0.1}}, "margin names 'other'"),
        ({"name": "a/b"}, "name is 'a/b'"),
        ({"resamples": -1}, "resamples is -1"),
        ({"primary": "other"}, "primary is 'other'"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(runs: tuple[str, str], given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        compare(*runs, scorers=ExactMatch(), **given)


def test_a_run_is_not_compared_with_itself_or_with_nothing(runs: tuple[str, str]) -> None:
    with pytest.raises(InputError, match="given twice"):
        compare(runs[0], runs[0], scorers=ExactMatch())
    with pytest.raises(InputError, match="no candidate"):
        compare(runs[0], scorers=ExactMatch())


def test_a_comparison_can_be_written_elsewhere(runs: tuple[str, str], tmp_path: Path) -> None:
    found = compare(*runs, scorers=ExactMatch(), output=str(tmp_path / "elsewhere"))

    assert load_comparison(tmp_path / "elsewhere") == found == load_comparison(tmp_path / "elsewhere/comparison.json")
    assert not Path(runs[1], "comparisons").exists()


def test_replacing_a_run_removes_its_scores_and_comparisons_and_cancels_its_judges(
    runs: tuple[str, str], answered: Answered, emulator: Emulator, endpoint: Endpoint
) -> None:
    compare(*runs, scorers=ExactMatch())
    emulator.faults.add(JobFault(do="hang", model=JUDGE_MODEL))
    judge = Judge(model=JUDGE_MODEL, rubric="Is ${text} right?", scale=(1, 5))
    with pytest.raises(WaitTimeoutError):
        score(runs[1], judge, endpoint=endpoint, options={**OPTIONS, "timeout": 0.5})
    emulator.faults.clear()

    answered(5, "b", if_exists="replace")

    assert len(emulator.journal("cancel")) > 0
    assert not Path(runs[1], "scores").exists()
    assert not Path(runs[1], "comparisons").exists()


def test_the_document_is_json_that_says_what_it_is(runs: tuple[str, str]) -> None:
    found = compare(*runs, scorers=ExactMatch(), primary="exact_match", margin=0.2)

    plain = json.loads(Path(found.uri, "comparison.json").read_bytes())
    assert (plain["version"], plain["verdict"], plain["primary"]) == (1, "pass", "exact_match")
    assert plain["words"][0].startswith("Pass: by exact_match")


def test_the_page_is_beside_the_comparison_and_names_what_it_compares(runs: tuple[str, str]) -> None:
    found = compare(*runs, scorers=[ExactMatch(), LENGTH], primary="exact_match", margin=0.5)

    page = (Path(found.uri) / "report.html").read_text(encoding="utf-8")
    assert "gate passed" in page
    assert found.words[0] in html.unescape(page)
    assert "1 TRUNCATED" in page
    assert page == comparison_page(load_comparison(runs[1]))


def test_a_page_is_there_before_the_comparison_is_complete_and_is_drawn_again_with_it(runs: tuple[str, str]) -> None:
    first = compare(*runs, scorers=ExactMatch())
    page = Path(first.uri) / "report.html"
    earlier = page.read_bytes()
    page.write_bytes(b"as it is")

    compare(*runs, scorers=ExactMatch())
    assert page.read_bytes() == b"as it is"

    compare(*runs, scorers=ExactMatch(), margin=0.1)
    assert b"gate" in page.read_bytes()
    assert page.read_bytes() != earlier
    assert page.stat().st_mtime_ns <= (Path(first.uri) / "comparison.json").stat().st_mtime_ns
