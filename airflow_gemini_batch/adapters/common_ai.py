"""Gemini for common-ai's ``LLMBatchOperator`` and ``@task.llm_batch``: the model id ``google:gemini-…``.

Registered under the entry-point group ``airflow.providers.common.ai.batch_adapters``, which that provider calls experimental.
common-ai keeps its own state and result files. The engine provides the encoder, the client, the reader of answers and the search
for a job whose create was not answered. Two invariants: a create is sent once; and a job is reported as missing only when the
service's listing has had time to show it.
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

from airflow_gemini_batch.adapters.requests import BatchDefaults, index_of, request_lines
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

#: Prefix of a job's identity, in its display name and its input file's name. Not the engine's: these jobs belong to no run.
_PREFIX = "cai-"

#: Seconds by which the clocks of the service and of the worker that wrote the intent may differ.
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
    :param client: a ``GeminiClient`` to use instead of one made from the other two arguments.
    """

    name = "google"
    conn_types = frozenset({"gemini", "pydanticai"})
    max_requests = BatchOptions().max_shard_requests
    max_payload_bytes = BatchOptions().max_shard_bytes
    allows_per_request_model = False

    #: ``listing_lag`` and ``claim_lease`` say how long to search for a job before concluding that it does not exist.
    options = BatchOptions()

    def __init__(self, *, api_key: str | None = None, base_url: str | None = None, client: GeminiClient | None = None) -> None:
        # No schema and port: common-ai passes only the host.
        self._client: GeminiClient = client or GeminiClient(Endpoint(api_key=api_key, base_url=full_url(base_url, None, None)))

    def build_output_directive(self, spec: OutputSpec) -> dict[str, Any]:
        """The config fields for structured output: JSON Schema, the only form that can express every pydantic type."""
        if not spec.is_structured:
            return {}
        return {"response_mime_type": "application/json", "response_json_schema": spec.json_schema}

    def validate_requests(
        self, requests: list[BatchRequest], *, model: str, output_spec: OutputSpec, idempotency_key: str, **kwargs: Any
    ) -> None:
        self.check_custom_id_length(idempotency_key, len(requests))
        if len(requests) > self.max_requests:
            raise LLMBatchLimitExceededError(
                f"At most {self.max_requests:,} requests are allowed in a Gemini batch; got {len(requests):,}. Split the input "
                "with .expand(), or use GeminiBatchOperator, which makes as many jobs as needed."
            )
        models = {
            self.resolve_request_model(request.get("model"), default_bare_model=model, request_index=index)
            for index, request in enumerate(requests)
        }
        if len(models) > 1:
            raise LLMBatchModelMismatchError(
                f"All requests of a Gemini batch must have the same model; got {', '.join(sorted(models))}."
            )
        size = 0
        try:
            for line in request_lines(requests, self._defaults(models.pop(), idempotency_key, output_spec, kwargs)):
                size += len(line)
        except InputError as error:
            raise LLMBatchInputError(str(error)) from error
        if size > self.max_payload_bytes:
            raise LLMBatchLimitExceededError(
                f"A Gemini input file may have at most {self.max_payload_bytes:,} bytes; these requests have {size:,}. "
                "Split the input with .expand(), or use GeminiBatchOperator, which makes as many jobs as needed."
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
        """Upload the requests and create one job. The create is sent once; if it is not answered, its job is searched for."""
        model = self.resolve_request_model(requests[0].get("model"), default_bare_model=model, request_index=0)
        identity = _identity(idempotency_key, input_fingerprint)
        with tempfile.TemporaryFile(prefix="gemini-batch-") as file:
            digest = hashlib.sha256()
            for line in request_lines(requests, self._defaults(model, idempotency_key, output_spec, kwargs)):
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
        """The job's state. A job that succeeded is ``completed`` only when its output can be fetched.

        Raises NotFoundError when the service does not find the job. It is not resubmitted, because it may be visible to another
        key only.
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

    def _defaults(self, model: str, key: str, spec: OutputSpec, more: dict[str, Any]) -> BatchDefaults:
        given = {name: more[name] for name in ("system_prompt", "max_tokens") if more.get(name)}
        return BatchDefaults(model, key, params=more.get("request_params"), directive=self.build_output_directive(spec), **given)

    def _upload(self, file: BinaryIO, identity: str, *, size: int, sha256: str) -> str:
        """The name of the input file, uploaded by an earlier try or now."""
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
        """A job with this identity created since then, once the listing has had time to show it."""

        def is_ours(job: Job) -> bool:
            return job.display_name.split(" ")[0] == identity and _is_after(job, since)

        found = search_job(self._client, is_ours, until=until)
        return found if isinstance(found, Job) else None


def status_of(job: Job) -> BatchStatus:
    """A job's state in common-ai's terms. A failed job with output has been paid for, so it counts as completed."""
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
        for _, line, plain in OutputLines(file):
            item = _item(classify(line, plain), key)
            if item is None:
                log.warning(
                    "A line of the output does not belong to any request: %r",
                    (line if isinstance(line, bytes) else line.head)[:200],
                )
            else:
                yield item


def _item(parsed: Answer | Refusal | Garbage, key: str) -> RawResultItem | None:
    """The result in one line. A truncated, blocked or empty answer is an error, whatever text it has."""
    index = None if parsed.key is None else index_of(parsed.key, key)
    if parsed.key is None or index is None:
        return None
    if isinstance(parsed, Answer):
        usage = {"input_tokens": parsed.prompt_tokens or 0, "output_tokens": parsed.output_tokens or 0}
        return RawResultItem(
            parsed.key, index, "success", parsed.model_version, usage, parsed.finish_reason, error=None, raw=parsed.text
        )
    reason = parsed.reason.value if isinstance(parsed, Refusal) else "MALFORMED_LINE"
    code = (parsed.status or (str(parsed.code) if parsed.code is not None else None)) if isinstance(parsed, Refusal) else None
    error = {
        "type": "provider_error",
        "message": f"{reason}: {parsed.message}",
        "provider_code": code or reason,
        "stage": "provider",
    }
    return RawResultItem(parsed.key, index, "errored", None, None, None, error=error, raw=None)


def _identity(idempotency_key: str, input_fingerprint: str) -> str:
    """At most 37 characters of a-z, 0-9 and ``-``, because it is also a file's name."""
    return f"{_PREFIX}{idempotency_key[:16]}-{input_fingerprint[:16]}".lower()


def _is_after(job: Job, since: float) -> bool:
    created = time_of(job.create_time)
    return created is None or created.timestamp() >= since
