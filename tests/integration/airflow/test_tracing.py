"""The spans of jobs, as the real SDK of OpenTelemetry receives them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes

from airflow_gemini_batch import EmbedRequest, GeminiBatchFinishOperator, GeminiBatchOperator
from airflow_gemini_batch._compat import AirflowFailException
from airflow_gemini_batch.emulator import Emulator, JobFault, RowFault
from airflow_gemini_batch.engine.gemini.jobs import time_of
from tests.integration.airflow.conftest import MODEL, Passes

pytestmark = pytest.mark.timeout(240)

Describe = Callable[..., GeminiBatchOperator]
PRICED = {"prices": {MODEL: {"input": 1.0, "output": 2.0}}}


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[TracerProvider]:
    """The provider of the process, in the place of the one that Airflow sets."""
    provider = TracerProvider()
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    yield provider
    provider.shutdown()


@pytest.fixture
def spans(provider: TracerProvider) -> Callable[[], list[ReadableSpan]]:
    """What was exported, without spans of others."""
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))

    def ours() -> list[ReadableSpan]:
        scopes = [(span, span.instrumentation_scope) for span in exporter.get_finished_spans()]
        return [span for span, scope in scopes if scope is not None and scope.name == "airflow_gemini_batch"]

    return ours


Spans = Callable[[], list[ReadableSpan]]


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def test_each_job_is_a_span_with_its_own_times_and_usage(describe: Describe, spans: Spans, tmp_path: Path) -> None:
    summary = Passes(describe(labels={"team": "search"}, options=PRICED)).finish()

    found = sorted(spans(), key=lambda span: attributes(span)["gemini_batch.shard"])
    assert [span.name for span in found] == [f"generate_content {MODEL}"] * 3
    for span, job in zip(found, summary["jobs"], strict=True):
        created, ended = time_of(job["create_time"]), time_of(job["end_time"])
        assert created is not None
        assert ended is not None
        assert abs((span.start_time or 0) / 1e9 - created.timestamp()) < 1e-3
        assert abs((span.end_time or 0) / 1e9 - ended.timestamp()) < 1e-3
        assert (span.kind, span.status.status_code) == (trace.SpanKind.CLIENT, trace.StatusCode.UNSET)
    said = attributes(found[0])
    assert said["gen_ai.operation.name"] == "generate_content"
    assert said["gen_ai.provider.name"] == "gcp.gemini"
    assert said["gen_ai.request.model"] == MODEL
    assert said["gen_ai.usage.input_tokens"] == summary["jobs"][0]["tokens"]["input"] > 0
    assert said["gen_ai.usage.output_tokens"] == summary["jobs"][0]["tokens"]["output"] > 0
    assert said["gemini_batch.job"] == summary["jobs"][0]["name"]
    assert said["gemini_batch.destination"] == str(tmp_path / "run")
    assert (said["gemini_batch.requests"], said["gemini_batch.results"], said["gemini_batch.dead_letter"]) == (5, 5, 0)
    assert said["gemini_batch.cost_usd"] > 0
    assert said["gemini_batch.label.team"] == "search"
    assert sum(attributes(span)["gemini_batch.cost_usd"] for span in found) == pytest.approx(summary["cost"]["usd"])


def test_the_names_are_those_of_the_conventions(describe: Describe, spans: Spans) -> None:
    Passes(describe()).finish()

    known = {value for name, value in vars(gen_ai_attributes).items() if name.startswith("GEN_AI_")}
    assert {name for span in spans() for name in attributes(span) if name.startswith("gen_ai.")} <= known
    assert gen_ai_attributes.GenAiProviderNameValues.GCP_GEMINI.value == "gcp.gemini"
    assert gen_ai_attributes.GenAiOperationNameValues.GENERATE_CONTENT.value == "generate_content"
    assert gen_ai_attributes.GenAiOperationNameValues.EMBEDDINGS.value == "embeddings"


def test_no_prompt_and_no_answer_is_in_a_span(describe: Describe, spans: Spans, emulator: Emulator) -> None:
    emulator.faults.add(RowFault(do="error", keys=("k3",)))

    Passes(describe(options={"max_redrives": 0})).finish()

    assert spans()
    said = [span.to_json() for span in spans()]
    assert not [text for text in said if "Repeat" in text or "number 1" in text]


def test_spans_lie_below_the_span_of_the_task(describe: Describe, provider: TracerProvider, spans: Spans) -> None:
    with provider.get_tracer("airflow").start_as_current_span("worker.describe") as task:
        Passes(describe()).finish()

    assert {span.parent.span_id for span in spans() if span.parent} == {task.get_span_context().span_id}


def test_a_job_that_expired_is_an_error_and_both_attempts_are_there(describe: Describe, spans: Spans, emulator: Emulator) -> None:
    emulator.faults.add(JobFault(do="expire", display_name="attempt 0"))

    Passes(describe(options={"max_shard_requests": 50, "max_redrives": 1})).finish()

    by_state = {attributes(span)["gemini_batch.state"]: span for span in spans()}
    assert set(by_state) == {"EXPIRED", "SUCCEEDED"}
    assert by_state["EXPIRED"].status.status_code is trace.StatusCode.ERROR
    assert attributes(by_state["EXPIRED"])["error.type"] == "EXPIRED"
    assert attributes(by_state["SUCCEEDED"])["gemini_batch.attempt"] == 1


def test_a_run_that_fails_by_its_dead_letters_has_spans(describe: Describe, spans: Spans, emulator: Emulator) -> None:
    emulator.faults.add(RowFault(do="safety", keys=("k3",)))

    with pytest.raises(AirflowFailException):
        Passes(describe(options={"max_dead_letter_ratio": 0.0})).finish()

    assert sum(attributes(span)["gemini_batch.dead_letter"] for span in spans()) == 1


def test_embeddings_are_called_so(describe: Describe, spans: Spans) -> None:
    Passes(describe(request=EmbedRequest(text="${body}"), model="gemini-embedding-001")).finish()

    assert {span.name for span in spans()} == {"embeddings gemini-embedding-001"}


def test_the_step_that_finishes_makes_the_spans(describe: Describe, spans: Spans, tmp_path: Path) -> None:
    Passes(describe()).finish()
    before = len(spans())

    Passes(GeminiBatchFinishOperator(task_id="finish", destination=str(tmp_path / "run"))).finish()

    assert len(spans()) == 2 * before


def test_without_opentelemetry_nothing_is_missing() -> None:
    code = (
        "import sys; sys.modules['opentelemetry'] = None; from airflow_gemini_batch import _tracing; "
        "_tracing.record_jobs({'jobs': [{}]}, embeds=False)"
    )

    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)

    assert (ended.returncode, ended.stderr) == (0, "")
