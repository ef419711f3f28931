"""A shard that fails, however it fails, keeps no other shard from being collected; the error names it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from airflow_gemini_batch.emulator import Emulator, HttpFault
from airflow_gemini_batch.engine.advance import advance
from airflow_gemini_batch.engine.build.building import build_run
from airflow_gemini_batch.engine.build.call import RunSpec
from airflow_gemini_batch.engine.errors import CorruptRunError, GeminiBatchError, RefusedError, ShardsFailedError
from airflow_gemini_batch.engine.gemini.client import GeminiClient
from airflow_gemini_batch.engine.run.layout import Run
from airflow_gemini_batch.engine.run.ledger import Ledger
from airflow_gemini_batch.engine.run.storage import locate
from airflow_gemini_batch.engine.specs import GenerateRequest
from airflow_gemini_batch.engine.wait.unfinished import Waiting
from tests.integration.engine.conftest import MODEL, SHORT_WAITS, creates, table


@pytest.fixture
def run(tmp_path: Path, client: GeminiClient, emulator: Emulator) -> Run:
    """Four shards of five rows; the jobs of all have ended, none has been collected."""
    run = Run(locate(str(tmp_path / "run")))
    build_run(run, RunSpec(table(20), GenerateRequest(prompt="${body}"), MODEL, key="id"), SHORT_WAITS)
    assert isinstance(advance(run, client, SHORT_WAITS), Waiting)
    emulator.wait_idle()
    return run


def landed(run: Run) -> list[int]:
    return [shard.number for shard in run.built().shards if run.landed_file(shard.id).exists()]


def job(run: Run, shard: int) -> str:
    record = Ledger(run).submitted(run.built().shards[shard].id)
    assert record is not None
    return record.job


def tear_inputs(run: Run, emulator: Emulator, shard: int) -> None:
    run.inputs_file(run.built().shards[shard].id).write(b"torn")


def delete_inputs(run: Run, emulator: Emulator, shard: int) -> None:
    run.inputs_file(run.built().shards[shard].id).delete()


def tear_end(run: Run, emulator: Emulator, shard: int) -> None:
    (run.ledger_folder / f"{run.built().shards[shard].id}.landed.json").write(b"{")
    run.inputs_file(run.built().shards[shard].id).write(b"torn")


@pytest.mark.parametrize("broken", [tear_inputs, delete_inputs, tear_end])
@pytest.mark.parametrize("shard", [0, 3])
def test_the_others_are_collected_and_the_error_names_the_shards_file(
    broken: Callable[[Run, Emulator, int], None], shard: int, run: Run, client: GeminiClient, emulator: Emulator
) -> None:
    broken(run, emulator, shard)

    with pytest.raises(CorruptRunError, match=rf"{shard:05d}-0"):
        advance(run, client, SHORT_WAITS)

    assert landed(run) == [other for other in range(4) if other != shard]
    assert len(creates(emulator)) == 4


def test_shards_that_fail_alike_are_one_error_that_names_all(run: Run, client: GeminiClient, emulator: Emulator) -> None:
    for shard in (1, 2):
        tear_inputs(run, emulator, shard)

    with pytest.raises(CorruptRunError, match=r"(?s)00001-0.*00002-0"):
        advance(run, client, SHORT_WAITS)

    assert landed(run) == [0, 3]


def test_shards_that_fail_differently_are_one_error_that_names_all(run: Run, client: GeminiClient, emulator: Emulator) -> None:
    tear_inputs(run, emulator, 1)
    emulator.faults.add(HttpFault(do="status", status=403, path=":download", count=1))

    with pytest.raises(ShardsFailedError, match=r"(?s)00000-0.*00001-0") as failed:
        advance(run, client, SHORT_WAITS)

    assert isinstance(failed.value, GeminiBatchError)
    assert landed(run) == [2, 3]


def test_a_pass_goes_on_once_the_shard_has_been_repaired(run: Run, client: GeminiClient, emulator: Emulator) -> None:
    emulator.faults.add(HttpFault(do="status", status=403, path=":download", count=1))
    with pytest.raises(RefusedError):
        advance(run, client, SHORT_WAITS)

    summary = advance(run, client, SHORT_WAITS)

    assert not isinstance(summary, Waiting)
    assert (summary.results, summary.dead_letter) == (20, 0)
    assert len(creates(emulator)) == 4
