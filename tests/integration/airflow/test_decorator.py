"""``@task.gemini_batch``: the function runs once per try, and its rows are sent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from airflow_gemini_batch import GenerateRequest, InputError
from airflow_gemini_batch._compat import AirflowFailException
from airflow_gemini_batch.decorators.gemini_batch import _GeminiBatchDecoratedOperator
from airflow_gemini_batch.emulator import Emulator
from tests.integration.airflow.conftest import MODEL, Passes, created, read, table

Decorate = Callable[..., Any]


@pytest.fixture
def decorate(connect: Any, tmp_path: Path) -> Decorate:
    """The task that a decorated function becomes, with short waits."""

    def decorate(function: Callable[..., Any], **arguments: Any) -> Any:
        options = {"poll_interval": 0.1, "max_shard_requests": 2, **arguments.pop("options", {})}
        given = {"model": MODEL, "destination": str(tmp_path / "run"), "options": options}
        return _GeminiBatchDecoratedOperator(task_id="describe", python_callable=function, **{**given, **arguments})

    return decorate


def test_a_list_of_prompts_needs_no_request(decorate: Decorate, tmp_path: Path) -> None:
    summary = Passes(decorate(lambda: ["Say one.", "Say two.", "Say three."])).finish()

    assert (summary["rows"], summary["results"], summary["balanced"]) == (3, 3, True)
    assert [row["text"] for row in read(tmp_path / "run" / "results")] == ["Say one.", "Say two.", "Say three."]


@pytest.mark.parametrize("kind", [tuple, pd.Series, np.array])
def test_prompts_need_not_be_in_a_list(kind: Callable[..., Any], decorate: Decorate, tmp_path: Path) -> None:
    Passes(decorate(lambda: kind(["Say one.", "Say two."]))).finish()

    assert [row["text"] for row in read(tmp_path / "run" / "results")] == ["Say one.", "Say two."]


@pytest.mark.parametrize("kind", [lambda rows: rows, pd.DataFrame, pa.Table.from_pylist], ids=["dicts", "pandas", "arrow"])
def test_rows_can_be_sent_with_another_request(kind: Callable[..., Any], decorate: Decorate, tmp_path: Path) -> None:
    rows = kind([{"sku": "a", "body": "red"}, {"sku": "b", "body": "blue"}])

    Passes(decorate(lambda: rows, request=GenerateRequest(prompt="Repeat: ${body}"), key="sku", carry=["body"])).finish()

    results = read(tmp_path / "run" / "results")
    assert [(row["key"], row["body"]) for row in results] == [("a", "red"), ("b", "blue")]
    assert all(row["body"] in row["text"] for row in results)


def test_the_function_runs_once_per_try(decorate: Decorate, emulator: Emulator) -> None:
    calls: list[str] = []

    def rows() -> list[str]:
        calls.append("called")
        return ["a", "b", "c", "d", "e", "f"]

    passes = Passes(decorate(rows, options={"max_active_jobs": 1}))
    passes.finish()

    assert len(passes.events) >= 3
    assert calls == ["called"]
    assert len(created(emulator)) == len(set(created(emulator))) == 3


def test_another_try_with_the_same_rows_resumes_the_run(decorate: Decorate, emulator: Emulator) -> None:
    Passes(decorate(lambda: table(4).to_pylist(), request=GenerateRequest(prompt="${body}"))).start()

    summary = Passes(decorate(lambda: table(4).to_pandas(), request=GenerateRequest(prompt="${body}"))).finish()

    assert summary["balanced"]
    assert len(created(emulator)) == len(set(created(emulator))) == 2


def test_another_try_with_other_rows_finishes_the_run_as_it_was_built(
    decorate: Decorate, emulator: Emulator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Passes(decorate(lambda: ["a", "b"])).start()
    paid = created(emulator)

    summary = Passes(decorate(lambda: ["a", "c"])).finish()

    assert summary["rows"] == 2
    assert sorted(row["text"] for row in read(tmp_path / "run" / "results")) == ["a", "b"]
    assert created(emulator) == paid
    assert "continued as it was built" in caplog.text


def test_an_empty_list_is_a_run_without_jobs(decorate: Decorate, emulator: Emulator) -> None:
    summary = Passes(decorate(list, request=GenerateRequest(prompt="${body}"), key="sku")).finish()

    assert (summary["rows"], summary["balanced"]) == (0, True)
    assert created(emulator) == []


def test_braces_and_dollars_in_a_prompt_are_not_changed(decorate: Decorate, tmp_path: Path) -> None:
    Passes(decorate(lambda: ["Say {{ ds }} and ${body}."])).finish()

    assert [row["text"] for row in read(tmp_path / "run" / "results")] == ["Say {{ ds }} and ${body}."]


def test_templates_in_the_arguments_are_rendered(decorate: Decorate, tmp_path: Path) -> None:
    def rows(ds: str, body: str) -> list[dict[str, str]]:
        return [{"body": f"{body} of {ds}"}]

    request = GenerateRequest(prompt="${body} on {{ ds }}")
    Passes(decorate(rows, request=request, op_kwargs={"body": "news {{ ds }}"}, destination=str(tmp_path / "{{ ds }}"))).finish()

    [row] = read(tmp_path / "2026-11-21" / "results")
    assert row["text"] == "news 2026-11-21 of 2026-11-21 on 2026-11-21"


def test_a_value_that_is_not_a_table_fails_the_task_without_a_retry(decorate: Decorate, emulator: Emulator) -> None:
    def prompt() -> str:
        return "Summarise this"

    with pytest.raises(AirflowFailException, match=r"InputError: prompt\(\) returned a value of type str; return a pandas"):
        Passes(decorate(prompt)).start()

    assert created(emulator) == []


def test_an_async_function_is_refused(decorate: Decorate) -> None:
    async def prompts() -> list[str]:
        return ["Summarise this"]

    with pytest.raises(AirflowFailException, match=r"prompts\(\) is async; make it a plain function"):
        Passes(decorate(prompts)).start()


def test_an_error_of_the_function_may_be_retried(decorate: Decorate) -> None:
    def rows() -> list[str]:
        raise ConnectionError("the warehouse is away")

    with pytest.raises(ConnectionError, match="the warehouse is away"):
        Passes(decorate(rows)).start()


def test_a_source_beside_the_function_is_refused(decorate: Decorate) -> None:
    with pytest.raises(InputError, match="does not accept source: the decorated function returns the table"):
        decorate(list, source="s3://bucket/rows.parquet")


def test_in_a_dag_with_upstream_rows_and_mapped(run_dag: Callable[..., Any], tmp_path: Path, emulator: Emulator) -> None:
    ran = run_dag(
        """
        @task
        def bodies():
            return ["red", "blue"]

        @task.gemini_batch(
            model=MODEL, destination=RUN + "/all", options={"poll_interval": 0.2},
            request=GenerateRequest(prompt="Say ${body}"), key="body"
        )
        def colours(bodies):
            return pa.table({"body": bodies})

        @task.gemini_batch(model=MODEL, destination=RUN + "/{{ ti.map_index }}", options={"poll_interval": 0.2})
        def one(body):
            return [f"Repeat: {body}"]

        one.expand(body=bodies())
        colours(bodies())
        """,
        RUN=str(tmp_path / "runs"),
    )

    assert (ran.state, ran.tasks["colours"], ran.tasks["one"]) == ("success", ["success"], ["success", "success"])
    assert (ran["colours"]["results"], ran["one"]["results"]) == (2, 1)
    assert len(created(emulator)) == 3
