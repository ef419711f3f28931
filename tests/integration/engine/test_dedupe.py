"""Rows with equal requests: one of them pays, and each of them ends in one table, once."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_gemini_batch.emulator import Emulator, RowFault
from airflow_gemini_batch.engine.api import redrive
from airflow_gemini_batch.engine.build import duplicates
from airflow_gemini_batch.engine.build.rows import Rows
from airflow_gemini_batch.engine.errors import DestinationError, InputError
from airflow_gemini_batch.engine.finish import copies
from airflow_gemini_batch.engine.finish.summary import Summary, finish_run
from airflow_gemini_batch.engine.gemini.client import Endpoint
from airflow_gemini_batch.engine.run.layout import Run
from airflow_gemini_batch.engine.run.storage import locate
from airflow_gemini_batch.engine.specs import GenerateRequest, Media, RawRequest
from tests.integration.engine.conftest import MODEL, SHORT_WAITS, read

pytestmark = pytest.mark.integration

Go = Callable[..., Summary]


def repeated(bodies: list[str | None]) -> pa.Table:
    """Rows ``k0``, ``k1``, … with these texts, and a carried column that differs in every row."""
    return pa.table({"id": [f"k{row}" for row in range(len(bodies))], "body": bodies, "row": range(len(bodies))})


def requests_paid(emulator: Emulator) -> int:
    return sum(entry["requests"] for entry in emulator.journal("create"))


def test_equal_requests_are_paid_once(go: Go, tmp_path: Path, emulator: Emulator) -> None:
    bodies = [f"text {row % 7}" for row in range(40)]

    prices = {MODEL: {"input": 0.5, "output": 2.0}}
    summary = go(source=repeated(bodies), carry=["body", "row"], prices=prices)

    assert (summary.rows, summary.results, summary.requests, summary.deduplicated) == (40, 40, 7, 33)
    assert requests_paid(emulator) == 7
    assert summary.cost.usd is not None
    results = read(tmp_path, "results")
    for row in results:
        assert row["body"] in row["text"]
        assert row["key"] == f"k{row['row']}"
        assert row["paid_by"] == (None if row["row"] < 7 else f"k{row['row'] % 7}")
        assert (row["total_tokens"] is None) == (row["paid_by"] is not None)
        assert row["reused_from"] is None
    assert sum(row["total_tokens"] or 0 for row in results) == summary.tokens["total_tokens"]
    assert sum(row["cost_usd"] for row in results) == pytest.approx(summary.cost.usd)
    paid = {row["key"]: row["cost_usd"] for row in results if row["paid_by"] is None}
    saved = sum(paid[row["paid_by"]] for row in results if row["paid_by"] is not None)
    assert summary.cost.saved_by_dedupe_usd == pytest.approx(saved)


def test_without_dedupe_every_row_is_asked(go: Go, tmp_path: Path, emulator: Emulator) -> None:
    summary = go(source=repeated(["same"] * 9), dedupe=False)

    assert (summary.requests, summary.deduplicated, requests_paid(emulator)) == (9, 0, 9)
    assert {row["paid_by"] for row in read(tmp_path, "results")} == {None}


@pytest.mark.parametrize("seed", range(6))
def test_any_mixture_balances(seed: int, go: Go, tmp_path: Path, emulator: Emulator) -> None:
    dice = random.Random(seed)
    bodies = [dice.choice([None, *(f"text {number}" for number in range(dice.randint(1, 30)))]) for _ in range(120)]
    letters = {f"k{row}" for row in range(0, 120, 3)}
    emulator.faults.add(RowFault(do="safety", keys=tuple(letters)))

    summary = go(source=repeated(bodies), carry=["body", "row"], max_redrives=1)

    payers: dict[str | None, int] = {}
    for row, body in enumerate(bodies):
        payers.setdefault(body, row)
    distinct = len(payers.keys() - {None})
    assert requests_paid(emulator) == summary.requests == distinct
    results, dead = read(tmp_path, "results"), read(tmp_path, "dead_letter")
    assert Counter(row["key"] for row in results + dead) == Counter(f"k{row}" for row in range(120))
    for row in results + dead:
        payer = payers[row["body"]]
        if row["body"] is None:
            assert (row["reason"], row["paid_by"]) == ("INVALID_INPUT", None)
        else:
            assert ("reason" in row) == (f"k{payer}" in letters)
            assert row["paid_by"] == (None if payer == row["row"] else f"k{payer}")


def test_the_duplicates_of_a_resubmitted_row_get_its_new_answer(go: Go, tmp_path: Path, emulator: Emulator) -> None:
    emulator.faults.add(RowFault(do="error", keys=("k0",), code=14, count=1))

    summary = go(source=repeated(["a", "b", "a", "a"]), max_redrives=1)

    assert (summary.results, summary.dead_letter) == (4, 0)
    assert requests_paid(emulator) == 3
    assert {row["key"]: row["attempt"] for row in read(tmp_path, "results")} == {"k0": 1, "k1": 0, "k2": 1, "k3": 1}


def test_a_duplicate_can_be_named_for_a_redrive(go: Go, tmp_path: Path, emulator: Emulator, endpoint: Endpoint) -> None:
    fault = emulator.faults.add(RowFault(do="safety", keys=("k0",)))[0]
    go(source=repeated(["a", "b", "a"]))
    emulator.faults.remove(fault)
    destination = str(tmp_path / "run")
    with pytest.raises(InputError, match=r"1 keys are not dead letters .*'k1'"):
        redrive(destination, keys=["k1"], options=SHORT_WAITS, endpoint=endpoint)

    summary = redrive(destination, keys=["k2"], options=SHORT_WAITS, endpoint=endpoint)

    assert (summary.results, summary.dead_letter) == (3, 0)
    assert [row["paid_by"] for row in read(tmp_path, "results")] == [None, None, "k0"]
    assert not list((tmp_path / "run" / "dead_letter").glob("part-copies-*"))


def test_carried_columns_of_a_duplicate_are_its_own_in_the_tables_types(go: Go, tmp_path: Path) -> None:
    days = pa.array([0, 1, None, 3], pa.timestamp("s"))
    source = pa.table({"id": list("abcd"), "body": ["x"] * 4, "day": days, "empty": pa.nulls(4)})

    go(source=pa.RecordBatchReader.from_batches(source.schema, source.to_batches(max_chunksize=1)), carry=["day", "empty"])

    parts = [pq.read_table(part) for part in (tmp_path / "run" / "results").glob("*.parquet")]
    assert [part.schema for part in parts] == [parts[0].schema] * 2
    assert sorted(pa.concat_tables(parts).column("day").to_pylist(), key=str) == sorted(days.to_pylist(), key=str)


def test_many_duplicates_of_large_answers_are_copied_in_small_batches(
    go: Go, tmp_path: Path, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copies, "_BATCH_BYTES", 1 << 10)
    monkeypatch.setattr(copies, "_BATCH_ROWS", 3)

    summary = go(source=repeated(["a", "b"] * 20 + ["c"]))

    assert (summary.results, summary.deduplicated) == (41, 38)


class _KilledError(BaseException):
    """As if the process had been killed."""


@pytest.mark.parametrize("nth", range(1, 4))
def test_a_finish_that_is_killed_between_copies_is_repeated(
    nth: int, go: Go, tmp_path: Path, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator.faults.add(RowFault(do="safety", keys=("k1",)))
    source = repeated([f"text {row % 6}" for row in range(30)])
    written = 0
    write = copies.PartWriter

    def writer(*args: Any) -> Any:
        nonlocal written
        written += 1
        if written == nth:
            raise _KilledError
        return write(*args)

    monkeypatch.setattr(copies, "PartWriter", writer)
    with pytest.raises(_KilledError):
        go(source=source, max_shard_requests=3)

    summary = go(source=source, max_shard_requests=3)

    assert (summary.results, summary.dead_letter, requests_paid(emulator)) == (25, 5, 6)
    keys = [row["key"] for table in ("results", "dead_letter") for row in read(tmp_path, table)]
    assert sorted(keys) == sorted(f"k{row}" for row in range(30))


@pytest.mark.parametrize("damage", ["absent", "doubled"])
def test_copies_that_were_damaged_by_hand_are_made_again(damage: str, go: Go, tmp_path: Path, emulator: Emulator) -> None:
    go(source=repeated(["a", "b", "a", "b"]))
    part = tmp_path / "run" / "results" / "part-copies-00000-0.parquet"
    was = pq.read_table(part)
    if damage == "absent":
        part.unlink()
    else:
        pq.write_table(pa.concat_tables([was, was]), part)

    summary = finish_run(Run(locate(str(tmp_path / "run"))))

    assert summary.results == 4
    assert pq.read_table(part) == was
    assert requests_paid(emulator) == 2


def test_another_table_with_the_same_payers_is_another_source(go: Go) -> None:
    go(source=repeated(["a", "b", "a"]))

    with pytest.raises(DestinationError, match="has other rows now"):
        go(source=repeated(["a", "b", "b"]))


def test_a_run_stays_as_it_was_built_whatever_dedupe_says_later(go: Go, emulator: Emulator) -> None:
    first = go(source=repeated(["a", "a"]))

    assert go(source=repeated(["a", "a"]), dedupe=False) == first
    assert requests_paid(emulator) == 1


def test_doubled_keys_are_named_with_their_rows_in_the_source(go: Go) -> None:
    source = repeated(["a", "a", "b", "a", "b"]).set_column(0, "id", pa.array(["v", "w", "x", "y", "w"]))

    with pytest.raises(InputError, match=r"'w' in rows 1 and 4"):
        go(source=source)


def test_raw_requests_that_say_the_same_are_equal(go: Go, emulator: Emulator) -> None:
    requests = [
        '{"contents":[{"parts":[{"text":"x"}]}],"generationConfig":{"temperature":1,"topK":2}}',
        '{"generationConfig": {"topK": 2.0, "temperature": 1e0}, "contents": [{"parts": [{"text": "\\u0078"}]}]}',
        '{"contents":[{"parts":[{"text":"x"}]}],"generationConfig":{"temperature":1,"topK":3}}',
    ]
    source = pa.table({"id": ["a", "b", "c"], "body": ["", "", ""], "request": requests})

    summary = go(source=source, request=RawRequest("request"))

    assert (summary.results, summary.requests, requests_paid(emulator)) == (3, 2, 2)


def test_media_are_equal_by_content(go: Go, tmp_path: Path, emulator: Emulator) -> None:
    for name, content in (("one.png", b"a picture"), ("two.png", b"a picture"), ("three.png", b"another")):
        (tmp_path / name).write_bytes(content)
    source = repeated([str(tmp_path / name) for name in ("one.png", "two.png", "three.png")])
    request = GenerateRequest(prompt="What is this?", media=[Media("body", upload=[str(tmp_path)])])

    summary = go(source=source, request=request, carry=[])

    assert (summary.results, summary.requests) == (3, 2)


#: Names that files of a run use for their own columns.
OWN_NAMES = ["problem", "place", "source_row", "payer"]


@pytest.mark.parametrize("name", OWN_NAMES)
def test_a_carried_column_may_be_called_like_a_column_of_our_files(name: str, go: Go, tmp_path: Path) -> None:
    values = pa.array([1000, 2000, 3000, 4000], pa.timestamp("ns"))
    source = pa.table({"id": list("abcd"), "body": ["x", "y", "x", None], name: values})

    go(source=pa.RecordBatchReader.from_batches(source.schema, source.to_batches()), carry=[name])

    rows = read(tmp_path, "results") + read(tmp_path, "dead_letter")
    assert [(row["key"], row[name].microsecond) for row in rows] == [("a", 1), ("b", 2), ("c", 3), ("d", 4)]


def test_a_stream_is_known_again_though_its_blocks_are_others_without_carried_columns(go: Go) -> None:
    bodies = [f"text {row % 4}" for row in range(3000)]
    source = repeated(bodies).append_column("large", pa.array([f"{row:04d}" * 1000 for row in range(3000)]))

    def stream() -> pa.RecordBatchReader:
        return pa.RecordBatchReader.from_batches(source.schema, source.to_batches())

    assert go(source=stream(), carry=["large"]) == go(source=stream(), carry=["large"])


def test_copies_that_belong_to_no_row_are_removed(go: Go, tmp_path: Path) -> None:
    go(source=repeated(["a", "b"]))
    part = tmp_path / "run" / "results" / "part-00000-0.parquet"
    shutil.copy(part, part.with_name("part-copies-00000-0.parquet"))

    assert finish_run(Run(locate(str(tmp_path / "run")))).results == 2
    assert [file.name for file in part.parent.iterdir()] == [part.name]


def test_copies_of_a_large_answer_among_small_ones_are_made_a_few_at_a_time(
    go: Go, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copies, "_BATCH_BYTES", 1 << 16)
    written: list[int] = []
    write = copies.PartWriter.write

    def note(writer: Any, batch: pa.RecordBatch) -> None:
        written.append(batch.nbytes)
        write(writer, batch)

    monkeypatch.setattr(copies.PartWriter, "write", note)

    summary = go(source=repeated(["large " * 2000] * 40 + [f"small {row}" for row in range(100)]), max_shard_requests=200)

    assert summary.deduplicated == 39
    assert max(written) <= 1 << 17


def test_rows_with_large_carried_columns_are_looked_up_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    block = Rows(pa.nulls(10, pa.large_binary()), pa.record_batch({"key": ["k"] * 10, "large": ["x" * (1 << 19)] * 10}))

    assert [len(some) for some in duplicates._some_at_a_time(iter([block] * 6))] == [2, 2, 2]
