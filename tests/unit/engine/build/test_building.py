"""A destination holds one run: the same question finds it, another one is refused before anything is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_gemini_batch.engine.build.building import build_run
from airflow_gemini_batch.engine.build.call import RunSpec
from airflow_gemini_batch.engine.errors import DestinationError, InputError
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.run.layout import Run, ShardAttempt
from airflow_gemini_batch.engine.run.ledger import Ledger
from airflow_gemini_batch.engine.run.storage import locate
from airflow_gemini_batch.engine.specs import GenerateRequest

OPTIONS = BatchOptions(max_shard_requests=2)
MODEL = "gemini-3.6-flash"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(locate(str(tmp_path / "run")))


@pytest.fixture
def question(tmp_path: Path) -> RunSpec:
    """The source is a file, so a fingerprint tells that it has not changed."""
    pq.write_table(pa.table({"id": ["a", "b", "c"], "body": ["x", "y", "z"]}), tmp_path / "rows.parquet")
    return RunSpec(str(tmp_path / "rows.parquet"), GenerateRequest(prompt="${body}"), MODEL, key="id", carry=["body"])


def submit(run: Run) -> None:
    """A job of the run may have been created."""
    assert Ledger(run).claim(ShardAttempt(0), "token", 1)


def asking(prefix: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def ask(row: dict[str, Any]) -> dict[str, Any]:
        return {"contents": [{"parts": [{"text": prefix + row["body"]}]}]}

    return ask


def test_a_callable_that_was_changed_is_another_question(run: Run, question: RunSpec) -> None:
    first = build_run(run, replace(question, request=asking("Old: ")), OPTIONS)

    assert build_run(run, replace(question, request=asking("Old: ")), OPTIONS) == first
    submit(run)
    with pytest.raises(DestinationError, match="makes other requests"):
        build_run(run, replace(question, request=asking("New: ")), OPTIONS)


@pytest.mark.parametrize(
    "other",
    [
        {"model": "gemini-3.6-pro"},
        {"request": GenerateRequest(prompt="${id}")},
        {"key": "body"},
        {"carry": ()},
        {"carry": ["id"]},
    ],
    ids=str,
)
def test_another_question_is_refused_and_changes_nothing(other: dict[str, Any], run: Run, question: RunSpec) -> None:
    first = build_run(run, question, OPTIONS)
    submit(run)

    with pytest.raises(DestinationError, match=first.run_id):
        build_run(run, replace(question, **other), OPTIONS)

    assert run.manifest() == first


@pytest.mark.parametrize("other", [{"model": "gemini-3.6-pro"}, {"request": GenerateRequest(prompt="${id}")}], ids=str)
@pytest.mark.parametrize(("if_exists", "submitted"), [("resume", False), ("replace", False), ("replace", True)])
def test_another_question_replaces_what_was_not_submitted_or_what_it_is_asked_to(
    if_exists: Any, submitted: bool, other: dict[str, Any], run: Run, question: RunSpec
) -> None:
    first = build_run(run, question, OPTIONS, owner="me")
    if submitted:
        submit(run)

    second = build_run(run, replace(question, **other), OPTIONS, if_exists=if_exists, owner="me")

    assert second.run_id != first.run_id
    assert run.manifest() == second
    assert not Ledger(run).has_submissions()


def test_the_error_shows_the_text_around_the_first_difference(run: Run, question: RunSpec) -> None:
    long = "Please read this. " * 20
    build_run(run, replace(question, request=GenerateRequest(prompt=f"{long}Be brief: ${{body}}")), OPTIONS)
    submit(run)

    with pytest.raises(DestinationError, match=r"Be brief.*this call has.*Be exact"):
        build_run(run, replace(question, request=GenerateRequest(prompt=f"{long}Be exact: ${{body}}")), OPTIONS)


def test_a_bad_question_leaves_the_run_that_is_there(run: Run, question: RunSpec) -> None:
    first = build_run(run, question, OPTIONS)

    for if_exists in ("resume", "replace"):
        with pytest.raises(InputError, match="nothing_of_that_name"):
            build_run(
                run, replace(question, request=GenerateRequest(prompt="${nothing_of_that_name}")), OPTIONS, if_exists=if_exists
            )

    assert run.manifest() == first


def test_the_same_question_finds_the_run(run: Run, question: RunSpec) -> None:
    assert build_run(run, question, OPTIONS) == build_run(run, question, OPTIONS)


def test_tables_without_a_manifest_are_not_built_over(run: Run, question: RunSpec) -> None:
    part = run.destination / "results" / "part-00000-0.parquet"
    part.write(b"somebody's")

    with pytest.raises(DestinationError, match="part-00000-0"):
        build_run(run, question, OPTIONS)

    assert part.read() == b"somebody's"
    assert not run.manifest_file.exists()


@pytest.mark.parametrize("folder", ["results", "dead_letter", "results_media", "_run"])
def test_a_replaced_run_leaves_no_file_behind(folder: str, run: Run, question: RunSpec) -> None:
    first = build_run(run, question, OPTIONS, owner="me")
    left = run.destination / folder / "left-behind"
    left.write(b"x")
    run.summary_file.write(b"{}")

    second = build_run(run, question, OPTIONS, if_exists="replace", owner="another")

    assert second.run_id != first.run_id
    assert not left.exists()
    assert not run.summary_file.exists()


@pytest.mark.parametrize(("owner", "replaced"), [("me", False), ("another", True), (None, True)])
def test_replace_spares_what_the_same_owner_has_begun(owner: str | None, replaced: bool, run: Run, question: RunSpec) -> None:
    first = build_run(run, question, OPTIONS, owner="me")

    second = build_run(run, question, OPTIONS, if_exists="replace", owner=owner)

    assert (second.run_id != first.run_id) is replaced


def test_a_run_without_an_owner_belongs_to_nobody(run: Run, question: RunSpec) -> None:
    first = build_run(run, question, OPTIONS)

    assert build_run(run, question, OPTIONS, if_exists="replace").run_id != first.run_id


@pytest.mark.parametrize("arguments", [{"if_exists": "overwrite"}, {"if_exists": ""}])
def test_an_unknown_if_exists_is_refused_before_anything_is_written(arguments: Any, run: Run, question: RunSpec) -> None:
    with pytest.raises(InputError, match="if_exists"):
        build_run(run, question, OPTIONS, **arguments)

    assert not run.manifest_file.exists()
