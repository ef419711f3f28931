"""common-ai's own operator with a ``google:`` model: its state and retries, our adapter, the emulator."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import BaseModel

pytest.importorskip("airflow.providers.common.ai", reason="needs Python 3.11")

from airflow.providers.common.ai.batch import dispatch
from airflow.providers.common.ai.batch.base import BatchState
from airflow.providers.common.ai.batch.output_schema import build_output_spec
from airflow.providers.common.ai.exceptions import (
    LLMBatchInputError,
    LLMBatchLimitExceededError,
    LLMBatchModelMismatchError,
)
from airflow.providers.common.ai.operators import llm_batch
from airflow.providers.common.ai.triggers.llm_batch import LLMBatchTrigger

from airflow_gemini_batch._compat import TaskDeferred
from airflow_gemini_batch.adapters.common_ai import GeminiBatchAdapter
from airflow_gemini_batch.emulator import Emulator, HttpFault, JobFault, ListingFault, RowFault
from airflow_gemini_batch.engine.errors import NotFoundError, OutcomeUnknownError, RefusedError
from airflow_gemini_batch.engine.options import BatchOptions
from tests.integration.airflow.conftest import KEY, MODEL, created

TEXT = build_output_spec(str)
CALL: dict[str, Any] = {"model": MODEL, "idempotency_key": "0123456789abcdef", "output_spec": TEXT}
FINGERPRINT = "f" * 64


class Colour(BaseModel):
    name: str
    is_warm: bool


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[Emulator]:
    with Emulator(tmp_path / "service", pending_seconds=0, running_seconds=0) as emulator:
        yield emulator


@pytest.fixture
def adapter(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[GeminiBatchAdapter]:
    monkeypatch.setattr(GeminiBatchAdapter, "options", BatchOptions(claim_lease=3.0, listing_lag=0.3))
    adapter = GeminiBatchAdapter(api_key=KEY, base_url=emulator.url)
    yield adapter
    adapter.close()


def submit(adapter: GeminiBatchAdapter, prompts: list[Any], **more: Any) -> str:
    requests = [prompt if isinstance(prompt, dict) else {"prompt": prompt} for prompt in prompts]
    return adapter.submit(requests, **{**CALL, "input_fingerprint": FINGERPRINT, **more}).batch_id


class TestOperator:
    """common-ai's operator, with the connection that the other tests use."""

    @pytest.fixture(autouse=True)
    def short_waits(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It waits at least half a minute between two checks."""
        monkeypatch.setattr(llm_batch, "time", SimpleNamespace(time=time.time, sleep=lambda _: time.sleep(0.2)))

    def test_answers_are_matched_to_prompts_by_index(
        self, run_dag: Any, tmp_path: Path, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        emulator.faults.add(RowFault(do="shuffle"), RowFault(do="safety", lines=[2]))

        ran = run_dag(
            """
            @task.llm_batch(llm_conn_id="gemini_default", model_id="google:" + MODEL, result_path=PLACE, poll_interval=30)
            def ask():
                return ["Say one.", "Say two.", {"prompt": "Say three.", "system_prompt": "Be brief.", "params": {"topK": 3}}]

            ask()
            """,
            PLACE=f"file://{tmp_path}/results",
        )

        assert ran.state == "success", ran.errors
        manifest = ran["ask"]
        assert (manifest["adapter"], manifest["counts"]["succeeded"], manifest["counts"]["errored"]) == ("google", 2, 1)
        rows = [json.loads(line) for line in Path(manifest["result_uri"].removeprefix("file://")).read_text().splitlines()]
        outputs = {row["index"]: (row["status"], row["output"], (row["error"] or {}).get("provider_code")) for row in rows}
        assert outputs == {
            0: ("success", "Say one.", None),
            1: ("error", None, "SAFETY"),
            2: ("success", "Say three.", None),
        }
        assert KEY not in json.dumps(manifest) + "".join(file.read_text() for file in tmp_path.rglob("results/**/*.json*"))

    def test_structured_output_is_validated_by_common_ai(self, connect: Any, tmp_path: Path, emulator: Emulator) -> None:
        manifest = self._run(tmp_path, requests=["Name a colour."], output_type=Colour)

        [row] = [json.loads(line) for line in Path(manifest["result_uri"].removeprefix("file://")).read_text().splitlines()]
        assert (manifest["counts"]["succeeded"], row["status"], set(row["output"])) == (1, "success", {"name", "is_warm"})

    def test_a_create_whose_answer_was_lost_is_not_paid_twice(
        self, connect: Any, tmp_path: Path, emulator: Emulator, adapter: Any
    ) -> None:
        emulator.faults.add(HttpFault(do="drop", path=":batchGenerateContent", when="after", nth=1))

        manifest = self._run(tmp_path, requests=["Say one."])

        assert manifest["counts"]["succeeded"] == 1
        assert len(created(emulator)) == 1

    def test_a_retry_finds_the_job_whose_answer_and_listing_were_lost(
        self, connect: Any, tmp_path: Path, emulator: Emulator, adapter: Any
    ) -> None:
        emulator.faults.add(
            HttpFault(do="drop", path=":batchGenerateContent", when="after", nth=1),
            HttpFault(do="status", status=400, path="/batches", method="GET", count=1),
        )

        with pytest.raises(RefusedError, match="list batch jobs"):
            self._run(tmp_path, requests=["Say one."])
        manifest = self._run(tmp_path, requests=["Say one."])

        assert manifest["counts"]["succeeded"] == 1
        assert len(created(emulator)) == 1

    def test_it_waits_in_the_triggerer_too(self, connect: Any, tmp_path: Path, emulator: Emulator) -> None:
        with pytest.raises(TaskDeferred) as deferred:
            self._run(tmp_path, requests=["Say one."], deferrable=True)
        _, arguments = deferred.value.trigger.serialize()
        trigger = LLMBatchTrigger(**json.loads(json.dumps(arguments)))

        async def event() -> dict[str, Any]:
            return dict((await anext(trigger.run())).payload)

        manifest = self._run(tmp_path, requests=["Say one."], resume=asyncio.run(event()))

        assert KEY not in json.dumps(arguments)
        assert manifest["counts"]["succeeded"] == 1
        assert len(created(emulator)) == 1

    def _run(self, tmp_path: Path, *, resume: dict[str, Any] | None = None, **arguments: Any) -> dict[str, Any]:
        class TaskInstance:
            dag_id, task_id, run_id, map_index = "d", "t", "r", -1

            def xcom_push(self, **_: Any) -> None: ...

        operator = llm_batch.LLMBatchOperator(
            task_id="t",
            llm_conn_id="gemini_default",
            model_id=f"google:{MODEL}",
            result_path=f"file://{tmp_path}/results",
            **{"deferrable": False, **arguments},
        )
        ti = TaskInstance()
        context: Any = {"ti": ti, "task_instance": ti}
        return dict(operator.execute(context) if resume is None else operator.execute_complete(context, resume))


def test_common_ai_finds_the_adapter_by_the_prefix_of_the_model() -> None:
    for conn_type in ("gemini", "pydanticai"):
        assert dispatch.get_adapter_class(conn_type, f"google:{MODEL}") is GeminiBatchAdapter


def test_a_host_without_a_scheme_is_understood() -> None:
    adapter = GeminiBatchAdapter(api_key=KEY, base_url="gateway.example:8443")

    assert adapter._client.endpoint.base_url == "https://gateway.example:8443"
    assert KEY not in repr(vars(adapter))
    adapter.close()


def test_the_lines_are_those_that_the_engine_would_send(adapter: GeminiBatchAdapter, emulator: Emulator, tmp_path: Path) -> None:
    requests = [
        {
            "prompt": 'Quote "this" and ${that}',
            "system_prompt": "Be ${brief}.",
            "params": {"temperature": 0.5, "maxOutputTokens": 1},
        },
        {"prompt": "plain", "max_tokens": 5},
    ]

    batch = submit(adapter, requests, request_params={"temperature": 0.1, "system_instruction": "no"}, max_tokens=99)

    uploaded = next(path for path in (tmp_path / "service").rglob("*") if path.is_file() and b'"key"' in path.read_bytes()[:10])
    lines = {line["key"]: line["request"] for line in map(json.loads, uploaded.read_text().splitlines())}
    first, second = lines["0123456789abcdef-0"], lines["0123456789abcdef-1"]
    assert first["contents"][0]["parts"] == [{"text": 'Quote "this" and ${that}'}]
    assert "Be ${brief}." in json.dumps(first)
    assert {first["generation_config"][name] for name in ("temperature", "max_output_tokens")} == {0.5, 99}
    assert {second["generation_config"][name] for name in ("temperature", "max_output_tokens")} == {0.1, 5}
    assert "system_instruction" not in second
    emulator.wait_idle()
    assert adapter.get_batch(batch).status == "completed"


@pytest.mark.parametrize(
    ("requests", "error", "message"),
    [
        ([{"prompt": "a", "model": "google:other"}, {"prompt": "b"}], LLMBatchModelMismatchError, "must have the same model"),
        ([{"prompt": "a", "model": "openai:gpt-5"}], LLMBatchModelMismatchError, "openai:gpt-5"),
        ([{"prompt": "a", "params": {"temprature": 1}}], LLMBatchInputError, "temprature"),
        ([{"prompt": "a \ud800"}], LLMBatchInputError, "lone surrogate"),
        ([{"prompt": "a" * 2_000}], LLMBatchLimitExceededError, r"at most 1,000 bytes; these requests have .*expand"),
        ([{"prompt": "a"}] * 11, LLMBatchLimitExceededError, r"At most 10 requests are allowed .* got 11"),
    ],
)
def test_invalid_requests_are_refused_before_anything_is_sent(
    requests: list[Any],
    error: type[Exception],
    message: str,
    adapter: GeminiBatchAdapter,
    emulator: Emulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(GeminiBatchAdapter, "max_payload_bytes", 1_000)
    monkeypatch.setattr(GeminiBatchAdapter, "max_requests", 10)

    with pytest.raises(error, match=message):
        adapter.validate_requests(requests, **CALL)

    assert emulator.calls() == []


def test_an_input_file_that_exists_is_not_uploaded_again(adapter: GeminiBatchAdapter, emulator: Emulator) -> None:
    submit(adapter, ["a"])
    submit(adapter, ["a"])
    submit(adapter, ["of other content under the same name"])

    assert len(emulator.journal("upload")) == 2
    assert len(emulator.journal("create")) == 3


class TestOrphans:
    @pytest.fixture
    def ago(self) -> str:
        return (dt.datetime.now(dt.timezone.utc) - dt.timedelta(seconds=5)).isoformat()

    def test_the_job_with_both_identifiers_is_found(self, adapter: GeminiBatchAdapter, ago: str) -> None:
        batch = submit(adapter, ["a"])
        submit(adapter, ["b"], idempotency_key="f" * 16)

        assert adapter.find_orphaned_batch(CALL["idempotency_key"], FINGERPRINT, ago) == batch
        assert adapter.find_orphaned_batch(CALL["idempotency_key"], "e" * 64, ago) is None

    def test_a_job_created_before_the_intent_is_not_adopted(self, adapter: GeminiBatchAdapter) -> None:
        submit(adapter, ["a"])
        later = (dt.datetime.now(dt.timezone.utc) + dt.timedelta(hours=1)).isoformat()

        assert adapter.find_orphaned_batch(CALL["idempotency_key"], FINGERPRINT, later) is None

    def test_the_search_waits_until_the_listing_must_show_the_job(
        self, adapter: GeminiBatchAdapter, emulator: Emulator, ago: str
    ) -> None:
        batch = submit(adapter, ["a"])
        adapter.options = BatchOptions(claim_lease=10.0, listing_lag=10.0)
        emulator.faults.add(ListingFault(lag_seconds=3))

        assert adapter.find_orphaned_batch(CALL["idempotency_key"], FINGERPRINT, ago) == batch

    def test_a_second_job_of_the_same_requests_is_cancelled(
        self, adapter: GeminiBatchAdapter, emulator: Emulator, ago: str
    ) -> None:
        emulator.faults.add(JobFault(do="hang"))
        first, second = submit(adapter, ["a"]), submit(adapter, ["a"])

        assert adapter.find_orphaned_batch(CALL["idempotency_key"], FINGERPRINT, ago) == first
        assert adapter.get_batch(second).status == "cancelled"

    def test_a_listing_that_fails_is_not_an_absent_job(self, adapter: GeminiBatchAdapter, emulator: Emulator, ago: str) -> None:
        emulator.faults.add(HttpFault(do="status", status=400, path="/batches", method="GET"))

        with pytest.raises(RefusedError):
            adapter.find_orphaned_batch(CALL["idempotency_key"], FINGERPRINT, ago)


class TestStates:
    @pytest.mark.parametrize(
        ("fault", "status"),
        [
            (JobFault(), "completed"),
            (JobFault(do="hang"), "in_progress"),
            (JobFault(do="fail", error_code=3, error_message="bad file"), "failed"),
            (JobFault(do="cancel"), "cancelled"),
            (JobFault(responses_file_late_seconds=3600), "in_progress"),
        ],
    )
    def test_the_status_of_a_job_in_terms_of_common_ai(
        self, fault: JobFault, status: str, adapter: GeminiBatchAdapter, emulator: Emulator
    ) -> None:
        emulator.faults.add(fault)
        batch = submit(adapter, ["a", "b"])
        emulator.advance(60)

        state = adapter.get_batch(batch)

        assert isinstance(state, BatchState)
        assert state.status == status
        assert (state.error_message == "bad file") is (status == "failed")

    def test_the_unanswered_requests_of_an_expired_job_are_counted_as_expired(
        self, adapter: GeminiBatchAdapter, emulator: Emulator
    ) -> None:
        emulator.faults.add(JobFault(do="expire"))
        batch = submit(adapter, ["a", "b"])
        emulator.advance(50 * 3600)

        state = adapter.get_batch(batch)

        assert (state.status, (state.counts or {}).get("expired")) == ("expired", 2)
        assert list(adapter.iter_results(batch)) == []

    def test_a_job_that_is_not_found_is_not_resubmitted(self, adapter: GeminiBatchAdapter) -> None:
        with pytest.raises(NotFoundError) as lost:
            adapter.get_batch("batches/unknown")

        # With this error common-ai would submit a new batch.
        assert not hasattr(lost.value, "status_code")

    def test_results_cannot_be_read_before_the_job_has_ended(self, adapter: GeminiBatchAdapter, emulator: Emulator) -> None:
        emulator.faults.add(JobFault(do="hang"))
        batch = submit(adapter, ["a"])

        with pytest.raises(OutcomeUnknownError, match="nothing to download yet"):
            adapter.iter_results(batch)


def test_each_kind_of_output_line_is_recognised(adapter: GeminiBatchAdapter, emulator: Emulator) -> None:
    emulator.faults.add(
        RowFault(do="error", lines=[1], code=13, message="try again"),
        RowFault(do="max_tokens", lines=[2]),
        RowFault(do="foreign_key", lines=[3]),
        RowFault(do="torn", lines=[4]),
    )
    batch = submit(adapter, ["Say a.", "Say b.", "Say c.", "Say d.", "Say e."])

    emulator.wait_idle()

    items = {item.index: item for item in adapter.iter_results(batch)}

    outcomes = {index: (item.error or {}).get("message", "success").partition(":")[0] for index, item in items.items()}
    assert outcomes == {0: "REQUEST_ERROR", 1: "TRUNCATED", 2: "success", 4: "success"}
    assert all(item.raw is None for item in items.values() if item.provider_status == "errored")
    assert (items[4].raw, items[4].finish_reason) == ("Say e.", "STOP")
    assert items[4].usage is not None
    assert items[4].usage["output_tokens"] > 0
