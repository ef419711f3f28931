"""Reuse where files are not as they were left: column names, older versions, lost or rewritten files, two builds that meet."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_gemini_batch.emulator import Emulator
from airflow_gemini_batch.engine.build import reuse, set_aside
from airflow_gemini_batch.engine.errors import CorruptRunError, InputError, RefusedError
from airflow_gemini_batch.engine.finish.summary import Summary, finish_run
from airflow_gemini_batch.engine.run.layout import Run
from airflow_gemini_batch.engine.run.storage import locate
from tests.integration.engine.conftest import read
from tests.integration.engine.test_reuse import refuse_creates, rows_of, stream, texts

pytestmark = pytest.mark.integration

Go = Callable[..., Summary]


@pytest.mark.parametrize("name", ["problem", "place", "source_row", "payer", "part"])
def test_a_carried_column_may_be_called_like_a_column_of_our_files(name: str, go: Go, tmp_path: Path, earlier: str) -> None:
    go(source=rows_of(texts(0, 3)).rename_columns(["id", "body", name]), carry=[name], destination=earlier)

    summary = go(source=rows_of(texts(0, 4), first=7).rename_columns(["id", "body", name]), carry=[name], reuse=earlier)

    assert summary.reused == 3
    assert [(row["key"], row[name]) for row in read(tmp_path, "results")] == [("k10", 10), ("k7", 7), ("k8", 8), ("k9", 9)]


def test_a_run_that_reused_answers_of_an_earlier_version_is_known_again_and_can_be_reused(
    go: Go, tmp_path: Path, earlier: str
) -> None:
    go(source=rows_of(texts(0, 5)), destination=earlier)
    _make_old(Path(earlier))
    second = str(tmp_path / "lake" / "tuesday")

    first = go(source=stream(rows_of(texts(0, 5))), destination=second, reuse=earlier)

    assert first.reused == 5
    assert go(source=stream(rows_of(texts(0, 5))), destination=second, reuse=earlier) == first
    assert go(source=rows_of(texts(0, 5)), reuse=second).reused == 5


def _make_old(destination: Path) -> None:
    """As a version wrote it that kept no costs, and whose fingerprints leave the model out."""
    run = Run(locate(str(destination)))
    run.manifest_file.write(msgspec.json.encode(msgspec.structs.replace(run.built(), version=1)))
    run.index_file.delete()
    for part in (destination / "results").iterdir():
        table = pq.read_table(part).drop_columns(["cost_usd", "paid_by", "reused_from"])
        place = table.schema.get_field_index("request_sha256")
        pq.write_table(table.set_column(place, "request_sha256", pa.array(["0" * 64] * len(table))), part)


def test_results_that_were_written_anew_in_another_order_are_not_joined(go: Go, emulator: Emulator, earlier: str) -> None:
    go(source=rows_of(texts(0, 5)), destination=earlier)
    part = next((Path(earlier) / "results").iterdir())
    pq.write_table(pq.read_table(part).take([4, 3, 2, 1, 0]), part)

    with pytest.raises(InputError, match=r"does not hold the answers that .*Delete .*index.parquet"):
        go(source=rows_of(texts(0, 5)), reuse=earlier)

    (Path(earlier) / "_run" / "index.parquet").unlink()
    assert go(source=rows_of(texts(0, 5)), reuse=earlier).reused == 5


@pytest.mark.parametrize("damage", ["another run's", "torn"])
def test_an_index_that_is_not_that_of_the_run_is_made_anew(damage: str, go: Go, tmp_path: Path, earlier: str) -> None:
    other = str(tmp_path / "other")
    for destination, bodies in ((earlier, texts(0, 5)), (other, texts(0, 5)[::-1])):
        go(source=rows_of(bodies), destination=destination)
    index = Path(earlier) / "_run" / "index.parquet"
    index.write_bytes((Path(other) / "_run" / "index.parquet").read_bytes() if damage == "another run's" else b"PAR1")

    summary = go(source=rows_of(texts(0, 5)), reuse=earlier)

    assert summary.reused == 5
    assert all(row["text"].endswith(row["body"]) for row in read(tmp_path, "results"))


@pytest.mark.parametrize("file", ["part-00000-0.parquet", "origins-00000-0.parquet"])
@pytest.mark.parametrize("damage", ["absent", "torn"])
def test_a_file_of_reused_results_that_is_lost_is_named(file: str, damage: str, go: Go, tmp_path: Path, earlier: str) -> None:
    go(source=rows_of(texts(0, 5)), destination=earlier)
    go(source=rows_of(texts(0, 5)), reuse=earlier)
    (tmp_path / "run" / "summary.json").unlink()
    lost = tmp_path / "run" / "_run" / "reused" / file
    if damage == "absent":
        lost.unlink()
    else:
        lost.write_bytes(lost.read_bytes()[:50])

    with pytest.raises(CorruptRunError, match=f"{file} is .*Restore it"):
        finish_run(Run(locate(str(tmp_path / "run"))))


def test_a_large_answer_that_many_rows_take_is_copied_a_few_times_at_once(
    go: Go, earlier: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(set_aside, "_BATCH_BYTES", 1 << 16)
    written: list[int] = []
    write = reuse.PartWriter.write

    def note(writer: Any, batch: pa.RecordBatch) -> None:
        written.append(batch.nbytes)
        write(writer, batch)

    go(source=rows_of(["large " * 2000]), destination=earlier)
    monkeypatch.setattr(reuse.PartWriter, "write", note)

    assert go(source=rows_of(["large " * 2000] * 50), reuse=earlier).reused == 50
    assert max(written) <= 1 << 17


def test_a_run_is_not_replaced_when_what_it_would_reuse_cannot_serve(go: Go, tmp_path: Path, earlier: str) -> None:
    first = go(source=rows_of(texts(0, 3)))
    (Path(earlier)).mkdir(parents=True)
    (Path(earlier) / "summary.json").write_text("{")

    with pytest.raises(InputError, match="reuse names"):
        go(source=rows_of(texts(0, 4)), reuse=earlier, if_exists="replace")

    assert go(source=rows_of(texts(0, 3))) == first


def test_two_builds_that_meet_reuse_the_same_runs_though_one_more_was_finished_between(
    go: Go, tmp_path: Path, emulator: Emulator, earlier: str
) -> None:
    go(source=rows_of(texts(0, 5)), destination=earlier)
    table, lake = rows_of(texts(0, 11)), str(tmp_path / "lake")

    def meanwhile() -> Iterator[pa.RecordBatch]:
        go(source=rows_of(texts(5, 10)), destination=f"{lake}/tuesday")
        refusing = emulator.faults.add(refuse_creates())[0]
        with pytest.raises(RefusedError):
            go(source=table, reuse=lake)
        emulator.faults.remove(refusing)
        yield from table.to_batches()

    summary = go(source=pa.RecordBatchReader.from_batches(table.schema, meanwhile()), reuse=lake)

    assert (summary.results, summary.reused) == (11, 5)


@pytest.mark.parametrize("other", ["asks for other runs", "misses a run", "comes a day later"])
def test_a_build_that_looks_anew_uses_what_it_finds(other: str, go: Go, tmp_path: Path, emulator: Emulator) -> None:
    lake = tmp_path / "lake"
    for day, bodies in (("monday", texts(0, 5)), ("tuesday", texts(5, 10))):
        go(source=rows_of(bodies), destination=str(lake / day))
    table = rows_of(texts(0, 11))
    named = [str(lake / "monday"), str(lake / "tuesday")] if other == "asks for other runs" else str(lake)

    def breaking() -> Iterator[pa.RecordBatch]:
        raise RuntimeError("the source breaks")
        yield

    with pytest.raises(RuntimeError, match="the source breaks"):
        go(source=pa.RecordBatchReader.from_batches(table.schema, breaking()), reuse=str(lake))
    choice = tmp_path / "run" / "_run" / "reuse.json"
    made = json.loads(choice.read_bytes())
    if other == "misses a run":
        shutil.rmtree(lake / "monday")
    else:
        made["runs"].popitem()
        made["made_at"] = "2020-01-01T00:00:00Z" if other == "comes a day later" else made["made_at"]
        choice.write_text(json.dumps(made))

    assert go(source=table, reuse=named).reused == (5 if other == "misses a run" else 10)
