"""Dead letters that were discarded are not sent again, the books balance as before, and redrives and discards are ordered."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import msgspec
import pyarrow as pa
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from airflow_gemini_batch import Discarded, discard
from airflow_gemini_batch.emulator import Emulator, RowFault
from airflow_gemini_batch.engine.api import collect, redrive
from airflow_gemini_batch.engine.errors import CorruptRunError, DestinationError, InputError
from airflow_gemini_batch.engine.finish.discarding import discard_letters
from airflow_gemini_batch.engine.finish.plans import Plan
from airflow_gemini_batch.engine.finish.reopening import reopen
from airflow_gemini_batch.engine.finish.selection import Selection
from airflow_gemini_batch.engine.finish.summary import Summary, finish_run, summary_of
from airflow_gemini_batch.engine.gemini.client import Endpoint
from airflow_gemini_batch.engine.report.board import read_board
from airflow_gemini_batch.engine.run.layout import Run
from airflow_gemini_batch.engine.run.storage import locate
from tests.integration.engine.conftest import SHORT_WAITS, creates, read, table

pytestmark = pytest.mark.integration

Go = Callable[..., Summary]
OPTIONS = SHORT_WAITS.as_dict() | {"max_dead_letter_ratio": 1.0, "keep_response": False}
ALL = ["k1", "k11", "k2", "k6", "k7"]


@pytest.fixture
def finished(go: Go, emulator: Emulator, tmp_path: Path) -> Path:
    """12 rows in three shards: k1 and k6 have a retryable error, k7 and k11 have not, k2 never became a request."""
    emulator.faults.add(
        RowFault(do="error", keys=("k1", "k6"), code=13, message="try again"),
        RowFault(do="error", keys=("k7", "k11"), code=3, message="bad request"),
    )
    rows = table(12).to_pydict()
    rows["body"][2] = None
    assert go(source=pa.table(rows), max_dead_letter_ratio=1.0, keep_response=False).dead_letter == 5
    emulator.faults.clear()
    return tmp_path / "run"


def run_in(folder: Path) -> Run:
    return Run(locate(str(folder)))


def letters(folder: Path) -> list[str]:
    return sorted(row["key"] for row in read(folder.parent, "dead_letter"))


def discarded(folder: Path) -> int:
    board = read_board(run_in(folder))
    assert board is not None
    return board.discarded


def files(folder: Path) -> dict[str, bytes]:
    """The content of all files, by their path in the folder."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


@pytest.mark.parametrize(
    ("selection", "keys"),
    [
        ({}, ALL),
        ({"reasons": ["REQUEST_ERROR"]}, ["k1", "k11", "k6", "k7"]),
        ({"keys": ["k11", "k1"]}, ["k1", "k11"]),
        ({"message": "BAD req"}, ["k11", "k7"]),
        ({"message": "/^try/", "codes": [13]}, ["k1", "k6"]),
        ({"retryable": False}, ["k11", "k2", "k7"]),
        ({"limit": 2}, ["k1", "k2"]),
        ({"reasons": ["MISSING"]}, []),
    ],
    ids=str,
)
def test_only_the_ledger_says_which_letters_are_discarded(selection: dict[str, Any], keys: list[str], finished: Path) -> None:
    before = files(finished)

    done = discard(str(finished), **selection, by="ada", note="not worth it")

    after = files(finished)
    added = {name: json.loads(after[name]) for name in after.keys() - before.keys() if ".discard-" in name}
    assert {name: after[name] for name in before} == before
    assert sorted(key for fact in added.values() for key in fact["keys"]) == keys
    assert {(fact["by"], fact["note"]) for fact in added.values()} <= {("ada", "not worth it")}
    assert (done.discarded, done.already, sum(done.reasons.values())) == (len(keys), 0, len(keys))
    assert discarded(finished) == len(keys)
    assert discard(str(finished), **selection) == Discarded(done.destination, 0, len(keys), {})
    assert files(finished) == after


def test_a_redrive_leaves_discarded_letters_out_unless_it_is_told_to_include_them(
    finished: Path, endpoint: Endpoint, emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    discard(str(finished), keys=["k1", "k7"])

    summary = redrive(str(finished), reasons=["REQUEST_ERROR"], options=OPTIONS, endpoint=endpoint)

    assert (summary.results, summary.dead_letter, summary.balanced) == (9, 3, True)
    assert letters(finished) == ["k1", "k2", "k7"]
    assert "2 of the selected dead letters were discarded and are left out" in caplog.text
    jobs = len(creates(emulator))
    assert redrive(str(finished), keys=["k1"], options=OPTIONS, endpoint=endpoint) == summary
    assert len(creates(emulator)) == jobs

    emulator.faults.add(RowFault(do="error", keys=("k7",), code=13))
    summary = redrive(str(finished), keys=["k1", "k7"], include_discarded=True, options=OPTIONS, endpoint=endpoint)

    assert (summary.results, letters(finished)) == (10, ["k2", "k7"])
    assert discarded(finished) == 0  # k7 has failed again: about that letter nobody has decided
    emulator.faults.clear()
    assert redrive(str(finished), options=OPTIONS, endpoint=endpoint).results == 11


def test_a_limit_takes_the_first_letters_and_the_next_call_the_next(finished: Path, endpoint: Endpoint, tmp_path: Path) -> None:
    for left in (["k11", "k2", "k7"], ["k2"], ["k2"]):
        redrive(str(finished), reasons=["REQUEST_ERROR"], limit=2, options=OPTIONS, endpoint=endpoint)
        assert letters(finished) == left


def test_a_redrive_by_message_or_code_resubmits_these(finished: Path, endpoint: Endpoint) -> None:
    assert redrive(str(finished), message="bad", options=OPTIONS, endpoint=endpoint).dead_letter == 3
    assert redrive(str(finished), codes=[13], retryable=True, options=OPTIONS, endpoint=endpoint).dead_letter == 1


def test_a_repeat_may_be_discarded_alone(go: Go, emulator: Emulator, endpoint: Endpoint, tmp_path: Path) -> None:
    fault = emulator.faults.add(RowFault(do="error", keys=("k1#0", "k1#1", "k1#2"), code=13))[0]
    go(repeats=3, max_dead_letter_ratio=1.0)
    emulator.faults.remove(fault)
    run = tmp_path / "run"

    assert discard(str(run), keys=["k1#1"]).discarded == 1
    assert redrive(str(run), options=OPTIONS, endpoint=endpoint).dead_letter == 1
    assert [(row["key"], row["repeat"]) for row in read(tmp_path, "dead_letter")] == [("k1", 1)]
    assert discard(str(run), keys=["k1"]).already == 1


def test_rows_that_share_a_request_are_discarded_together(go: Go, emulator: Emulator, endpoint: Endpoint, tmp_path: Path) -> None:
    emulator.faults.add(RowFault(do="error", keys=("k0", "k1"), code=13))
    go(source=pa.table({"id": ["k0", "k1", "k2", "k3"], "body": ["a", "b", "a", "a"]}), max_dead_letter_ratio=1.0)
    emulator.faults.clear()
    run = tmp_path / "run"

    done = discard(str(run), keys=["k2"])

    assert (done.discarded, done.reasons) == (3, {"REQUEST_ERROR": 3})
    assert discarded(run) == 3
    assert redrive(str(run), options=OPTIONS, endpoint=endpoint).results == 1
    assert letters(run) == ["k0", "k2", "k3"]
    assert discard(str(run)) == Discarded(str(run), 0, 3, {})


def test_a_part_that_is_rewritten_keeps_its_discards(finished: Path, endpoint: Endpoint) -> None:
    discard(str(finished), keys=["k1"])
    (finished / "dead_letter" / "part-00000-0.parquet").unlink()

    assert finish_run(run_in(finished), max_dead_letter_ratio=1.0).dead_letter == 5

    assert discarded(finished) == 1
    assert redrive(str(finished), options=OPTIONS, endpoint=endpoint).dead_letter == 4


def test_without_its_summary_the_run_does_not_resubmit_discarded_letters(
    finished: Path, endpoint: Endpoint, emulator: Emulator
) -> None:
    for record in (finished / "_run" / "ledger").glob("*.redrive.json"):
        record.unlink()  # as in a run in steps, which decides nothing
    discard(str(finished), keys=["k1", "k6"])
    (finished / "summary.json").unlink()
    jobs = len(creates(emulator))

    assert collect(str(finished), options=OPTIONS | {"max_redrives": 1}, endpoint=endpoint).dead_letter == 5
    assert len(creates(emulator)) == jobs


def test_a_run_that_replaces_it_knows_no_discards(finished: Path, go: Go, emulator: Emulator, endpoint: Endpoint) -> None:
    discard(str(finished), keys=["k1"])
    emulator.faults.add(RowFault(do="error", keys=("k1",), code=13))
    fact = (finished / "_run" / "ledger" / "00000-0.discard-1.json").read_bytes()

    go(if_exists="replace", request=lambda row: {"contents": [{"parts": [{"text": row["body"]}]}]}, max_dead_letter_ratio=1.0)

    assert discarded(finished) == 0
    # Written by a discard that was under way when the run was replaced.
    (finished / "_run" / "ledger" / "00000-0.discard-1.json").write_bytes(fact)
    assert discarded(finished) == 0
    assert discard(str(finished), keys=["k1"]).discarded == 1
    assert discarded(finished) == 1


def test_of_discards_at_the_same_instant_each_letter_is_decided_once(finished: Path) -> None:
    together = threading.Barrier(6)

    def call(number: int) -> Discarded:
        together.wait()
        return discard(str(finished), by=f"caller {number}", reasons=["REQUEST_ERROR"] if number % 2 else None)

    with ThreadPoolExecutor(6) as pool:
        outcomes = list(pool.map(call, range(6)))

    assert sum(done.discarded for done in outcomes) == 5
    assert all(done.discarded + done.already == (4 if number % 2 else 5) for number, done in enumerate(outcomes))
    facts = [json.loads(file.read_bytes()) for file in (finished / "_run" / "ledger").glob("*.discard-*.json")]
    assert sorted(key for fact in facts for key in fact["keys"]) == ALL


def test_a_torn_fact_is_an_error_and_never_means_not_discarded(finished: Path, endpoint: Endpoint) -> None:
    discard(str(finished), keys=["k1"])
    fact = finished / "_run" / "ledger" / "00000-0.discard-1.json"
    fact.write_bytes(fact.read_bytes()[:20])

    for call in (lambda: redrive(str(finished), options=OPTIONS, endpoint=endpoint), lambda: discard(str(finished))):
        with pytest.raises(CorruptRunError, match=r"00000-0\.discard-1\.json is torn"):
            call()
    assert (finished / "summary.json").exists()
    assert discarded(finished) == 0  # the page shows what it can


@pytest.mark.parametrize("keys", [["k0"], ["k1", "nothing"]])
def test_a_key_that_is_not_a_dead_letter_is_an_error_and_nothing_is_discarded(keys: list[str], finished: Path) -> None:
    before = files(finished)

    with pytest.raises(InputError, match=r"1 keys are not dead letters of .*: 'k0'|'nothing'"):
        discard(str(finished), keys=keys)

    assert files(finished) == before


def test_only_a_finished_run_has_letters_to_discard(finished: Path, tmp_path: Path) -> None:
    reopen(run_in(finished), Selection.of(), SHORT_WAITS, token="a task")  # a redrive goes on

    with pytest.raises(InputError, match=r"is not finished, so its dead letters may still change"):
        discard(str(finished))
    with pytest.raises(DestinationError, match="holds no run"):
        discard(str(tmp_path / "nothing"))


@pytest.fixture
def planned(finished: Path, tmp_path: Path) -> Path:
    """The run, of which a redrive was planned that was killed before it had begun."""
    before = tmp_path / "planned" / "run"
    shutil.copytree(finished, before)
    reopen(run_in(finished), Selection.of(), SHORT_WAITS, token="a task that was killed")
    shutil.copytree(finished / "_run" / "redrives", before / "_run" / "redrives")
    return before


def test_while_a_redrive_is_planned_nothing_is_discarded(planned: Path) -> None:
    before = files(planned)

    with pytest.raises(InputError, match=r"being redriven by another caller"):
        discard(str(planned))

    assert files(planned) == before


def test_a_redrive_that_comes_back_leaves_out_what_was_discarded_meanwhile(planned: Path, endpoint: Endpoint) -> None:
    plan = planned / "_run" / "redrives" / "00001.json"
    plan.write_bytes(msgspec.json.encode(msgspec.structs.replace(msgspec.json.decode(plan.read_bytes(), type=Plan), made_at=0.0)))
    discard(str(planned), keys=["k1"])

    options = reopen(run_in(planned), Selection.of(), SHORT_WAITS, token="a task that was killed")

    summary = collect(str(planned), options=OPTIONS | {"keep_response": options.keep_response}, endpoint=endpoint)  # type: ignore[union-attr]
    assert (summary.dead_letter, letters(planned)) == (4, ["k1", "k11", "k2", "k7"])


class Interrupting(MemoryFileSystem):
    """Files in memory, and something that happens when a fact is about to be created."""

    protocol = "interrupting"
    cachable = False
    store: ClassVar[dict[str, Any]] = {}
    before_create: ClassVar[Callable[[], None] | None] = None

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(MemoryFileSystem._strip_protocol(path.replace("interrupting://", "memory://")))

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        if mode == "create" and ".discard-" in path and (act := Interrupting.before_create) is not None:
            Interrupting.before_create = None
            act()
        super().pipe_file(path, value, mode=mode, **kwargs)


@pytest.fixture
def in_memory(finished: Path) -> str:
    fsspec.register_implementation("interrupting", Interrupting, clobber=True)
    Interrupting.store.clear()
    fs = Interrupting()
    for name, content in files(finished).items():
        fs.pipe_file(f"/run/{name}", content)
    return "interrupting:///run"


def test_a_redrive_planned_while_letters_are_discarded_sees_them_or_is_seen(
    in_memory: str, planned: Path, endpoint: Endpoint, emulator: Emulator
) -> None:
    plan = (planned / "_run" / "redrives" / "00001.json").read_bytes()
    Interrupting.before_create = lambda: locate(f"{in_memory}/_run/redrives/00001.json").write(plan)

    with pytest.raises(InputError, match="being redriven by another caller"):
        discard(in_memory, keys=["k1"])

    # The fact was written, and the redrive reads the facts after it has its plan.
    run = Run(locate(in_memory))
    options = reopen(run, Selection.of(), SHORT_WAITS, token="a task that was killed")
    assert collect(in_memory, options=OPTIONS | {"keep_response": options.keep_response}, endpoint=endpoint).dead_letter == 4  # type: ignore[union-attr]
    assert discard(in_memory, keys=["k1"]).already == 1


def test_a_whole_redrive_while_letters_are_discarded_is_seen(in_memory: str, endpoint: Endpoint) -> None:
    def redrive_all() -> None:
        redrive(in_memory, options=OPTIONS, endpoint=endpoint)

    Interrupting.before_create = redrive_all

    with pytest.raises(InputError, match="was redriven while its dead letters were being discarded"):
        discard(in_memory, reasons=["REQUEST_ERROR"])

    assert discard(in_memory, reasons=["REQUEST_ERROR"]).already == 2  # k1 and k6 have results now


@pytest.mark.parametrize("attempt", range(4))
def test_a_discard_that_succeeds_beside_a_redrive_holds(attempt: int, finished: Path, endpoint: Endpoint) -> None:
    together = threading.Barrier(2)

    def act(call: Callable[[], Any]) -> Any:
        together.wait()
        try:
            return call()
        except InputError as error:
            return error

    with ThreadPoolExecutor(2) as pool:
        done = pool.submit(act, lambda: discard(str(finished), keys=["k1", "k7"]))
        pool.submit(act, lambda: redrive(str(finished), reasons=["REQUEST_ERROR"], options=OPTIONS, endpoint=endpoint)).result()

    left = letters(finished)
    assert summary_of(run_in(finished)) is not None
    assert left == (["k1", "k2", "k7"] if isinstance(done.result(), Discarded) else left)


def test_a_dry_run_counts_and_writes_nothing(finished: Path) -> None:
    before = files(finished)

    done = discard_letters(run_in(finished), Selection.of(["REQUEST_ERROR"]), dry_run=True)

    assert (done.discarded, done.reasons, files(finished) == before) == (4, {"REQUEST_ERROR": 4}, True)


def test_an_interrupted_discard_is_completed_by_a_repetition(in_memory: str) -> None:
    def end() -> None:
        raise KeyboardInterrupt

    def end_at_the_next() -> None:
        Interrupting.before_create = end

    Interrupting.before_create = end_at_the_next
    with pytest.raises(KeyboardInterrupt):
        discard(in_memory, reasons=["REQUEST_ERROR"])

    done = discard(in_memory, reasons=["REQUEST_ERROR"])

    assert (done.discarded, done.already) == (3, 1)  # k1 lies in the first part
