"""What a run will cost, said before it: compared with what it costs then."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from airflow_gemini_batch import estimate
from airflow_gemini_batch.emulator import Emulator, RowFault
from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.estimate.result import Estimate
from airflow_gemini_batch.engine.finish.summary import Summary
from airflow_gemini_batch.engine.gemini.client import Endpoint
from airflow_gemini_batch.engine.specs import EmbedRequest, GenerateRequest
from tests.integration.engine.conftest import MODEL, table

pytestmark = pytest.mark.integration

Go = Callable[..., Summary]
PRICES = {MODEL: {"input": 2.0, "output": 10.0, "input_above_200k": 4.0, "output_above_200k": 20.0}}
REQUEST = GenerateRequest(prompt="Repeat: ${body}", config={"max_output_tokens": 2000})


def uneven(rows: int = 600) -> pa.Table:
    """Every 20th row is long; rows 1 and 2 of ten are equal; the last of ten cannot be a request."""
    bodies: list[str | None] = [f"{row} " + "word " * (300 if row % 20 == 0 else 3 + row % 5) for row in range(rows)]
    bodies = [None if row % 10 == 9 else "the same" if row % 10 in (1, 2) else body for row, body in enumerate(bodies)]
    return pa.table({"id": [f"k{row}" for row in range(rows)], "body": bodies})


@pytest.fixture
def say(endpoint: Endpoint) -> Callable[..., Estimate]:
    def call(source: Any, request: Any = REQUEST, **arguments: Any) -> Estimate:
        given = {"model": MODEL, "key": "id", "options": {"prices": PRICES}, **arguments}
        return estimate(source, request, **given)

    return call


def test_from_bytes_alone_it_is_a_range_that_holds_the_truth(go: Go, say: Callable[..., Estimate], emulator: Emulator) -> None:
    found = say(uneven())
    assert emulator.journal("create") == []
    summary = go(source=uneven(), request=REQUEST, prices=PRICES, max_shard_requests=1000)

    assert (found.rows, found.invalid, found.requests, found.deduplicated) == (600, 60, summary.requests, summary.deduplicated)
    assert found.usd is not None
    assert found.usd.middle is None
    assert found.output_tokens.middle is None
    assert found.output_tokens.high == 2000 * found.requests
    assert found.usd.high is not None
    assert summary.cost.usd is not None
    assert found.usd.low < summary.cost.usd < found.usd.high
    assert found.input_tokens.high is not None
    assert found.input_tokens.low < summary.cost.tokens["input"] < found.input_tokens.high


def test_a_trial_narrows_it(go: Go, say: Callable[..., Estimate], tmp_path: Path, emulator: Emulator) -> None:
    trial = str(tmp_path / "trial")
    go(source=uneven(), request=REQUEST, prices=PRICES, sample=60, destination=trial)
    paid = len(emulator.journal("create"))

    found = say(uneven(), trial=trial)

    assert len(emulator.journal("create")) == paid
    summary = go(source=uneven(), request=REQUEST, prices=PRICES, max_shard_requests=1000)
    usd, truth = found.usd, summary.cost.usd
    assert usd is not None
    assert truth is not None
    assert usd.middle is not None
    assert usd.high is not None
    assert usd.low < truth < usd.high < truth * 1.6
    assert abs(usd.middle - truth) < 0.25 * truth
    assert "a trial of 60 draws" in usd.basis
    for range_, kind in ((found.input_tokens, "input"), (found.output_tokens, "output")):
        assert range_.high is not None
        assert range_.low <= summary.cost.tokens[kind] <= range_.high
    assert found.failed_share == 0


def test_rows_that_a_trial_has_answered_cost_nothing_more(go: Go, say: Callable[..., Estimate], tmp_path: Path) -> None:
    trial = str(tmp_path / "trial")
    spent = go(source=uneven(), request=REQUEST, prices=PRICES, sample=60, destination=trial)

    found = say(uneven(), trial=trial, reuse=trial)

    summary = go(source=uneven(), request=REQUEST, prices=PRICES, max_shard_requests=1000, reuse=[trial])
    assert (found.requests, found.reused, found.deduplicated) == (summary.requests, summary.reused, summary.deduplicated)
    assert found.reused >= spent.rows
    assert not any("have changed since the trial" in note for note in found.notes)
    assert found.usd is not None
    assert found.usd.high is not None
    assert summary.cost.usd is not None
    assert found.usd.low < summary.cost.usd < found.usd.high
    assert found.input_tokens.low < summary.cost.tokens["input"] < (found.input_tokens.high or 0)


def test_nothing_is_left_to_pay_when_all_is_reused(go: Go, say: Callable[..., Estimate], tmp_path: Path) -> None:
    go(source=table(12), request=REQUEST, prices=PRICES, sample=50)

    found = say(table(12), trial=str(tmp_path / "run"), reuse=str(tmp_path / "run"))

    assert (found.requests, found.reused) == (0, 12)
    assert found.usd is not None
    assert (found.usd.low, found.usd.middle, found.usd.high) == (0, 0, 0)


def test_a_trial_that_holds_the_whole_table_is_exact(go: Go, say: Callable[..., Estimate], tmp_path: Path) -> None:
    summary = go(source=table(12), request=REQUEST, prices=PRICES, sample=50)

    usd = say(table(12), trial=str(tmp_path / "run")).usd

    assert usd is not None
    assert usd.low == usd.middle == usd.high == pytest.approx(summary.cost.usd, abs=1e-6)


def test_rows_without_an_answer_are_not_free(go: Go, say: Callable[..., Estimate], tmp_path: Path, emulator: Emulator) -> None:
    whole = go(source=table(40), request=REQUEST, prices=PRICES, sample=50, destination=str(tmp_path / "whole"))
    emulator.faults.add(RowFault(do="error", keys=tuple(f"k{row}" for row in range(10))))
    go(source=table(40), request=REQUEST, prices=PRICES, sample=50)

    found = say(table(40), trial=str(tmp_path / "run"))

    assert found.failed_share == 0.25
    assert found.usd is not None
    assert found.usd.middle == pytest.approx(whole.cost.usd, rel=0.1)
    assert found.usd.low == pytest.approx(found.usd.middle * 0.75, rel=1e-3)
    assert found.usd.high == pytest.approx(found.usd.middle * 1.25, rel=1e-3)
    assert any("25% of the trial's draws" in note for note in found.notes)


def test_a_table_that_has_grown_is_scaled_and_said(go: Go, say: Callable[..., Estimate], tmp_path: Path) -> None:
    summary = go(source=table(12), request=REQUEST, prices=PRICES, sample=50)

    found = say(table(24), trial=str(tmp_path / "run"))

    assert found.usd is not None
    assert found.usd.middle == pytest.approx(2 * (summary.cost.usd or 0), rel=0.05)
    assert any("have changed since the trial" in note for note in found.notes)


def test_counted_tokens_narrow_the_input(go: Go, say: Callable[..., Estimate], emulator: Emulator) -> None:
    summary = go(source=uneven(), request=REQUEST, prices=PRICES, max_shard_requests=1000)

    found = say(uneven(), count_tokens=40, endpoint=Endpoint(api_key="AIzaAnyKey", base_url=emulator.url))

    truth = summary.cost.tokens["input"]
    counted = found.input_tokens
    assert counted.middle is not None
    assert counted.high is not None
    assert counted.low <= truth <= counted.high
    assert abs(counted.middle - truth) < 0.1 * truth
    assert counted.basis == "countTokens of 40 draws"
    assert found.usd is not None
    assert found.usd.middle is None


def test_embeddings_have_no_output(say: Callable[..., Estimate], emulator: Emulator) -> None:
    model = "gemini-embedding-001"
    prices = {"prices": {model: {"input": 0.1}}}

    found = say(
        table(20), EmbedRequest(text="${body}"), model=model, options=prices, count_tokens=5,
        endpoint=Endpoint(api_key="AIzaAnyKey", base_url=emulator.url),
    )  # fmt: skip

    assert found.output_tokens.high == 0
    assert found.input_tokens.middle is not None
    assert found.input_tokens.middle > 0
    assert found.usd is not None
    assert found.usd.high is not None


def test_without_a_price_there_are_tokens_and_a_reason(say: Callable[..., Estimate]) -> None:
    found = say(table(3), model="gemini-9-unheard-of", options=None)

    assert found.usd is None
    assert found.requests == 3
    assert any("no price is known" in note for note in found.notes)
    assert found.output_tokens.high == 6000


def test_what_cannot_be_counted_has_no_high_end(say: Callable[..., Estimate]) -> None:
    video = GenerateRequest(prompt="${body}", media=["clip"])
    rows = pa.table({"id": ["a"], "body": ["b"], "clip": ["https://example.com/clip.mp4"]})

    found = say(rows, video)

    assert found.input_tokens.high is None
    assert found.usd is not None
    assert found.usd.high is None
    assert any("video/mp4" in note for note in found.notes)


@pytest.mark.parametrize("what", ["nothing", "whole", "other", "model"])
def test_a_trial_that_cannot_serve_is_refused_with_the_reason(
    what: str, go: Go, say: Callable[..., Estimate], tmp_path: Path
) -> None:
    if what != "nothing":
        go(source=table(5), request=REQUEST, sample=None if what == "whole" else 3)
    request = GenerateRequest(prompt="Other: ${body}") if what == "other" else REQUEST
    model = "gemini-2.5-flash" if what == "model" else MODEL
    reasons = {"nothing": "holds no run", "whole": "not the run of a sample", "other": "prompt is", "model": "model is"}

    with pytest.raises(Exception, match=reasons[what]):
        say(table(5), request, model=model, trial=str(tmp_path / "run"))


def test_a_trial_that_is_not_finished_is_refused(go: Go, say: Callable[..., Estimate], tmp_path: Path) -> None:
    go(source=table(5), request=REQUEST, sample=3)
    (tmp_path / "run" / "summary.json").unlink()

    with pytest.raises(InputError, match="is not finished"):
        say(table(5), trial=str(tmp_path / "run"))
