"""The example DAGs of evaluations, run with ``dag.test()`` on an emulator whose models are right or wrong by prompt and model."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_gemini_batch.emulator import Emulator
from tests.integration.airflow.conftest import DagRunResult, created

pytestmark = pytest.mark.integration

DAGS = Path(__file__).parents[3] / "dags"

#: A small data set.
FEWER = {"EVERY = 12": "EVERY = 200"}

RunFile = Callable[..., DagRunResult]


class Model:
    """Says what a name looks like, which is right for most; of ``wrong`` of 100 names it says something else."""

    wrong = 0

    def __call__(self, request: dict[str, Any]) -> str | None:
        prompt = request["contents"][-1]["parts"][-1]["text"]
        name = re.match(r"Is Python's ([\w.]+)", prompt)
        assert name is not None
        if zlib.crc32(name[1].encode()) % 100 < self.wrong:
            return "module"
        parts = name[1].split(".")
        if "(" in prompt and "(self" in prompt:
            return "Method"
        return "Class" if parts[-1][:1].isupper() else "Method" if parts[-2][:1].isupper() else "Function"


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def emulator(tmp_path: Path, model: Model) -> Iterator[Emulator]:
    with Emulator(tmp_path / "service", answers=model, pending_seconds=0.1, running_seconds=0.2) as emulator:
        yield emulator


def example(name: str, **other: str) -> str:
    """The file, with shorter waits and other texts."""
    content = (DAGS / f"{name}.py").read_text()
    for old, new in {"poll_interval=10": "poll_interval=0.1", **other}.items():
        assert old in content
        content = content.replace(old, new)
    return content


def test_each_prompt_and_model_is_run_scored_and_compared(run_file: RunFile, tmp_path: Path) -> None:
    ran = run_file(example("evaluate_prompts"), {"folder": str(tmp_path / "runs")})

    assert ran.state == "success"
    assert ran.tasks["answer"] == ran.tasks["score"] == ["success"] * 4
    rows = ran["answer"]["rows"]
    assert 400 < rows < 700
    assert [run["rows"] for run in ran.returned["answer"]] == [rows] * 4
    outcome = ran["compare"]
    names = [str(label).rpartition("/")[2] for label in ran.labels["answer"]]
    assert names == [
        f"{prompt}-{model}" for prompt in ("name", "signature") for model in ("gemini-2.5-flash", "gemini-3.6-flash")
    ]
    assert [one["candidate"]["run"].rpartition("/")[2] for one in outcome["candidates"]] == names[1:]
    contains = [one["scorers"][0] for one in outcome["candidates"]]
    assert [one["name"] for one in contains] == ["contains"] * 3
    assert [one["shown"] for one in contains] == [False, True, True]
    assert contains[0]["difference"] == 0
    assert contains[1]["difference"] == contains[2]["difference"] > 0
    assert outcome["verdict"] == "pass"
    assert ran["choose"] in [one["candidate"]["run"] for one in outcome["candidates"][1:]]
    report = Path(outcome["uri"], "report.html").read_text(encoding="utf-8")
    assert "3 candidates" in report


def test_a_rerun_pays_only_for_what_has_changed(run_file: RunFile, emulator: Emulator, tmp_path: Path) -> None:
    folder = {"folder": str(tmp_path / "runs")}
    first = run_file(example("evaluate_prompts", **FEWER), folder)
    paid = len(created(emulator))

    again = run_file(example("evaluate_prompts", **FEWER), folder)
    assert len(created(emulator)) == paid == 4
    assert [run["reused"] for run in again.returned["answer"]] == [run["rows"] for run in first.returned["answer"]]

    changed = {"Python's ${qualified_name}${signature} a class": "Python's ${qualified_name} of ${module} a class"}
    third = run_file(example("evaluate_prompts", **FEWER, **changed), folder)

    assert len(created(emulator)) == paid + 2
    assert [run["requests"] > 0 for run in third.returned["answer"]] == [False, False, True, True]
    assert first.state == again.state == third.state == "success"


def test_a_night_is_compared_with_the_latest_good_one_and_fails_if_it_is_worse(
    run_file: RunFile, model: Model, tmp_path: Path
) -> None:
    dag, folder = example("nightly_regression"), tmp_path / "runs"

    def night() -> DagRunResult:
        return run_file(dag, {"folder": str(folder)})

    first, second = night(), night()
    model.wrong = 30
    bad = night()
    model.wrong = 0
    after = night()

    assert (first.state, first.tasks["compare"]) == ("success", ["skipped"])
    assert (second.state, second["compare"]["verdict"]) == ("success", "pass")
    assert (bad.state, bad["compare"]["verdict"]) == ("failed", "fail")
    assert (after.state, after["compare"]["verdict"]) == ("success", "pass")
    good = second["answer"]["destination"]
    assert [run["latest_good_night"] for run in (second, bad, after)] == [first["answer"]["destination"], good, good]
    assert "gate failed" in Path(bad["compare"]["uri"], "report.html").read_text(encoding="utf-8")
