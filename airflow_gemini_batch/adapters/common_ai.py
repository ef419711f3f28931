"""Gemini for common-ai's ``LLMBatchOperator`` and ``@task.llm_batch``: the model id ``google:gemini-…``.

Registered under the entry-point group ``airflow.providers.common.ai.batch_adapters``, which that provider calls experimental. It
keeps its own state and its own result files; what it gets from the engine is the encoder, the client, the reader of answers and
a careful look for a job whose creation was not answered. What must stay true here: a create is sent once, and "there is no such
job" is said only when the service's listing has had time to show one.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import logging
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from airflow.providers.common.ai.batch.base import (
    BatchAdapter,
    BatchState,
    BatchStatus,
    ExtractedOutput,
    RawResultItem,
    SubmitResult,
)
from airflow.providers.common.ai.exceptions import LLMBatchInputError, LLMBatchLimitExceededError, LLMBatchModelMismatchError

from airflow_gemini_batch.adapters.requests import Asked, index_of, request_lines
from airflow_gemini_batch.engine.collect.download import fetch_output
from airflow_gemini_batch.engine.errors import InputError, NamelessJobError, OutcomeUnknownError, RefusedError
from airflow_gemini_batch.engine.gemini.client import Endpoint, GeminiClient
from airflow_gemini_batch.engine.gemini.jobs import Job, JobState, time_of
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.response.lines import OutputLines
from airflow_gemini_batch.engine.response.responses import Answer, Garbage, Refusal, classify
from airflow_gemini_batch.engine.run.ledger import Intent
from airflow_gemini_batch.engine.run.storage import locate
from airflow_gemini_batch.engine.submit.job_search import patience, search_job
from airflow_gemini_batch.engine.wait.waiting import is_settled
from airflow_gemini_batch.hooks.gemini import base_url as full_url

if TYPE_CHECKING:
    from airflow.providers.common.ai.batch.base import BatchRequest
    from airflow.providers.common.ai.batch.output_schema import OutputSpec

log = logging.getLogger(__name__)

#: In front of a job's identity in its display name and in its input file's name. Not the engine's own: these jobs are no run's.
_PREFIX = "cai-"

#: The clocks of the worker that wrote the intent and of the service may differ by so many seconds.
_CLOCK_SLACK = 300.0

_STATUS: dict[JobState, BatchStatus] = {
    JobState.PENDING: "in_progress",
    JobState.RUNNING: "in_progress",
    JobState.SUCCEEDED: "completed",
    JobState.FAILED: "failed",
    JobState.EXPIRED: "expired",
    JobState.CANCELLED: "cancelled",
}


class GeminiBatchAdapter(BatchAdapter):
    """The Gemini Developer API, through an Airflow connection of type ``gemini`` or ``pydanticai``.

    :param api_key: default: ``GOOGLE_API_KEY``, then ``GEMINI_API_KEY`` from the environment.
    :param base_url: default: Google's.
    :param client: a ready ``GeminiClient``, in place of one made of the other two.
    """

    name = "google"
    conn_types = frozenset({"gemini", "pydanticai"})
    max_requests = BatchOptions().max_shard_requests
    max_payload_bytes = BatchOptions().max_shard_bytes
    allows_per_request_model = False

    #: ``listing_lag`` and ``claim_lease`` say how long to look for a job before concluding that there is none.
    options = BatchOptions()

    def __init__(self, *, api_key: str | None = None, base_url: str | None = None, client: GeminiClient | None = None) -> None:
        # An empty schema and port: common-ai hands on the host alone.
        self._client: GeminiClient = client or GeminiClient(Endpoint(api_key=api_key, base_url=full_url(base_url, None, None)))

    def build_output_directive(self, spec: OutputSpec) -> dict[str, Any]:
        """JSON Schema, the only form that can say all that pydantic can."""
        if not spec.is_structured:
            return {}
        return {"response_mime_type": "application/json", "response_json_schema": spec.json_schema}

    def validate_requests(
        self, requests: list[BatchRequest], *, model: str, output_spec: OutputSpec, idempotency_key: str, **kwargs: Any
    ) -> None:
        self.check_custom_id_length(idempotency_key, len(requests))
        if len(requests) > self.max_requests:
            raise LLMBatchLimitExceededError(
                f"A Gemini batch takes at most {self.max_requests:,} requests here; got {len(requests):,}. Split the input with "
                ".expand(), or use GeminiBatchOperator, which makes as many jobs as are needed."
            )
        models = {
            self.resolve_request_model(request.get("model"), default_bare_model=model, request_index=index)
            for index, request in enumerate(requests)
        }
        if len(models) > 1:
            raise LLMBatchModelMismatchError(f"A Gemini batch has one model; these requests name {', '.join(sorted(models))}.")
        size = 0
        try:
            for line in request_lines(requests, self._asked(models.pop(), idempotency_key, output_spec, kwargs)):
                size += len(line)
        except InputError as error:
            raise LLMBatchInputError(str(error)) from error
        if size > self.max_payload_bytes:
            raise LLMBatchLimitExceededError(
                f"A Gemini batch takes an input file of at most {self.max_payload_bytes:,} bytes; these requests make {size:,}. "
                "Split the input with .expand(), or use GeminiBatchOperator, which makes as many jobs as are needed."
            )

    def submit(
        self,
        requests: list[BatchRequest],
        *,
        model: str,
        idempotency_key: str,
        input_fingerprint: str,
        output_spec: OutputSpec,
        **kwargs: Any,
    ) -> SubmitResult:
        """Upload the requests and create one job; it is sent once, and looked for where the answer does not come."""
        model = self.resolve_request_model(requests[0].get("model"), default_bare_model=model, request_index=0)
        identity = _identity(idempotency_key, input_fingerprint)
        with tempfile.TemporaryFile(prefix="gemini-batch-") as file:
            digest = hashlib.sha256()
            for line in request_lines(requests, self._asked(model, idempotency_key, output_spec, kwargs)):
                digest.update(line)
                file.write(line)
            input_file = self._upload(file, identity, size=file.tell(), sha256=digest.hexdigest())
        began = time.time()
        try:
            job = self._client.create_job(
                model=model, input_file=input_file, display_name=f"{identity} {len(requests)} requests of common-ai"
            )
        except (OutcomeUnknownError, NamelessJobError) as error:
            log.warning("%s. Searching for the job before anything else.", error)
            found = self._search(identity, since=began - _CLOCK_SLACK, until=time.time() + self.options.listing_lag)
            if found is None:
                raise
            job = found
        return SubmitResult(batch_id=job.name, provider_input_ref=input_file)

    def find_orphaned_batch(self, idempotency_key: str, input_fingerprint: str, not_before: str) -> str | None:
        """The job whose display name carries both identifiers, once the listing has had time to show it."""
        claimed_at = dt.datetime.fromisoformat(not_before).timestamp() if not_before else 0.0
        wait = patience(Intent("", 0, claimed_at, ""), now=time.time(), options=self.options)
        identity = _identity(idempotency_key, input_fingerprint)
        job = self._search(identity, since=claimed_at - _CLOCK_SLACK, until=time.time() + wait)
        return None if job is None else job.name

    def get_batch(self, batch_id: str) -> BatchState:
        """The job's state. One that has ended well is ``completed`` only when its output can be fetched.

        A job that the service does not find is an error and no reason to pay again: it may be visible to another key only.
        """
        job = self._client.get_job(batch_id)
        status = status_of(job)
        return BatchState(status=status, counts=_counts(job, status), error_message=job.error_message or None)

    def cancel_batch(self, batch_id: str) -> None:
        self._client.cancel_job(batch_id)

    def iter_results(self, batch_id: str) -> Iterator[RawResultItem]:
        job = self._client.get_job(batch_id)
        if not is_settled(job):
            raise OutcomeUnknownError(f"There is nothing to download yet: {job}.")
        if job.output_file is None:
            return iter(())
        folder = tempfile.TemporaryDirectory(prefix="gemini-batch-")
        output = Path(folder.name) / "output.jsonl"
        fetch_output(self._client, job, locate(output))
        return _items(output, folder, key=job.display_name.removeprefix(_PREFIX).partition("-")[0])

    def extract_output(self, raw: RawResultItem, spec: OutputSpec) -> ExtractedOutput:
        if raw.raw is None:
            return ExtractedOutput(kind="absent")
        return ExtractedOutput(kind="json_text" if spec.is_structured else "text", text=raw.raw)

    def _asked(self, model: str, key: str, spec: OutputSpec, more: dict[str, Any]) -> Asked:
        given = {name: more[name] for name in ("system_prompt", "max_tokens") if more.get(name)}
        return Asked(model, key, params=more.get("request_params"), directive=self.build_output_directive(spec), **given)

    def _upload(self, file: BinaryIO, identity: str, *, size: int, sha256: str) -> str:
        """The name of the input file: sent by an earlier try, or now."""
        name = f"files/{identity}"
        there = self._client.get_file(name)
        if there is not None and there.is_usable and (there.size, there.sha256) == (size, sha256):
            return name
        try:
            return self._client.upload(file, name=name if there is None else None, display_name=identity).name
        except RefusedError as error:
            if error.code != 409:
                raise
            return self._client.upload(file, name=None, display_name=identity).name

    def _search(self, identity: str, *, since: float, until: float) -> Job | None:
        """A job of that identity created since then, once the listing has had time to show it."""

        def is_ours(job: Job) -> bool:
            return job.display_name.split(" ")[0] == identity and _is_after(job, since)

        found = search_job(self._client, is_ours, until=until)
        return found if isinstance(found, Job) else None


def status_of(job: Job) -> BatchStatus:
    """A job's state in common-ai's words. A failed job with output has been paid for, and is collected like any other."""
    if not job.is_terminal or not is_settled(job):
        return "in_progress"
    if job.ended_well or (job.state is JobState.FAILED and job.output_file is not None):
        return "completed"
    return _STATUS.get(job.state, "failed")


def _counts(job: Job, status: BatchStatus) -> dict[str, int] | None:
    stats = job.stats
    if not stats.total:
        return None
    open_ones = max(stats.total - stats.succeeded - stats.failed, 0)
    return {
        "succeeded": stats.succeeded,
        "errored": stats.failed,
        "expired": open_ones if status == "expired" else 0,
        "cancelled": open_ones if status == "cancelled" else 0,
    }


def _items(output: Path, folder: tempfile.TemporaryDirectory[str], *, key: str) -> Iterator[RawResultItem]:
    with folder, open(output, "rb") as file:
        for _, line in OutputLines(file):
            item = _item(classify(line), key)
            if item is None:
                log.warning("A line of the output belongs to no request: %r", line[:200])
            else:
                yield item


def _item(told: Answer | Refusal | Garbage, key: str) -> RawResultItem | None:
    """What one line says. What is cut, blocked or empty is an error and no success, whatever text it holds."""
    index = None if told.key is None else index_of(told.key, key)
    if told.key is None or index is None:
        return None
    if isinstance(told, Answer):
        usage = {"input_tokens": told.prompt_tokens or 0, "output_tokens": told.output_tokens or 0}
        return RawResultItem(told.key, index, "success", told.model_version, usage, told.finish_reason, error=None, raw=told.text)
    reason = told.reason.value if isinstance(told, Refusal) else "MALFORMED_LINE"
    code = (told.status or (str(told.code) if told.code is not None else None)) if isinstance(told, Refusal) else None
    error = {
        "type": "provider_error",
        "message": f"{reason}: {told.message}",
        "provider_code": code or reason,
        "stage": "provider",
    }
    return RawResultItem(told.key, index, "errored", None, None, None, error=error, raw=None)


def _identity(idempotency_key: str, input_fingerprint: str) -> str:
    """At most 37 of a-z, 0-9 and ``-``: it is a file's name too."""
    return f"{_PREFIX}{idempotency_key[:16]}-{input_fingerprint[:16]}".lower()


def _is_after(job: Job, since: float) -> bool:
    created = time_of(job.create_time)
    return created is None or created.timestamp() >= since
