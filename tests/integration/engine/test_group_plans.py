"""The plan of a run that several builders build, and what is refused before anything is paid."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from airflow_gemini_batch.emulator import Emulator
from airflow_gemini_batch.engine.build.building import build_run
from airflow_gemini_batch.engine.build.group_building import build_group
from airflow_gemini_batch.engine.build.merging import merge_groups
from airflow_gemini_batch.engine.build.planning import plan_groups
from airflow_gemini_batch.engine.errors import BudgetError, CorruptRunError, DestinationError, InputError, NotFoundError
from airflow_gemini_batch.engine.finish.summary import Summary
from airflow_gemini_batch.engine.gemini.client import Endpoint, GeminiClient
from airflow_gemini_batch.engine.run.groups import read_plan
from tests.integration.engine.groups import (
    OPTIONS,
    built_in_groups,
    files_of,
    finishing,
    here,
    question,
    rows,
    write_files,
)

pytestmark = pytest.mark.integration


@pytest.fixture
def finish(endpoint: Endpoint) -> Callable[..., Summary]:
    return finishing(endpoint)


# --- what is refused


def test_a_key_in_two_groups_is_named_with_both(tmp_path: Path) -> None:
    tables = [rows(["a", "b"]), rows(["c"], 2), rows(["d", "a"], 1)]
    spec = question(write_files(tmp_path / "in", tables))
    run = here(tmp_path / "run")

    with pytest.raises(InputError) as error:
        built_in_groups(run, spec, 3)

    told = str(error.value)
    assert re.search(r"'k1' in group 0 \(.*000.parquet\) and in group 2 \(.*002.parquet\)", told)
    assert re.search(r"'k2' in group 1 \(.*001.parquet\) and in group 2", told)
    assert run.manifest() is None


@pytest.mark.parametrize("where", ["duplicates", "reused"])
def test_a_key_that_no_shard_holds_is_compared_too(
    where: str, tmp_path: Path, emulator: Emulator, finish: Callable[..., Summary]
) -> None:
    reuse: tuple[str, ...] = ()
    if where == "reused":
        earlier = question(write_files(tmp_path / "earlier_in", [rows(["a"])]))
        build_run(here(tmp_path / "earlier"), earlier, OPTIONS)
        finish(here(tmp_path / "earlier"), earlier)
        reuse = (str(tmp_path / "earlier"),)
    tables = [rows(["a", "a"]), rows(["a", "a"], 1)]
    spec = question(write_files(tmp_path / "in", tables), reuse=reuse)

    with pytest.raises(InputError, match=r"'k1' in group 0 .* and in group 1"):
        built_in_groups(here(tmp_path / "run"), spec, 2)


def test_hashes_that_collide_are_not_keys_that_are_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_gemini_batch.engine.build import group_indexes, shards

    for module in (group_indexes, shards):
        monkeypatch.setattr(module, "stable_hash", lambda key: 7)
    monkeypatch.setattr(shards, "stable_hashes", lambda keys: np.full(len(keys), 7))
    spec = question(write_files(tmp_path / "in", files_of([["a", "b"], ["c"]])))

    assert built_in_groups(here(tmp_path / "run"), spec, 2).rows == 3


def test_a_group_of_another_plan_is_refused(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "in", files_of([["a"], ["b"]]))
    run = here(tmp_path / "run")
    stale, _ = plan_groups(run, question(folder), OPTIONS, groups=2)
    build_group(run, stale, 0)
    fresh, _ = plan_groups(run, question(folder, model="gemini-2.5-flash"), OPTIONS, groups=2)

    assert fresh != stale
    for call in (lambda: build_group(run, stale, 1), lambda: merge_groups(run, stale)):
        with pytest.raises(DestinationError, match="Clear the plan task too"):
            call()
    with pytest.raises(DestinationError, match=r"2 of 2 groups .* are not built: 0, 1"):
        merge_groups(run, fresh)
    build_group(run, fresh, 0)
    build_group(run, fresh, 1)
    assert merge_groups(run, fresh).model == "gemini-2.5-flash"
    for call in (lambda: build_group(run, stale, 1), lambda: merge_groups(run, stale)):
        with pytest.raises(DestinationError, match="Clear the plan task too"):
            call()


def test_a_limit_without_a_price_is_refused_before_a_group_is_built(tmp_path: Path) -> None:
    run = here(tmp_path / "run")
    spec = question(write_files(tmp_path / "in", files_of([["a"], ["b"]])), model="gemini-3.5-flash", max_cost_usd=1.0)

    with pytest.raises(BudgetError, match="max_cost_usd"):
        plan_groups(run, spec, OPTIONS, groups=2)

    assert read_plan(run) is None


def test_a_plan_is_replaced_only_by_one_that_the_service_takes(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "in", files_of([["a"], ["b"]]))
    run = here(tmp_path / "run")
    planned, _ = plan_groups(run, question(folder), OPTIONS, groups=2)

    with (
        Emulator(tmp_path / "service") as emulator,
        GeminiClient(Endpoint(api_key="AIzaAnyKey", base_url=emulator.url)) as client,
        pytest.raises(NotFoundError, match="gemini-none"),
    ):
        plan_groups(run, question(folder, model="gemini-none"), OPTIONS, groups=2, client=client)

    left = read_plan(run)
    assert left is not None
    assert left.run_id == planned


def test_a_shard_that_another_builder_has_written_over_is_refused(tmp_path: Path) -> None:
    run = here(tmp_path / "run")
    run_id, groups = plan_groups(run, question(write_files(tmp_path / "in", files_of([["a"], ["b"]]))), OPTIONS, groups=2)
    built = [build_group(run, run_id, group) for group in range(groups)]
    assert built[1] is not None
    run.requests_file(built[1].shards[0].id).write(b"{}\n")

    with pytest.raises(CorruptRunError, match="Another run was built here meanwhile"):
        merge_groups(run, run_id)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"key": None}, "key is None"),
        ({"sample": 2}, "sample is given"),
        ({"request": lambda row: {}}, "cannot be sent to other tasks"),
        ({"source": rows(["a"])}, "groups are made of files"),
    ],
)
def test_what_cannot_be_built_in_groups_is_refused_by_the_plan(given: dict[str, Any], told: str, tmp_path: Path) -> None:
    spec = question(**{"source": write_files(tmp_path / "in", [rows(["a"])]), **given})

    with pytest.raises(InputError, match=told):
        plan_groups(here(tmp_path / "run"), spec, OPTIONS, groups=2)


# --- plans


def test_the_same_plan_is_found_again_also_when_it_is_built(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "in", files_of([["a"], ["b"], ["c"]]))
    run = here(tmp_path / "run")
    planned = plan_groups(run, question(folder), OPTIONS, groups=2)

    assert plan_groups(run, question(folder), OPTIONS, groups=2) == planned
    for group in range(planned[1]):
        build_group(run, planned[0], group)
    merged = merge_groups(run, planned[0])
    assert plan_groups(run, question(folder), OPTIONS, groups=2) == planned
    assert build_group(run, planned[0], 1) is None
    assert merge_groups(run, planned[0]) == merged
    assert build_run(run, question(folder), OPTIONS) == merged


def test_a_run_that_one_task_has_built_is_one_group_that_is_done(tmp_path: Path) -> None:
    spec = question(write_files(tmp_path / "in", files_of([["a"], ["b"]])))
    run = here(tmp_path / "run")
    manifest = build_run(run, spec, OPTIONS)

    assert plan_groups(run, spec, OPTIONS, groups=2) == (manifest.run_id, 1)
    assert build_group(run, manifest.run_id, 0) is None
    assert merge_groups(run, manifest.run_id) == manifest


def test_replace_replaces_what_others_have_planned_and_keeps_its_own(tmp_path: Path) -> None:
    spec = question(write_files(tmp_path / "in", files_of([["a"], ["b"]])))
    run = here(tmp_path / "run")
    first = plan_groups(run, spec, OPTIONS, groups=2, if_exists="replace", owner="one")

    assert plan_groups(run, spec, OPTIONS, groups=2, if_exists="replace", owner="one") == first
    assert plan_groups(run, spec, OPTIONS, groups=2, if_exists="replace", owner="other") != first


def test_groups_are_of_about_the_same_size_and_keep_the_order(tmp_path: Path) -> None:
    sizes = [10, 10, 10, 500, 10, 10, 10, 10]
    tables = files_of([[f"{file} {row} {'x' * 40}" for row in range(size)] for file, size in enumerate(sizes)])
    run = here(tmp_path / "run")
    plan_groups(run, question(write_files(tmp_path / "in", tables)), OPTIONS, groups=3)

    groups = [
        [file["path"][-11:-8] for file in group]
        for group in msgspec.json.decode((run.groups_folder / "plan.json").read())["groups"]
    ]

    assert groups == [["000", "001", "002"], ["003"], ["004", "005", "006", "007"]]
