"""In one pass, uploads run ahead of creates and downloads ahead of landing; what is created, and in which order, stays the same.

No test depends on time: what is held waits for the very step that has to overlap with it. Without the overlap it would wait for
ever, which the limit of ``SOON`` seconds turns into a failure.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from airflow_gemini_batch.emulator import Emulator, HttpFault, JobFault
from airflow_gemini_batch.engine.advance import advance
from airflow_gemini_batch.engine.build.building import build_run
from airflow_gemini_batch.engine.build.call import RunSpec
from airflow_gemini_batch.engine.errors import CorruptRunError
from airflow_gemini_batch.engine.finish.summary import Summary
from airflow_gemini_batch.engine.gemini.client import Endpoint, GeminiClient
from airflow_gemini_batch.engine.project_limits import ProjectLimits
from airflow_gemini_batch.engine.run.layout import Run
from airflow_gemini_batch.engine.run.storage import locate
from airflow_gemini_batch.engine.run.tokens import input_file_name, token_of
from airflow_gemini_batch.engine.specs import GenerateRequest
from airflow_gemini_batch.engine.submit.submission import UPLOADS_AHEAD
from airflow_gemini_batch.engine.wait.unfinished import Waiting
from tests.integration.engine.conftest import MODEL, SHORT_WAITS, creates, table
from tests.integration.engine.held_store import run_in

pytestmark = pytest.mark.integration

SOON = 30.0
SHARDS = 6
CREATE = ":batchGenerateContent"
#: A start and the content.
CALLS_PER_UPLOAD = 2


def built(run: Run, shards: int = SHARDS) -> Run:
    build_run(run, RunSpec(table(shards * 5), GenerateRequest(prompt="${body}"), MODEL, key="id"), SHORT_WAITS)
    return run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return built(Run(locate(str(tmp_path / "run"))))


def uploaded(emulator: Emulator) -> list[int]:
    """The shards whose input files the service has received, in order."""
    return [int(re.findall(r"shard (\d+)", entry["display_name"])[0]) for entry in emulator.journal("upload")]


def created(emulator: Emulator) -> list[int]:
    return [int(re.findall(r"shard (\d+)", name)[0]) for name in creates(emulator)]


def finished(run: Run, client: GeminiClient, emulator: Emulator) -> Summary:
    while isinstance(state := advance(run, client, SHORT_WAITS, patient=True), Waiting):
        emulator.wait_idle()
    return state


class Held:
    """Holds the answer of the nth create in the thread that asked, until so many shards have been uploaded."""

    def __init__(self, nth: int, uploads: int, then: Callable[[], object] = lambda: None) -> None:
        self._nth, self._awaited, self._then = nth, uploads * CALLS_PER_UPLOAD, then
        self._creates = self._uploads = 0
        self._reached = threading.Event()
        self.overlapped = False

    def __call__(self, call: str, status: int) -> None:
        if call == "upload":
            self._uploads += 1
            if self._uploads == self._awaited:
                self._reached.set()
        if call == "create":
            self._creates += 1
            if self._creates == self._nth:
                self.overlapped = self._reached.wait(SOON)
                self._then()


def test_the_next_shards_are_uploaded_while_a_create_waits_for_its_answer(
    run: Run, endpoint: Endpoint, emulator: Emulator
) -> None:
    seen: list[tuple[list[int], list[int]]] = []
    held = Held(1, 1 + UPLOADS_AHEAD, lambda: seen.append((uploaded(emulator), created(emulator))))

    with GeminiClient(endpoint, held) as client:
        advance(run, client, SHORT_WAITS)

    assert held.overlapped
    assert seen == [(list(range(1 + UPLOADS_AHEAD)), [0])], "no further ahead, and nothing of them is created"
    assert uploaded(emulator) == created(emulator) == list(range(SHARDS))


def test_claims_creates_and_records_stay_one_after_the_other(run: Run, endpoint: Endpoint) -> None:
    ledgers: list[list[str]] = []

    def note(call: str, status: int) -> None:
        if call == "create":
            names = [file.name for file in run.ledger_folder.children()]
            ledgers.append([name for name in names if ".intent-" in name or ".job." in name])

    with GeminiClient(endpoint, note) as client:
        advance(run, client, SHORT_WAITS)

    before: list[str] = []
    for number, names in enumerate(ledgers):
        assert names == sorted([*before, f"{number:05d}-0.intent-1.json"])
        before = [*names, f"{number:05d}-0.job.json"]
    assert len(ledgers) == SHARDS


def test_no_more_is_uploaded_than_may_be_created(run: Run, client: GeminiClient, emulator: Emulator) -> None:
    advance(run, client, replace(SHORT_WAITS, max_active_jobs=2))

    assert uploaded(emulator) == created(emulator) == [0, 1]


@pytest.mark.parametrize(("largest", "ahead"), [(1 << 20, [0, 1, 2, 3]), (1, [0, 1])])
def test_where_runs_share_limits_only_small_files_wait_at_the_service_for_a_place(
    largest: int,
    ahead: list[int],
    run: Run,
    endpoint: Endpoint,
    emulator: Emulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("airflow_gemini_batch.engine.submit.submission._AHEAD_BYTES", largest)
    limits = ProjectLimits(f"{run.destination}-limits", max_active_jobs=2)
    emulator.faults.add(JobFault(do="hang"))

    with GeminiClient(replace(endpoint, limits=limits), Held(2, len(ahead))) as client:
        waiting = advance(run, client, SHORT_WAITS)

    assert isinstance(waiting, Waiting)
    assert created(emulator) == [0, 1]
    assert uploaded(emulator) == ahead


@pytest.mark.parametrize("status", [429, 503])
def test_after_a_refused_create_nothing_more_is_uploaded_than_what_flies(
    status: int, run: Run, endpoint: Endpoint, emulator: Emulator
) -> None:
    emulator.faults.add(HttpFault(do="status", status=status, path=CREATE, nth=2, count=1_000))
    held = Held(2, 2 + UPLOADS_AHEAD)

    with GeminiClient(endpoint, held) as client:
        waiting = advance(run, client, SHORT_WAITS, patient=True)
        assert isinstance(waiting, Waiting)
        assert (held.overlapped, waiting.refusals) == (True, 1)
        assert (uploaded(emulator), created(emulator)) == ([0, 1, 2, 3], [0])

        emulator.faults.clear()
        summary = finished(run, client, emulator)

    assert (summary.results, summary.balanced) == (SHARDS * 5, True)
    assert uploaded(emulator) == created(emulator) == list(range(SHARDS)), "what was there was found, not sent again"


def test_a_full_storage_is_met_by_the_shard_that_comes_next(run: Run, client: GeminiClient, emulator: Emulator) -> None:
    emulator.faults.add(HttpFault(do="status", status=429, method="POST", path="^/upload/.*/files$", nth=3, count=1_000))

    waiting = advance(run, client, SHORT_WAITS, patient=True)

    assert isinstance(waiting, Waiting)
    assert waiting.refusals == 1
    assert uploaded(emulator) == created(emulator) == [0, 1], "a later shard never takes the place of an earlier one"


def test_an_interrupted_pass_leaves_no_thread_and_no_second_job(run: Run, endpoint: Endpoint, emulator: Emulator) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with GeminiClient(endpoint, Held(2, 3, interrupt)) as client, pytest.raises(KeyboardInterrupt):
        advance(run, client, SHORT_WAITS)

    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]
    with GeminiClient(endpoint) as client:
        summary = finished(run, client, emulator)
    assert (summary.results, summary.balanced) == (SHARDS * 5, True)
    assert created(emulator) == list(range(SHARDS))


def test_a_shard_with_a_claim_is_not_uploaded_before_it_was_searched(run: Run, endpoint: Endpoint, emulator: Emulator) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with GeminiClient(endpoint, Held(2, 3, interrupt)) as client, pytest.raises(KeyboardInterrupt):
        advance(run, client, SHORT_WAITS)  # the job of shard 1 exists, and is not recorded
    name = input_file_name(token_of(run.built(), run.built().shards[1]))

    with GeminiClient(endpoint) as client:
        client.delete_file(name)  # nothing needs it any more
        finished(run, client, emulator)

    assert (uploaded(emulator).count(1), created(emulator).count(1)) == (1, 1)


# --- downloads


def test_an_output_is_downloaded_while_the_shard_before_it_is_landed(
    tmp_path: Path, client: GeminiClient, emulator: Emulator
) -> None:
    run, store = run_in(tmp_path)
    built(run)
    advance(run, client, SHORT_WAITS)
    emulator.wait_idle()
    there = threading.Event()
    kept: list[list[str]] = []

    def before(path: str) -> None:
        if "results/" in path and "part-00000-0" in path and not kept:
            overlapped = there.wait(SOON)
            kept.append([file.name for file in (run.destination / "_run" / "responses").children()] if overlapped else [])

    store.before = before
    store.after = lambda path: there.set() if path.endswith("responses/shard-00001-0.jsonl") else None

    summary = advance(run, client, SHORT_WAITS)

    assert kept == [["shard-00000-0.jsonl", "shard-00001-0.jsonl"]], "one ahead, and no more"
    assert isinstance(summary, Summary)
    assert (summary.results, summary.balanced) == (SHARDS * 5, True)


def test_a_shard_whose_output_fails_while_another_is_landed_keeps_no_other_from_landing(
    tmp_path: Path, client: GeminiClient, emulator: Emulator
) -> None:
    run, _ = run_in(tmp_path)
    built(run)
    advance(run, client, SHORT_WAITS)
    emulator.wait_idle()
    shards = run.built().shards
    run.inputs_file(shards[1].id).write(b"torn")
    emulator.faults.add(HttpFault(do="status", status=403, path=":download", nth=4))

    with pytest.raises(Exception, match=r"(?s)00001-0.*00003-0"):
        advance(run, client, SHORT_WAITS)

    assert [shard.number for shard in shards if run.landed_file(shard.id).exists()] == [0, 2, 4, 5]
    assert len(creates(emulator)) == SHARDS
    with pytest.raises(CorruptRunError, match="00001-0"):
        advance(run, client, SHORT_WAITS)
    assert [shard.number for shard in shards if run.landed_file(shard.id).exists()] == [0, 2, 3, 4, 5]
