"""``max_cost_usd``: nothing is sent that may cost more, and what has been paid for is collected."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from airflow_gemini_batch.emulator import Emulator, RowFault
from airflow_gemini_batch.engine import api
from airflow_gemini_batch.engine.errors import BudgetError, InputError
from airflow_gemini_batch.engine.finish.summary import Summary, summary_of
from airflow_gemini_batch.engine.gemini.client import Endpoint
from airflow_gemini_batch.engine.run.layout import Run
from airflow_gemini_batch.engine.run.storage import locate
from airflow_gemini_batch.engine.specs import GenerateRequest
from tests.integration.engine.conftest import MODEL, SHORT_WAITS, creates, read, table

pytestmark = pytest.mark.integration

Go = Callable[..., Summary]

#: With 1,000 tokens of output at most, a request may cost a cent and a little more for its input.
PRICES = {MODEL: {"input": 1.0, "output": 10.0}}
REQUEST = GenerateRequest(prompt="Repeat: ${body}", config={"max_output_tokens": 1000})


def test_a_run_that_may_cost_more_is_not_sent(go: Go, tmp_path: Path, emulator: Emulator) -> None:
    with pytest.raises(
        BudgetError, match=r"12 requests may cost \$.* to \$0\.12, by their bytes .*max_cost_usd is \$0\.10.*sample=50"
    ):
        go(request=REQUEST, prices=PRICES, max_cost_usd=0.10)

    assert creates(emulator) == []
    assert not (tmp_path / "run" / "_run" / "manifest.json").exists()

    assert go(request=REQUEST, prices=PRICES, max_cost_usd=0.13).results == 12


def test_equal_rows_count_once(go: Go) -> None:
    rows = pa.table({"id": [f"k{row}" for row in range(100)], "body": ["the same"] * 100})

    assert go(source=rows, request=REQUEST, prices=PRICES, max_cost_usd=0.011).results == 100


def test_without_a_price_it_says_how_to_give_one(go: Go, emulator: Emulator) -> None:
    with pytest.raises(BudgetError, match=r"what gemini-3.5-flash costs is not known.*'prices': \{'gemini-3.5-flash': \{'input'"):
        go(request=REQUEST, model="gemini-3.5-flash", max_cost_usd=5)

    assert emulator.journal("upload") == []


def test_the_models_own_limit_counts_where_the_request_has_none(go: Go) -> None:
    with pytest.raises(BudgetError, match=r"to \$7\.86,"):
        go(request=GenerateRequest(prompt="${body}"), prices=PRICES, max_cost_usd=1)


def test_what_has_no_upper_end_is_refused_with_the_reason(go: Go, emulator: Emulator) -> None:
    model = "gemini-nano-banana-2.1"

    with pytest.raises(
        BudgetError,
        match=r"the cost of 12 requests has no known upper end: in a shard 5 of 5 requests have output without a limit",
    ):
        go(request=GenerateRequest(prompt="${body}"), model=model, prices={model: PRICES[MODEL]}, max_cost_usd=100)

    assert creates(emulator) == []


def test_media_that_cannot_be_counted_are_refused(go: Go) -> None:
    rows = pa.table({"id": ["a"], "body": ["b"], "clip": ["https://example.com/clip.mp4"]})

    with pytest.raises(BudgetError, match=r"1 of 1 requests have video/mp4.*Run a trial"):
        go(source=rows, request=GenerateRequest(prompt="${body}", media=["clip"]), prices=PRICES, max_cost_usd=100)


def test_a_trial_that_is_reused_narrows_it(go: Go, tmp_path: Path, emulator: Emulator) -> None:
    trial = str(tmp_path / "trial")
    whole = {"source": table(200), "request": REQUEST, "prices": PRICES, "max_shard_requests": 1000}
    spent = go(**whole, sample=40, destination=trial).cost.usd
    assert spent is not None
    before = len(creates(emulator))

    with pytest.raises(BudgetError, match="by their bytes"):
        go(**whole, max_cost_usd=0.2)
    with pytest.raises(BudgetError, match="by the trial that is reused"):
        go(**whole, max_cost_usd=spent, reuse=trial)
    assert len(creates(emulator)) == before

    summary = go(**whole, max_cost_usd=0.2, reuse=trial)
    assert summary.results == 200
    assert summary.cost.usd is not None
    assert summary.cost.usd < 0.2


def test_the_summary_keeps_what_a_reused_trial_said_before(go: Go, tmp_path: Path) -> None:
    trial = str(tmp_path / "trial")
    whole = {"source": table(200), "request": REQUEST, "prices": PRICES, "max_shard_requests": 1000}
    alone = go(**whole, sample=40, destination=trial)

    summary = go(**whole, reuse=trial)

    assert alone.cost.estimated_usd is None
    assert summary.cost.usd is not None
    assert summary.cost.estimated_usd == pytest.approx(summary.cost.usd, rel=0.1)


def test_what_was_spent_counts_and_not_what_might_have_been(go: Go, emulator: Emulator) -> None:
    emulator.faults.add(RowFault(do="recitation", keys=("k0", "k11")))

    # The first jobs may cost 12 cents, and cost a hundredth of that; so there is room for two more requests.
    summary = go(request=REQUEST, prices=PRICES, redrive_reasons={"BLOCKED"}, max_redrives=1, max_cost_usd=0.125)

    assert (summary.dead_letter, len(creates(emulator))) == (2, 5)


def test_a_resubmission_that_may_cost_too_much_is_an_error_when_all_else_is_collected(
    go: Go, tmp_path: Path, emulator: Emulator
) -> None:
    emulator.faults.add(RowFault(do="recitation", keys=("k0", "k11")))
    first = {"request": REQUEST, "prices": PRICES, "redrive_reasons": {"BLOCKED"}}
    limit = 0.1201  # k0 and k11 may cost two cents more; the answers that arrived left 11.9 cents of 12

    with pytest.raises(BudgetError, match=r"1 requests are not sent.*max_redrives=0"):
        go(**first, max_redrives=1, redrive_max_output_tokens=12_000, max_cost_usd=limit)

    assert len(creates(emulator)) == 3
    assert len(list((tmp_path / "run" / "results").glob("*.parquet"))) == 3
    summary = go(**first, max_redrives=0, max_cost_usd=limit)
    assert (summary.results, summary.dead_letter, len(creates(emulator))) == (10, 2, 3)


def test_collecting_has_a_limit_of_its_own(go: Go, tmp_path: Path, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(api, "drive", _interrupted)
        with pytest.raises(InterruptedError):
            go(request=REQUEST, prices=PRICES, max_cost_usd=1)
    destination = str(tmp_path / "run")

    with pytest.raises(BudgetError):
        api.collect(destination, options=SHORT_WAITS, endpoint=endpoint, max_cost_usd=0.05)
    assert api.collect(destination, options=SHORT_WAITS, endpoint=endpoint).results == 12


def test_a_run_that_was_built_without_a_limit_is_measured_before_it_is_sent(
    go: Go, tmp_path: Path, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(api, "drive", _interrupted)
        with pytest.raises(InterruptedError):
            go(request=REQUEST, prices=PRICES)

    with pytest.raises(BudgetError, match=r"12 requests are not sent: \$0\.00 are spent.*may cost \$0\.12"):
        go(request=REQUEST, prices=PRICES, max_cost_usd=0.05)
    assert creates(emulator) == []
    assert go(request=REQUEST, prices=PRICES, max_cost_usd=0.2).results == 12
    assert len(read(tmp_path, "results")) == 12


def _interrupted(*_: object, **__: object) -> Summary:
    raise InterruptedError


@pytest.mark.parametrize("limit", [0, -1, True, "5", float("nan"), float("inf")])
def test_a_limit_that_is_no_amount_is_refused(limit: object, go: Go) -> None:
    with pytest.raises(InputError, match="expected an amount above 0"):
        go(max_cost_usd=limit)


def test_a_redrive_that_may_cost_too_much_leaves_the_run_finished(
    go: Go, tmp_path: Path, endpoint: Endpoint, emulator: Emulator
) -> None:
    emulator.faults.add(RowFault(do="recitation", keys=("k0", "k11")))
    first = go(request=REQUEST, prices=PRICES, max_dead_letter_ratio=1.0)
    emulator.faults.clear()
    destination, options = str(tmp_path / "run"), SHORT_WAITS.as_dict()
    files = sorted((tmp_path / "run").rglob("*"))

    with pytest.raises(BudgetError, match=r"2 requests are not sent.*select fewer dead letters"):
        api.redrive(destination, reasons=["BLOCKED"], options=options, endpoint=endpoint, max_cost_usd=0.015)

    assert summary_of(Run(locate(destination))) == first
    assert sorted(path for path in (tmp_path / "run").rglob("*") if path.is_file()) == [path for path in files if path.is_file()]
    again = api.redrive(destination, reasons=["BLOCKED"], options=options, endpoint=endpoint, max_cost_usd=0.03)
    assert (again.dead_letter, len(creates(emulator))) == (0, 5)
