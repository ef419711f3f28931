"""A run that several builders build: as if one had built it, whatever the groups and however often they are built."""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_gemini_batch.emulator import Emulator, RowFault
from airflow_gemini_batch.engine.build.building import build_run
from airflow_gemini_batch.engine.build.group_building import build_group
from airflow_gemini_batch.engine.build.merging import merge_groups
from airflow_gemini_batch.engine.build.planning import plan_groups
from airflow_gemini_batch.engine.errors import BudgetError, DestinationError
from airflow_gemini_batch.engine.finish.summary import Summary
from airflow_gemini_batch.engine.gemini.client import Endpoint
from airflow_gemini_batch.engine.run.layout import Manifest, Run
from airflow_gemini_batch.engine.specs import GenerateRequest
from tests.integration.engine.conftest import read
from tests.integration.engine.groups import (
    OPTIONS,
    built_in_groups,
    files_of,
    finishing,
    here,
    question,
    write_files,
)

pytestmark = pytest.mark.integration


def content(run: Run) -> dict[str, bytes]:
    """All files of a run but those that say when and by which id it was built."""
    root = Path(run.destination.path)
    found = {str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*") if file.is_file()}
    return {name: data for name, data in found.items() if "groups" not in name and not name.endswith("manifest.json")}


@pytest.fixture
def finish(endpoint: Endpoint) -> Callable[..., Summary]:
    return finishing(endpoint)


BODIES = [["a", "b", "c", "a"], ["b", "d", None], [], ["a", "e", "d", "d", "f", "g"], ["h"]]


def test_groups_come_out_as_one_build(tmp_path: Path, emulator: Emulator, finish: Callable[..., Summary]) -> None:
    spec = question(write_files(tmp_path / "in", files_of(BODIES)))
    one, many = here(tmp_path / "one"), here(tmp_path / "many")
    whole = build_run(one, spec, OPTIONS)
    merged = built_in_groups(many, spec, 5)

    assert merged.rows == whole.rows == 14
    assert sum(shard.requests for shard in merged.shards) == sum(shard.requests for shard in whole.shards) == 8
    first, second = finish(one, spec), finish(many, spec)

    assert (second.results, second.dead_letter, second.requests, second.deduplicated) == (
        first.results, first.dead_letter, first.requests, first.deduplicated
    )  # fmt: skip
    for name in ("results", "dead_letter"):
        assert told(many, name) == told(one, name)


def told(run: Run, table: str) -> list[tuple[Any, ...]]:
    """What a table says, apart from where and when."""
    found = [row for part in Path(run.destination.path, table).glob("*.parquet") for row in pq.read_table(part).to_pylist()]
    return sorted(
        (row["key"], row["row"], row.get("text"), row.get("paid_by"), row.get("reason"), row["request_sha256"]) for row in found
    )


# --- what is made


def made(run: Run, manifest: Manifest) -> dict[str, Any]:
    """The requests, problems and duplicates of a built run, by key, however its shards are cut."""
    lines, problems, duplicates = [], [], []
    for shard in manifest.shards:
        content = Path(run.requests_file(shard.id).path).read_bytes()
        assert content.count(b"\n") == shard.requests
        assert len(content) == shard.bytes
        lines += content.splitlines()
        inputs = pa.ipc.open_file(run.inputs_file(shard.id).path).read_all()
        assert inputs.num_rows == shard.rows
        keys = inputs.column(0).to_pylist()
        problems += [(row["key"], row["problem"], row["row"]) for row in inputs.to_pylist() if row["problem"] is not None]
        if shard.duplicates:
            aside = pa.ipc.open_file(run.duplicates_file(shard.id).path).read_all()
            assert aside.column(0).to_pylist() == sorted(aside.column(0).to_pylist())
            duplicates += [(keys[row["payer"]], row["key"], row["row"]) for row in aside.to_pylist()]
        else:
            assert not run.duplicates_file(shard.id).exists()
    return {"lines": sorted(lines), "problems": sorted(problems), "duplicates": sorted(duplicates)}


texts = st.one_of(st.none(), st.sampled_from("abcdefgh"), st.text(max_size=3))


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.lists(texts, max_size=9), min_size=1, max_size=7), st.integers(1, 9), st.booleans(), st.randoms())
def test_any_groups_make_what_one_builder_makes(
    bodies: list[list[str | None]], groups: int, dedupe: bool, dice: random.Random
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        spec = question(write_files(Path(folder) / "in", files_of(bodies)), dedupe=dedupe)
        one, many = here(Path(folder) / "one"), here(Path(folder) / "many")
        whole = build_run(one, spec, OPTIONS)

        merged = built_in_groups(many, spec, groups, lambda numbers: dice.sample(numbers, len(numbers)))

        assert made(many, merged) == made(one, whole)
        assert merged.rows == whole.rows
        numbers = [shard.number for shard in merged.shards]
        assert len(set(numbers)) == len(numbers)
        assert all(shard.rows for shard in merged.shards) or len(merged.shards) == 1
        assert [file.name for file in many.groups_folder.folders()] == [merged.run_id]
        assert {file.name.rpartition(".")[2] for file in (many.groups_folder / merged.run_id).children()} == {"json"}
        kept = {str(shard.id) for shard in merged.shards}
        assert {file.name[6:].partition(".")[0] for file in (many.destination / "_run" / "requests").children()} == kept


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_the_groups_and_a_second_build_change_no_byte(seed: int, tmp_path: Path) -> None:
    dice = random.Random(seed)
    bodies = [[dice.choice("abcdefghijklmnop") for _ in range(dice.randint(0, 20))] for _ in range(6)]
    spec = question(write_files(tmp_path / "in", files_of(bodies)))
    first, second = here(tmp_path / "first"), here(tmp_path / "second")
    built_in_groups(first, spec, 4)
    run_id, groups = plan_groups(second, spec, OPTIONS, groups=4)
    for group in reversed(range(groups)):
        build_group(second, run_id, group)
    built = content(second)
    for group in range(groups):  # as if the tasks had been killed before they could say that they are done
        (second.groups_folder / run_id / f"{group:05d}.json").delete()
        build_group(second, run_id, group)
    assert content(second) == built

    merge_groups(second, run_id)

    assert content(second) == content(first)


def test_equal_requests_in_many_groups_are_paid_once_and_resubmitted_once(
    tmp_path: Path, emulator: Emulator, finish: Callable[..., Summary]
) -> None:
    bodies = [[f"text {row % 13}" for row in range(20)] for _ in range(5)]
    spec = question(write_files(tmp_path / "in", files_of(bodies)))
    run = here(tmp_path / "run")
    merged = built_in_groups(run, spec, 5)
    emulator.faults.add(RowFault(do="error", keys=("k3",), code=14, display_name="attempt 0"))
    emulator.faults.add(RowFault(do="safety", keys=("k5",)))

    summary = finish(run, spec, max_redrives=2)

    assert sum(shard.requests for shard in merged.shards) == 13
    assert Counter(row["key"] for name in ("results", "dead_letter") for row in read(tmp_path, name)) == Counter(
        f"k{row}" for row in range(100)
    )
    assert {row["key"] for row in read(tmp_path, "dead_letter")} == {
        f"k{20 * file + row}" for file in range(5) for row in range(20) if row % 13 == 5
    }
    assert sum(entry["requests"] for entry in emulator.journal("create")) == 14
    assert summary.results == 90


def test_repeats_are_asked_in_every_group(tmp_path: Path, emulator: Emulator, finish: Callable[..., Summary]) -> None:
    spec = question(write_files(tmp_path / "in", files_of([["a", "b"], ["a"]])), repeats=3)
    run = here(tmp_path / "run")

    built_in_groups(run, spec, 2)
    summary = finish(run, spec)

    assert (summary.rows, summary.results, summary.requests) == (9, 9, 9)
    assert {(row["key"], row["repeat"]) for row in read(tmp_path, "results")} == {
        (f"k{row}", repeat) for row in range(3) for repeat in range(3)
    }


def test_files_of_different_types_make_one_table(tmp_path: Path, emulator: Emulator, finish: Callable[..., Summary]) -> None:
    folder = tmp_path / "in"
    tables = {"lang=de/a.parquet": ["1", "eins", 1], "lang=en/b.parquet": ["k2", "two", 2.5], "lang=en/c.parquet": ["k3", "drei"]}
    for name, values in tables.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        names = ["id", "body", "row"][: len(values)]
        pq.write_table(pa.table([[value] for value in values], names), folder / name)
    spec = question(str(folder), carry=("row", "lang"))
    run = here(tmp_path / "run")

    built_in_groups(run, spec, 3)
    finish(run, spec)

    found = [(row["key"], row["row"], row["lang"]) for row in read(tmp_path, "results")]
    assert found == [("1", 1.0, "de"), ("k2", 2.5, "en"), ("k3", None, "en")]
    schemas = [pq.read_schema(part).remove_metadata() for part in Path(run.destination.path, "results").glob("*.parquet")]
    assert len(schemas) == 3
    assert all(schema == schemas[0] for schema in schemas)


def test_nanoseconds_of_one_group_are_kept_in_all(tmp_path: Path, emulator: Emulator, finish: Callable[..., Summary]) -> None:
    times = [pa.array([value], pa.timestamp("ns")) for value in (1_000, 1)]
    tables = [pa.table({"id": [f"k{n}"], "body": ["x"], "at": at, "to": times[0]}) for n, at in enumerate(times)]
    spec = question(write_files(tmp_path / "in", tables), carry=("at", "to"))
    run = here(tmp_path / "run")

    built_in_groups(run, spec, 2)
    finish(run, spec)

    parts = [pq.read_table(part) for part in Path(run.destination.path, "results").glob("*.parquet")]
    assert {str(part.schema.field("at").type) for part in parts} == {"timestamp[ns]"}
    assert {str(part.schema.field("to").type) for part in parts} == {"timestamp[us]"}
    assert sorted(value for part in parts for value in part.column("at").cast(pa.int64()).to_pylist()) == [1, 1_000]


# --- reuse and costs


def test_answers_of_earlier_runs_are_reused_in_every_group(
    tmp_path: Path, emulator: Emulator, finish: Callable[..., Summary]
) -> None:
    earlier = question(write_files(tmp_path / "earlier_in", files_of([["a", "b"]])))
    build_run(here(tmp_path / "earlier"), earlier, OPTIONS)
    finish(here(tmp_path / "earlier"), earlier)
    spec = question(
        write_files(tmp_path / "in", files_of([["a", "c"], ["b", "a", "c"], ["d"]])), reuse=(str(tmp_path / "earlier"),)
    )
    run = here(tmp_path / "run")

    merged = built_in_groups(run, spec, 3)
    summary = finish(run, spec)

    assert merged.reused_rows == summary.reused == 3
    assert (summary.rows, summary.requests, summary.deduplicated) == (6, 2, 1)
    told_rows = {row["key"]: (row["reused_from"] is not None, row["paid_by"]) for row in read(tmp_path, "results")}
    assert told_rows == {
        "k0": (True, None), "k1": (False, None), "k2": (True, None), "k3": (True, None), "k4": (False, "k1"), "k5": (False, None)
    }  # fmt: skip
    assert sum(entry["requests"] for entry in emulator.journal("create")) == 2 + 2


def test_a_limit_holds_over_all_groups_and_can_be_raised(tmp_path: Path) -> None:
    spec = question(
        write_files(tmp_path / "in", files_of([[f"{file} {row}" for row in range(5)] for file in range(4)])),
        request=GenerateRequest(prompt="${body}", config={"max_output_tokens": 1000}),
    )
    run, one = here(tmp_path / "run"), here(tmp_path / "one")
    whole = build_run(one, replace(spec, max_cost_usd=1.0), OPTIONS)
    high = sum(shard.bounds.high or 0 for shard in whole.shards if shard.bounds is not None)
    assert high > 0
    run_id, groups = plan_groups(run, replace(spec, max_cost_usd=high * 0.9), OPTIONS, groups=4)
    for group in range(groups):
        build_group(run, run_id, group)
    with pytest.raises(BudgetError, match="Nothing was sent"):
        merge_groups(run, run_id)

    assert plan_groups(run, replace(spec, max_cost_usd=high * 1.1), OPTIONS, groups=4) == (run_id, 4)
    merged = merge_groups(run, run_id)

    assert sum(shard.bounds.high or 0 for shard in merged.shards if shard.bounds is not None) == pytest.approx(high)


def test_groups_that_were_built_without_a_limit_are_measured_when_one_is_set(tmp_path: Path) -> None:
    spec = question(
        write_files(tmp_path / "in", files_of([["a", "b"], ["b", "c"]])),
        request=GenerateRequest(prompt="${body}", config={"max_output_tokens": 1000}),
    )
    run = here(tmp_path / "run")
    run_id, groups = plan_groups(run, spec, OPTIONS, groups=2)
    for group in range(groups):
        build_group(run, run_id, group)

    plan_groups(run, replace(spec, max_cost_usd=1e-6), OPTIONS, groups=2)
    with pytest.raises(BudgetError, match="3 requests may cost"):
        merge_groups(run, run_id)


def test_files_that_were_written_again_are_not_called_other_rows(
    tmp_path: Path, emulator: Emulator, endpoint: Endpoint, finish: Callable[..., Summary]
) -> None:
    tables = files_of([["a", "b"], ["c", "d"]])
    source, run = write_files(tmp_path / "in", tables), here(tmp_path / "run")
    built_in_groups(run, question(source), 2)
    finish(run, question(source))
    pq.write_table(tables[0], tmp_path / "in" / "000.parquet", compression="none")

    with pytest.raises(DestinationError, match=r"was built in groups of files, from .*; files were rewritten or replaced since"):
        finish(run, question(source))
