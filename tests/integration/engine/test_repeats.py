"""``repeats=k``: each row is sent k times, (key, repeat) is what balances, and no two repeats share an answer."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from airflow_gemini_batch.emulator import Emulator, RowFault
from airflow_gemini_batch.engine import api
from airflow_gemini_batch.engine.errors import BudgetError, DestinationError, InputError
from airflow_gemini_batch.engine.finish.summary import Summary
from airflow_gemini_batch.engine.gemini.client import Endpoint
from airflow_gemini_batch.engine.specs import EmbedRequest, GenerateRequest, RawRequest
from tests.integration.engine.conftest import MODEL, SHORT_WAITS, read, table

pytestmark = pytest.mark.integration

Go = Callable[..., Summary]
REQUEST = GenerateRequest(prompt="Repeat: ${body}")


def paid(emulator: Emulator) -> int:
    return sum(entry["requests"] for entry in emulator.journal("create"))


def pairs(rows: list[dict[str, Any]]) -> list[tuple[str, int]]:
    return sorted((row["key"], row["repeat"]) for row in rows)


def expected(rows: int, repeats: int) -> list[tuple[str, int]]:
    return sorted((f"k{row}", repeat) for row in range(rows) for repeat in range(repeats))


def as_raw(row: dict[str, Any]) -> dict[str, Any]:
    return {"contents": [{"parts": [{"text": f"Repeat: {row['body']}"}]}]}


@pytest.mark.parametrize("transport", ["file", "inline"])
@pytest.mark.parametrize("request_", [REQUEST, as_raw], ids=["template", "function"])
def test_each_row_is_sent_so_often_and_every_pair_arrives(
    transport: str, request_: Any, go: Go, tmp_path: Path, emulator: Emulator
) -> None:
    summary = go(request=request_, repeats=3, transport=transport, max_shard_requests=5)

    rows = read(tmp_path, "results")
    assert pairs(rows) == expected(12, 3)
    assert all(row["body"] == f"number {row['key'][1:]}" and row["body"] in row["text"] for row in rows)
    assert ds.dataset(tmp_path / "run" / "results").schema.names[:3] == ["key", "repeat", "body"]
    assert ds.dataset(tmp_path / "run" / "dead_letter").schema.field("repeat").type == pa.int32()
    assert (summary.rows, summary.results, summary.requests, summary.repeats) == (36, 36, 36, 3)
    assert paid(emulator) == 36
    assert len({row["response_id"] for row in rows}) == 36


def test_vectors_and_rows_without_a_key_column(go: Go, tmp_path: Path) -> None:
    request = EmbedRequest(text="${body}", config={"output_dimensionality": 8})

    go(source=table(4), request=request, model="gemini-embedding-2", key=None, carry=(), repeats=2)

    assert pairs(read(tmp_path, "results")) == sorted((str(row), repeat) for row in range(4) for repeat in range(2))


def test_a_stream_and_keys_with_the_divider(go: Go, tmp_path: Path) -> None:
    keys = ["a", "a#0", "a#1", "a#0#1", "#", "Zeile\n2#9", "größe 😀"]
    rows = pa.table({"id": keys, "body": [f"number {place}" for place in range(len(keys))]})

    go(source=rows.to_reader(max_chunksize=2), repeats=2)

    assert pairs(read(tmp_path, "results")) == sorted((key, repeat) for key in keys for repeat in range(2))
    assert {(row["key"], row["body"]) for row in read(tmp_path, "results")} == set(zip(*rows.to_pydict().values(), strict=True))


def test_no_rows_share_a_request(go: Go, tmp_path: Path, emulator: Emulator) -> None:
    rows = pa.table({"id": ["x", "y"], "body": ["the same", "the same"]})

    summary = go(source=rows, repeats=4, dedupe=True)

    assert (summary.deduplicated, paid(emulator)) == (0, 8)
    assert [row["paid_by"] for row in read(tmp_path, "results")] == [None] * 8


@pytest.mark.parametrize("repeats", [2, 5])
def test_rows_that_cannot_be_sent_and_an_empty_table(repeats: int, go: Go, tmp_path: Path) -> None:
    rows = pa.table({"id": ["x", "y"], "body": pa.array([None, "number 1"], pa.string())})

    summary = go(source=rows, repeats=repeats)
    empty = go(source=table(0), repeats=repeats, destination=str(tmp_path / "empty"))

    assert pairs(read(tmp_path, "dead_letter")) == [("x", repeat) for repeat in range(repeats)]
    assert summary.reasons == {"INVALID_INPUT": repeats}
    assert (empty.rows, empty.balanced) == (0, True)


def test_one_repeat_that_fails_is_resubmitted_alone(go: Go, tmp_path: Path, emulator: Emulator) -> None:
    emulator.faults.add(RowFault(do="error", keys=("k1#1", "k7#0"), code=14, display_name="attempt 0"))

    summary = go(repeats=3, max_shard_requests=10, max_redrives=1)

    assert pairs(read(tmp_path, "results")) == expected(12, 3)
    assert summary.dead_letter == 0
    assert pairs([row for row in read(tmp_path, "results") if row["attempt"] == 1]) == [("k1", 1), ("k7", 0)]
    assert paid(emulator) == 38


def test_dead_letters_say_which_repeat_and_a_redrive_takes_them(
    go: Go, tmp_path: Path, emulator: Emulator, endpoint: Endpoint
) -> None:
    emulator.faults.add(RowFault(do="error", keys=("k1#1", "k1#2", "k7#0"), code=3))
    go(repeats=3)
    assert pairs(read(tmp_path, "dead_letter")) == [("k1", 1), ("k1", 2), ("k7", 0)]
    emulator.faults.clear()

    again = api.redrive(str(tmp_path / "run"), keys=["k1"], options=SHORT_WAITS, endpoint=endpoint)

    assert (again.results, again.dead_letter, again.repeats) == (35, 1, 3)
    assert pairs(read(tmp_path, "dead_letter")) == [("k7", 0)]
    assert sorted([*pairs(read(tmp_path, "results")), ("k7", 0)]) == expected(12, 3)
    assert paid(emulator) == 38


def test_parts_that_were_lost_are_written_again(go: Go, tmp_path: Path, emulator: Emulator) -> None:
    go(repeats=3, max_shard_requests=5)
    before = read(tmp_path, "results")
    next((tmp_path / "run" / "results").glob("part-00001*")).unlink()

    go(repeats=3, max_shard_requests=5)

    assert read(tmp_path, "results") == before
    assert paid(emulator) == 36


def test_another_number_of_repeats_is_another_run(go: Go, emulator: Emulator) -> None:
    go(repeats=2)
    go(repeats=2)
    assert paid(emulator) == 24

    for repeats in (1, 3):
        with pytest.raises(DestinationError, match="repeats is"):
            go(repeats=repeats)


def test_reuse_takes_the_answers_there_are_and_pays_the_rest(go: Go, tmp_path: Path, emulator: Emulator) -> None:
    lake = tmp_path / "lake"
    go(source=table(10), repeats=2, destination=str(lake / "two"))

    five = go(source=table(12), repeats=5, reuse=str(lake))

    rows = read(tmp_path, "results")
    assert pairs(rows) == expected(12, 5)
    assert (five.reused, five.requests) == (20, 40)
    assert paid(emulator) == 20 + 40
    taken = [row for row in rows if row["reused_from"]]
    assert Counter(row["key"] for row in taken) == {f"k{row}": 2 for row in range(10)}
    assert {row["repeat"] for row in taken} == {0, 1}
    assert len({row["response_id"] for row in rows}) == 60
    assert all(row["body"] == f"number {row['key'][1:]}" and row["body"] in row["text"] for row in rows)
    assert go(source=table(12), repeats=5, reuse=str(lake)).reused == 20


def test_a_rerun_of_which_one_row_in_a_hundred_has_changed_costs_one_percent(go: Go, tmp_path: Path, emulator: Emulator) -> None:
    rows = [f"{row:03}" for row in range(200)]
    changed = {17: "217", 130: "330"}  # texts of the same length, so that they cost the same
    given = {"repeats": 3, "carry": (), "prices": {MODEL: {"input": 1.0, "output": 10.0}}}
    first = go(source=pa.table({"id": rows, "body": rows}), destination=str(tmp_path / "first"), **given)
    texts = [changed.get(row, text) for row, text in enumerate(rows)]

    again = go(source=pa.table({"id": rows, "body": texts}), reuse=str(tmp_path / "first"), **given)

    answers = read(tmp_path, "results")
    assert pairs(answers) == sorted((row, repeat) for row in rows for repeat in range(3))
    assert (first.requests, again.reused, again.requests, paid(emulator)) == (600, 594, 6, 606)
    assert {row["key"] for row in answers if row["reused_from"] is None} == {"017", "130"}
    assert all(texts[int(row["key"])] in row["text"] for row in answers)
    assert first.cost.usd is not None
    assert again.cost.usd is not None
    assert 0 < again.cost.usd <= 0.01 * first.cost.usd * (1 + 1e-9)


def as_file(rows: pa.Table, folder: Path) -> str:
    lines = [{**row, "request": as_raw(row)} for row in rows.to_pylist()]
    (folder / f"{rows.num_rows}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return str(folder / f"{rows.num_rows}.jsonl")


@pytest.mark.parametrize(
    ("source", "request_"),
    [
        (lambda rows, folder: rows.to_reader(max_chunksize=2), REQUEST),
        (lambda rows, folder: rows.to_pandas(), REQUEST),
        (as_file, RawRequest(column="request")),
        (lambda rows, folder: rows, as_raw),
    ],
    ids=["stream", "frame", "raw file", "function"],
)
@pytest.mark.parametrize("transport", ["file", "inline"])
def test_every_source_and_transport_pays_for_what_no_earlier_answer_is_left_for(
    transport: str, source: Any, request_: Any, go: Go, tmp_path: Path, emulator: Emulator
) -> None:
    given = {"request": request_, "transport": transport}
    go(**given, source=source(table(4), tmp_path), repeats=2, destination=str(tmp_path / "two"))
    emulator.faults.add(RowFault(do="error", keys=("k1#2",), code=14, display_name="attempt 0"))

    three = go(**given, source=source(table(5), tmp_path), repeats=3, reuse=str(tmp_path / "two"), max_redrives=1)

    rows = read(tmp_path, "results")
    assert pairs(rows) == expected(5, 3)
    assert (three.reused, three.requests) == (8, 7)
    assert paid(emulator) == 8 + 7 + 1
    assert len({row["response_id"] for row in rows}) == 15
    assert all(row["body"] in row["text"] for row in rows)


def test_an_answer_that_runs_have_taken_from_each_other_counts_once(go: Go, tmp_path: Path, emulator: Emulator) -> None:
    lake = tmp_path / "lake"
    go(source=table(3), destination=str(lake / "a"))
    go(source=table(3), reuse=str(lake), destination=str(lake / "b"))
    go(source=table(3), repeats=2, reuse=str(lake), destination=str(lake / "c"))
    assert paid(emulator) == 3 + 0 + 3

    summary = go(source=table(3), repeats=4, reuse=str(lake))

    rows = read(tmp_path, "results")
    assert (summary.reused, paid(emulator)) == (6, 3 + 3 + 6)
    assert len({row["response_id"] for row in rows}) == len(rows) == 12


def test_one_answer_of_several_is_enough_for_a_run_without_repeats(go: Go, tmp_path: Path, emulator: Emulator) -> None:
    go(repeats=3, destination=str(tmp_path / "three"))

    summary = go(reuse=str(tmp_path / "three"))

    assert (summary.reused, paid(emulator)) == (12, 36)
    assert "repeat" not in ds.dataset(tmp_path / "run" / "results").schema.names


def test_vectors_without_ids_are_taken_once_for_each_run(go: Go, tmp_path: Path, emulator: Emulator) -> None:
    given = {"source": table(3), "request": EmbedRequest(text="${body}"), "model": "gemini-embedding-2"}
    go(**given, repeats=2, destination=str(tmp_path / "two"))

    summary = go(**given, repeats=2, reuse=str(tmp_path / "two"))

    assert (summary.reused, summary.results) == (3, 6)


def test_a_source_that_is_compared_row_by_row_is_the_same(go: Go, tmp_path: Path, emulator: Emulator) -> None:
    go(request=as_raw, repeats=2, destination=str(tmp_path / "earlier"))
    whole = {"request": as_raw, "repeats": 3, "reuse": str(tmp_path / "earlier")}
    go(**whole)
    before = paid(emulator)

    go(**whole, source=table(12).to_reader())

    assert paid(emulator) == before == 36


def test_keys_that_are_not_unique_are_named_by_their_rows(go: Go, emulator: Emulator) -> None:
    rows = pa.table({"id": ["a", "b", "c", "b"], "body": ["1", "2", "3", "4"]})

    with pytest.raises(InputError, match=r"duplicate keys: 'b' in rows 1 and 3 \(counted from 0; these are all\)"):
        go(source=rows, repeats=3)
    assert paid(emulator) == 0


def test_a_limit_counts_every_repeat(go: Go) -> None:
    request = GenerateRequest(prompt="${body}", config={"max_output_tokens": 1000})
    given = {"request": request, "prices": {MODEL: {"input": 1.0, "output": 10.0}}}

    with pytest.raises(BudgetError, match=r"36 requests may cost"):
        go(**given, repeats=3, max_cost_usd=0.30)
    assert go(**given, repeats=3, max_cost_usd=0.40).results == 36


@pytest.mark.parametrize("repeats", [0, -1, 1001, 2.0, True, "3", None])
def test_a_number_that_is_none_is_refused(repeats: Any, go: Go) -> None:
    with pytest.raises(InputError, match=r"repeats is .*expected a whole number from 1 to 1,000"):
        go(repeats=repeats)


def test_what_does_not_go_with_repeats_is_refused(go: Go, tmp_path: Path) -> None:
    rows = table(3).append_column("repeat", pa.array([7, 8, 9]))

    with pytest.raises(InputError, match="sample and repeats"):
        go(sample=5, repeats=2)
    with pytest.raises(InputError, match=r"carry names 'repeat', which results or dead_letter have"):
        go(source=rows, carry=["repeat"], repeats=2)
    go(source=rows, carry=["repeat"])
    assert [row["repeat"] for row in read(tmp_path, "results")] == [7, 8, 9]


def test_raw_requests_from_a_file(go: Go, tmp_path: Path) -> None:
    lines = [{"id": f"k{row}", "request": as_raw({"body": f"number {row}"})} for row in range(3)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, lines)))

    go(source=str(tmp_path / "rows.jsonl"), request=RawRequest(column="request"), carry=(), repeats=2)

    assert pairs(read(tmp_path, "results")) == expected(3, 2)
