"""Results of earlier runs are taken over where the request is the same, and only there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_gemini_batch.emulator import Emulator, HttpFault, RowFault
from airflow_gemini_batch.engine.build import reuse
from airflow_gemini_batch.engine.errors import DestinationError, InputError
from airflow_gemini_batch.engine.finish.summary import Summary, finish_run
from airflow_gemini_batch.engine.run.layout import Run
from airflow_gemini_batch.engine.run.storage import locate
from airflow_gemini_batch.engine.specs import EmbedRequest, GenerateRequest, RawRequest
from tests.integration.engine.conftest import MODEL, read

pytestmark = pytest.mark.integration

Go = Callable[..., Summary]
PRICES = {MODEL: {"input": 0.5, "output": 2.0}}


def rows_of(bodies: list[str | None], first: int = 0) -> pa.Table:
    numbers = range(first, first + len(bodies))
    return pa.table({"id": [f"k{number}" for number in numbers], "body": bodies, "row": numbers})


def texts(first: int, last: int) -> list[str | None]:
    return [f"text {number}" for number in range(first, last)]


def requests_paid(emulator: Emulator) -> int:
    return sum(entry["requests"] for entry in emulator.journal("create"))


def test_only_what_changed_is_paid(go: Go, tmp_path: Path, emulator: Emulator, earlier: str) -> None:
    monday = go(source=rows_of(texts(0, 30)), destination=earlier, prices=PRICES)
    paid = {row["text"]: row for row in rows_in(earlier)}

    summary = go(source=rows_of(texts(3, 33), first=100), reuse=earlier, carry=["row"], prices=PRICES)

    assert (summary.rows, summary.results, summary.requests, summary.reused) == (30, 30, 3, 27)
    assert requests_paid(emulator) == monday.requests + 3
    for row in read(tmp_path, "results"):
        was = paid.get(row["text"])
        assert f"text {row['row'] - 97}" in row["text"]
        assert row["key"] == f"k{row['row']}"
        if was is None:
            assert (row["reused_from"], row["total_tokens"] is None) == (None, False)
        else:
            assert (row["reused_from"], row["total_tokens"], row["cost_usd"], row["paid_by"]) == (earlier, None, 0.0, None)
            assert [row[name] for name in ("response_id", "response", "request_sha256", "job")] == [
                was[name] for name in ("response_id", "response", "request_sha256", "job")
            ]
    assert summary.cost.saved_by_reuse_usd == pytest.approx(sum(row["cost_usd"] for row in list(paid.values())[3:]), rel=0.2)


def rows_in(destination: str | Path) -> list[dict[str, Any]]:
    parts = sorted((Path(destination) / "results").glob("*.parquet"))
    return [row for part in parts for row in pq.read_table(part).to_pylist()]


def test_a_table_that_has_not_changed_costs_nothing_and_asks_no_job(
    go: Go, tmp_path: Path, emulator: Emulator, earlier: str
) -> None:
    go(source=rows_of(texts(0, 8)), destination=earlier)

    summary = go(source=rows_of(texts(0, 8)), reuse=[earlier])

    assert (summary.results, summary.requests, summary.reused, summary.jobs) == (8, 0, 8, ())
    assert requests_paid(emulator) == 8
    assert [part.name for part in (tmp_path / "run" / "results").glob("*reused*")] == ["part-reused-00000-0.parquet"]


def test_reuse_goes_on_from_run_to_run_and_the_age_is_that_of_the_answer(go: Go, tmp_path: Path, emulator: Emulator) -> None:
    lake = tmp_path / "lake"
    for day in range(4):
        go(source=rows_of(texts(0, 6 + day)), destination=str(lake / f"day={day}"), reuse=str(lake), prices=PRICES)
    shutil.rmtree(lake / "day=0")
    shutil.rmtree(lake / "day=1")

    summary = go(source=rows_of(texts(0, 10)), reuse=str(lake), prices=PRICES)

    assert requests_paid(emulator) == 6 + 1 + 1 + 1 + 1
    assert {row["reused_from"] for row in read(tmp_path, "results")} == {None, str(lake / "day=3")}
    assert summary.cost.saved_by_reuse_usd is not None
    assert summary.cost.saved_by_reuse_usd > 8 * (summary.cost.usd or 0)


def test_old_answers_are_left_alone(go: Go, emulator: Emulator, earlier: str) -> None:
    go(source=rows_of(texts(0, 4)), destination=earlier)
    index = Path(earlier) / "_run" / "index.parquet"
    was = pq.read_table(index)
    ages = pa.array([moment - timedelta(days=row * 2) for row, moment in enumerate(was["answered_at"].to_pylist())])
    place = was.schema.get_field_index("answered_at")
    pq.write_table(was.set_column(place, was.schema.field(place), ages.cast(was.schema.field(place).type)), index)

    summary = go(source=rows_of(texts(0, 4)), reuse=earlier, reuse_max_age=timedelta(days=3))

    assert (summary.reused, summary.requests) == (2, 2)


def test_dead_letters_are_never_reused(go: Go, emulator: Emulator, earlier: str) -> None:
    fault = emulator.faults.add(RowFault(do="safety", keys=("k1",)))[0]
    go(source=rows_of(texts(0, 3)), destination=earlier)
    emulator.faults.remove(fault)

    summary = go(source=rows_of(texts(0, 3)), reuse=earlier)

    assert (summary.results, summary.reused, summary.requests) == (3, 2, 1)


def test_equal_rows_and_earlier_answers_together(go: Go, tmp_path: Path, emulator: Emulator, earlier: str) -> None:
    go(source=rows_of(["a", "b", "a", "a"]), destination=earlier)

    summary = go(source=rows_of(["a", "c", "a", "c", "b", None, "c"]), reuse=earlier, carry=["row"])

    assert (summary.rows, summary.results, summary.dead_letter) == (7, 6, 1)
    assert (summary.reused, summary.requests, summary.deduplicated) == (3, 1, 2)
    assert requests_paid(emulator) == 3
    found = {row["key"]: (row["reused_from"], row["paid_by"], row["row"]) for row in read(tmp_path, "results")}
    assert found == {
        "k0": (earlier, None, 0), "k1": (None, None, 1), "k2": (earlier, None, 2),
        "k3": (None, "k1", 3), "k4": (earlier, None, 4), "k6": (None, "k1", 6),
    }  # fmt: skip


def test_the_earlier_run_may_go_once_the_new_one_is_built(go: Go, tmp_path: Path, emulator: Emulator, earlier: str) -> None:
    go(source=rows_of(texts(0, 6)), destination=earlier)
    rule = emulator.faults.add(refuse_creates())[0]
    with pytest.raises(Exception, match="400"):
        go(source=rows_of(texts(0, 9)), reuse=earlier)
    emulator.faults.remove(rule)
    shutil.rmtree(earlier)

    summary = go(source=rows_of(texts(0, 9)), reuse=earlier)

    assert (summary.results, summary.reused) == (9, 6)


def refuse_creates() -> HttpFault:
    return HttpFault(do="status", status=400, path=":batchGenerateContent", count=1_000)


def test_a_built_run_knows_its_source_again_without_the_earlier_one(go: Go, tmp_path: Path, earlier: str) -> None:
    go(source=rows_of(texts(0, 6)), destination=earlier)
    first = go(source=rows_of(texts(0, 9)), reuse=earlier)
    shutil.rmtree(earlier)

    assert go(source=stream(rows_of(texts(0, 9))), reuse=earlier) == first
    with pytest.raises(DestinationError, match="has other rows now"):
        go(source=stream(rows_of([*texts(0, 5), "other", *texts(6, 9)])))


def stream(table: pa.Table) -> pa.RecordBatchReader:
    """Has no fingerprint, so the rows are compared."""
    return pa.RecordBatchReader.from_batches(table.schema, table.to_batches())


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda run: (run / "summary.json").unlink(), "it is not finished"),
        (lambda run: (run / "summary.json").write_text("{"), "it cannot be read"),
        (lambda run: shutil.rmtree(run / "_run"), "it has no manifest"),
        (lambda run: next((run / "results").iterdir()).unlink(), "it has changed since it was finished"),
    ],
)
def test_a_named_run_that_cannot_serve_is_refused_and_one_in_a_folder_is_passed_over(
    spoil: Callable[[Path], None], reason: str, go: Go, tmp_path: Path, emulator: Emulator, earlier: str, caplog: Any
) -> None:
    go(source=rows_of(texts(0, 3)), destination=earlier)
    spoil(Path(earlier))

    with pytest.raises(InputError, match=reason):
        go(source=rows_of(texts(0, 3)), reuse=earlier)
    with caplog.at_level("INFO"):
        summary = go(source=rows_of(texts(0, 3)), reuse=str(tmp_path / "lake"))

    assert (summary.results, summary.reused) == (3, 0)
    assert reason in caplog.text


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"model": "gemini-2.5-pro"}, "asked gemini-2.5-pro, not"),
        ({"request": GenerateRequest(prompt="${body}", response_schema={"type": "object", "properties": {}})}, "another schema"),
        ({"request": EmbedRequest(text="${body}"), "model": "gemini-embedding-001"}, "asked gemini-embedding-001"),
        ({"keep_response": False}, "kept no responses"),
    ],
)
def test_a_run_of_another_kind_is_refused(other: dict[str, Any], reason: str, go: Go, earlier: str) -> None:
    go(**{"source": rows_of(["{}"]), "destination": earlier, "max_dead_letter_ratio": 1.0, **other})

    with pytest.raises(InputError, match=reason):
        go(source=rows_of(["{}"]), reuse=earlier)


def test_another_question_finds_nothing(go: Go, emulator: Emulator, earlier: str) -> None:
    go(source=rows_of(texts(0, 3)), destination=earlier)

    assert go(source=rows_of(texts(0, 3)), request=GenerateRequest(prompt="Say ${body}"), reuse=earlier).reused == 0


def test_typed_columns_are_taken_over(go: Go, tmp_path: Path, earlier: str) -> None:
    request = GenerateRequest(
        prompt="${body}", response_schema={"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    )
    go(source=rows_of(texts(0, 4)), destination=earlier, request=request)

    go(source=rows_of(texts(0, 4)), request=request, reuse=earlier)

    assert [row["parsed"] for row in read(tmp_path, "results")] == [row["parsed"] for row in rows_in(earlier)]


def test_media_files_are_copied(go: Go, tmp_path: Path, earlier: str) -> None:
    request = GenerateRequest(prompt="Draw ${body}", config={"response_modalities": ["TEXT", "IMAGE"]})
    go(source=rows_of(texts(0, 3)), destination=earlier, request=request, media_to="files")
    pictures = {row["key"]: Path(row["media"][0]["uri"]).read_bytes() for row in rows_in(earlier)}

    go(source=rows_of(texts(0, 3)), request=request, reuse=earlier, media_to="files")
    shutil.rmtree(earlier)

    for row in read(tmp_path, "results"):
        assert str(tmp_path / "run" / "results_media") in row["media"][0]["uri"]
        assert Path(row["media"][0]["uri"]).read_bytes() == pictures[row["key"]]


def test_a_run_from_before_the_index_is_indexed_once(go: Go, emulator: Emulator, earlier: str) -> None:
    go(source=rows_of(texts(0, 5)), destination=earlier)
    index = Path(earlier) / "_run" / "index.parquet"
    was = pq.read_table(index)
    index.unlink()

    assert go(source=rows_of(texts(0, 5)), reuse=earlier).reused == 5
    assert pq.read_table(index) == was


def test_a_run_whose_fingerprints_leave_the_model_out_is_indexed_by_its_requests(go: Go, earlier: str) -> None:
    go(source=rows_of(texts(0, 12)), destination=earlier)
    run = Run(locate(earlier))
    manifest = run.built()
    run.manifest_file.write(msgspec.json.encode(msgspec.structs.replace(manifest, version=1)))
    run.index_file.delete()
    for part in (Path(earlier) / "results").iterdir():
        table = pq.read_table(part)
        place = table.schema.get_field_index("request_sha256")
        pq.write_table(table.set_column(place, "request_sha256", pa.array(["0" * 64] * len(table))), part)

    assert go(source=rows_of(texts(0, 12)), reuse=earlier).reused == 12


def test_raw_requests_are_found_in_any_spelling(go: Go, emulator: Emulator, earlier: str) -> None:
    def asked(spelling: Callable[[Any], str]) -> pa.Table:
        request = {"contents": [{"parts": [{"text": "x"}]}], "generationConfig": {"temperature": 1.0}}
        return pa.table({"id": ["a"], "body": [""], "request": [spelling(request)]})

    go(source=asked(json.dumps), destination=earlier, request=RawRequest("request"))
    other = asked(lambda request: json.dumps(dict(reversed(request.items())), indent=2).replace("1.0", "1"))

    assert go(source=other, request=RawRequest("request"), reuse=earlier).reused == 1


def test_parts_are_made_of_some_rows_at_a_time_from_anywhere_in_the_earlier_run(
    go: Go, tmp_path: Path, earlier: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reuse, "_PART_ROWS", 7)
    monkeypatch.setattr(reuse, "_BATCH_ROWS", 3)
    go(source=rows_of(texts(0, 40)), destination=earlier)

    bodies = [*texts(0, 40)[::-1], "new", *texts(0, 40)[::3]]

    summary = go(source=rows_of(bodies), reuse=earlier, carry=["row"])

    assert (summary.reused, summary.requests) == (54, 1)
    for row in read(tmp_path, "results"):
        assert row["text"].endswith(str(bodies[row["row"]]))


def test_a_finished_run_whose_reused_part_was_lost_gets_it_back(go: Go, tmp_path: Path, earlier: str) -> None:
    go(source=rows_of(texts(0, 4)), destination=earlier)
    go(source=rows_of(texts(0, 4)), reuse=earlier)
    part = tmp_path / "run" / "results" / "part-reused-00000-0.parquet"
    was = pq.read_table(part)
    part.unlink()

    assert finish_run(Run(locate(str(tmp_path / "run")))).results == 4
    assert pq.read_table(part) == was


def test_a_folder_without_runs_is_a_warning(go: Go, tmp_path: Path, caplog: Any) -> None:
    assert go(reuse=str(tmp_path / "nothing")).reused == 0
    assert "below which there is no run" in caplog.text


def test_the_run_itself_does_not_serve(go: Go, tmp_path: Path) -> None:
    first = go(source=rows_of(texts(0, 3)))

    again = go(source=rows_of(texts(0, 4)), reuse=str(tmp_path), if_exists="replace")

    assert (first.reused, again.reused, again.results) == (0, 0, 4)


@pytest.mark.parametrize("wrong", [3, [None], "", ["a", 1]])
def test_what_is_no_uri_is_refused(wrong: Any, go: Go) -> None:
    with pytest.raises(InputError, match="reuse is"):
        go(reuse=wrong)


def test_a_sample_reuses_nothing(go: Go, earlier: str) -> None:
    with pytest.raises(InputError, match="sample and reuse are both given"):
        go(sample=3, reuse=earlier)


def test_an_age_of_nothing_is_refused(go: Go) -> None:
    with pytest.raises(InputError, match="reuse_max_age"):
        go(reuse_max_age=timedelta(0))
