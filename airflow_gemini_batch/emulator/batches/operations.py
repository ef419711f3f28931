"""A job as the long-running operation that the service returns."""

from __future__ import annotations

import msgspec

from airflow_gemini_batch.emulator.batches.jobs import Job, JobSnapshot
from airflow_gemini_batch.emulator.clock import timestamp_ns
from airflow_gemini_batch.emulator.proto_json import Json

_TYPE = "type.googleapis.com/google.ai.generativelanguage.v1main."
_BATCH_TYPE = {"generate": "GenerateContentBatch", "embed": "EmbedContentBatch"}  # jobs of the OpenAI layer too


def operation(job: Job, snapshot: JobSnapshot, rows: list[bytes] | None = None) -> Json:
    """`rows` are the output lines of a finished inline job. Without them, as in a listing, its output is left out."""
    output = output_of(job, snapshot, rows)
    body: Json = {"name": job.name, "metadata": {"@type": _type_of(job), **batch(job, snapshot, output)}}
    if snapshot.done:
        body["done"] = True
    if snapshot.error is not None:
        body["error"] = snapshot.error
    elif output is not None:
        body["response"] = {"@type": f"{_type_of(job)}Output", **output}
    return body


def batch(job: Job, snapshot: JobSnapshot, output: Json | None) -> Json:
    """The batch resource: the metadata of an operation, and the answer to PATCH."""
    body: Json = {"model": job.model}
    if job.display_name:
        body["displayName"] = job.display_name
    if job.file_name is not None:
        body["inputConfig"] = {"fileName": job.file_name}
    if output is not None:
        body["output"] = output
    body["createTime"] = timestamp_ns(job.created_ns)
    if snapshot.ended_ns is not None:
        body["endTime"] = timestamp_ns(snapshot.ended_ns)
    body["updateTime"] = timestamp_ns(snapshot.updated_ns)
    body["batchStats"] = stats(job, snapshot)
    body["state"] = snapshot.state
    if job.priority:
        body["priority"] = str(job.priority)
    body["name"] = job.name
    return body


def stats(job: Job, snapshot: JobSnapshot) -> Json:
    """The job's counters as the service writes them: int64 as strings, zeros left out."""
    counters = {
        "requestCount": job.request_count,
        "successfulRequestCount": snapshot.successful,
        "failedRequestCount": snapshot.failed,
        "pendingRequestCount": snapshot.pending,
    }
    return {name: str(count) for name, count in counters.items() if count}


def output_of(job: Job, snapshot: JobSnapshot, rows: list[bytes] | None) -> Json | None:
    if not snapshot.has_output:
        return None
    if not job.inline:
        return {"responsesFile": f"files/{job.output_id}"}
    if rows is None:
        return None
    return {"inlinedResponses": {"inlinedResponses": [msgspec.Raw(row) for row in rows]}}


def _type_of(job: Job) -> str:
    return _TYPE + _BATCH_TYPE[job.kind.removeprefix("openai-")]
