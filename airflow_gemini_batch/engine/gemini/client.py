"""The Gemini Developer API as the engine uses it: the official SDK, with what it hides brought back.

Invariants: a create is sent once and only once per call, everything else may be repeated; every call has a
timeout; each failure says whether the service did nothing (``RefusedError``, ``QuotaError``, ``UnreachableError``) or may have
done it (``OutcomeUnknownError``); and the API key leaves this module only in the request's header.
"""

from __future__ import annotations

import functools
import json
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from google import genai
from google.genai import types

from airflow_gemini_batch.engine.errors import (
    ApiKeyError,
    InputError,
    NamelessJobError,
    NotFoundError,
    OutcomeUnknownError,
    RefusedError,
    UnreachableError,
)
from airflow_gemini_batch.engine.gemini.files import RemoteFile
from airflow_gemini_batch.engine.gemini.jobs import Job, parse_job
from airflow_gemini_batch.engine.gemini.names import is_job_name
from airflow_gemini_batch.engine.gemini.page_tokens import PageTokens
from airflow_gemini_batch.engine.gemini.quiet import quiet_libraries
from airflow_gemini_batch.engine.gemini.retries import Retries
from airflow_gemini_batch.engine.gemini.sdk import expected_warnings
from airflow_gemini_batch.engine.gemini.transfers import Download, Upload, Wire
from airflow_gemini_batch.engine.gemini.transport import Captured, captured, hooked_client, mask_keys, translated
from airflow_gemini_batch.engine.json.lenient import as_list
from airflow_gemini_batch.engine.printable import masked_bytes, remember_key
from airflow_gemini_batch.engine.project_limits import ProjectLimits

#: The version that the official Batch API samples speak; the SDK's own default moved to v1 with 3.0.
DEFAULT_API_VERSION = "v1beta"

#: Seconds without a byte, on any request. The SDK's own default is to wait for ever.
DEFAULT_REQUEST_TIMEOUT = 60.0

#: Seconds for a request whose answer nothing depends on.
_CHECK_TIMEOUT = 10.0

#: The largest page that users of the listing report; its true limit is not documented.
LIST_PAGE_SIZE = 100

#: What the official samples call an input file.
_JSONL = "jsonl"

#: For calls that may be repeated.
RETRIES = Retries()
_NO_RETRIES = types.HttpRetryOptions(attempts=1)

#: What is repeated on transfers, for which the SDK has no retries.
_TRANSIENT = (OutcomeUnknownError, UnreachableError)

#: The SDK's default base URL.
GOOGLE = "https://generativelanguage.googleapis.com"

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the API is and who asks.

    :param api_key: default: ``GOOGLE_API_KEY``, then ``GEMINI_API_KEY`` from the environment, as the SDK does.
    :param base_url: default: Google's.
    :param api_version: ``v1beta`` or ``v1``.
    :param request_timeout: seconds that one HTTP request may wait without receiving a byte, above 0. Default: 60; the SDK's
        own default is to wait forever. It is not ``BatchOptions.timeout``, which is the time for a whole run.
    :param webhook_uri: URI that the service notifies when a job ends, instead of the registered webhooks. Not for embeddings.
    :param limits: what all runs with the same limits folder may have in flight together. Default: each run for itself.
    """

    api_key: str | None = field(default=None, repr=False)
    base_url: str | None = None
    api_version: str = DEFAULT_API_VERSION
    request_timeout: float = DEFAULT_REQUEST_TIMEOUT
    webhook_uri: str | None = None
    limits: ProjectLimits | None = None

    def __post_init__(self) -> None:
        if self.webhook_uri is not None and not hasattr(types, "WebhookConfig"):
            raise InputError("webhook_uri needs a google-genai that knows webhooks of single jobs: install a newer one.")

    def key(self) -> str:
        """The API key. Raises ApiKeyError when there is none anywhere."""
        key = self.api_key or os.environ.get("GOOGLE_API_KEY") or os.environ.get("GEMINI_API_KEY")
        if not key:
            raise ApiKeyError(
                "No Gemini API key: give the connection a password, or set GOOGLE_API_KEY or GEMINI_API_KEY in the environment."
            )
        if not key.isascii() or not key.isprintable() or key != key.strip():
            raise ApiKeyError("The Gemini API key holds a character that no key has (a space, a line break?): enter it again.")
        remember_key(key)
        return key

    def url(self) -> str:
        """The base URL that calls go to: this endpoint's, else ``GOOGLE_GEMINI_BASE_URL`` as the SDK reads it, else Google's."""
        return self.base_url or os.environ.get("GOOGLE_GEMINI_BASE_URL") or GOOGLE

    def http_options(self, **clients: Any) -> types.HttpOptions:
        return types.HttpOptions(
            base_url=self.base_url,
            api_version=self.api_version,
            timeout=math.ceil(self.request_timeout * 1000),
            retry_options=RETRIES.of_the_sdk(),
            **clients,
        )


class GeminiClient:
    """Synchronous calls. Keep one and reuse it (making one costs about 100 ms); close it or use it in a ``with``.

    :param on_answer: told of each HTTP answer, also of those that are retried: what was called, and the status. Default: nobody.
    """

    def __init__(self, endpoint: Endpoint, on_answer: Callable[[str, int], None] | None = None) -> None:
        quiet_libraries()
        self.endpoint = endpoint
        self._http = hooked_client(endpoint.url(), on_answer)
        self._wire = Wire(self._http, endpoint.url(), endpoint.api_version, endpoint.key(), endpoint.request_timeout)
        self._sdk = genai.Client(
            api_key=endpoint.key(), vertexai=False, http_options=endpoint.http_options(httpx_client=self._http)
        )

    def __enter__(self) -> GeminiClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._sdk.close()
        self._http.close()

    def create_job(
        self,
        *,
        model: str,
        display_name: str,
        input_file: str | None = None,
        requests: list[dict[str, Any]] | None = None,
        embeds: bool = False,
        timeout: float | None = None,
    ) -> Job:
        """Create one batch job. Sent once: whatever fails, this method never sends it again.

        :param input_file: the uploaded requests; or
        :param requests: the requests themselves, each with its ``metadata``, for an inline job.
        :param embeds: whether the requests ask for embeddings; those have a method of their own.
        :param timeout: seconds without a byte; default: the endpoint's. The service reads the whole input file before it answers.

        Raises OutcomeUnknownError when the job may exist all the same, NamelessJobError when the service says so and not which.
        """
        options = types.HttpOptions(
            retry_options=_NO_RETRIES, timeout=math.ceil((timeout or self.endpoint.request_timeout) * 1000)
        )
        if requests is not None:
            # The SDK's types would drop what they do not know; what stands here goes out as it is, in place of a stand-in.
            options.extra_body = {"batch": {"inputConfig": {"requests": {"requests": requests}}}}
        create = functools.partial(self._create_embeddings if embeds else self._create, model, input_file, display_name, options)
        with translated(f"create a batch job for model {model}"), captured() as raw:
            raw.run(create)
        try:
            job = parse_job(raw.json())
        except ValueError as error:
            raise NamelessJobError(
                f"The service answered a create with 200, but that answer is {error}. There may be a job {display_name!r}."
            ) from error
        if not _answers_create(job, display_name, input_file):
            raise NamelessJobError(
                f"The service answered the create of {display_name!r} with another job: {job.name}, {job.display_name!r}."
            )
        return job

    def check_model(self, model: str) -> None:
        """Fetch a model's description. Sent once and within ten seconds: the answer may save work, and nothing depends on it.

        Raises ServiceError or a subclass if there is no such answer, whatever that means.
        """
        timeout = min(self.endpoint.request_timeout, _CHECK_TIMEOUT)
        options = types.HttpOptions(retry_options=_NO_RETRIES, timeout=math.ceil(timeout * 1000))
        with translated(f"find model {model}"):
            self._sdk.models.get(model=model, config=types.GetModelConfig(http_options=options))

    def count_tokens(self, model: str, request: bytes) -> int:
        """The input tokens of a request, as the service counts them. Free of charge.

        :param request: in REST form.
        """
        body = json.loads(request)
        if "content" in body:  # of an embedding
            counted: dict[str, Any] = {"contents": [body["content"]]}
        else:
            counted = {"generateContentRequest": {"model": f"models/{model.removeprefix('models/')}", **body}}

        def count() -> int:
            options = types.HttpOptions(extra_body=counted)
            with translated(f"count the tokens of a request for {model}"):
                config = types.CountTokensConfig(http_options=options)
                return self._sdk.models.count_tokens(model=model, contents="-", config=config).total_tokens or 0

        return RETRIES.repeat(count)

    def get_job(self, name: str) -> Job:
        """Look at one job. Raises NotFoundError for 404: gone, or another project's."""
        return job_of(RETRIES.repeat(functools.partial(self._get, name)).json(), f"fetch {name}")

    def get_operation(self, name: str) -> bytes:
        """The raw operation of a job, with the answers of an inline one."""
        return masked_bytes(RETRIES.repeat(functools.partial(self._get, name)).body or b"")

    def list_jobs(self) -> Iterator[Job]:
        """Every job that this key may see, page by page, to the end: a listing cut short has cost others paid work."""
        tokens = PageTokens("batch jobs")
        while True:
            jobs, token = self.page_of_jobs(tokens.latest)
            yield from jobs
            if not tokens.go_on(token):
                return

    def page_of_jobs(self, token: str | None = None) -> tuple[list[Job], str | None]:
        """One page of the listing and the token of the next, None at the end."""
        page = RETRIES.repeat(functools.partial(self._page, token))
        return list(jobs_of_page(page)), page.get("nextPageToken") or None

    def cancel_job(self, name: str) -> None:
        """Ask for a job to end. It may still succeed, so fetch it afterwards. No error when it does not exist."""

        def cancel() -> None:
            with translated(f"cancel {name}"):
                self._sdk.batches.cancel(name=checked(name))

        try:
            RETRIES.repeat(cancel)
        except NotFoundError:
            return

    def delete_job(self, name: str) -> None:
        """Remove a job from the listing. Cancel it first if it runs. No error when it is gone."""

        def delete() -> None:
            with translated(f"delete {name}"):
                self._sdk.batches.delete(name=checked(name))

        try:
            RETRIES.repeat(delete)
        except NotFoundError:
            return

    def upload(self, file: BinaryIO, *, name: str | None, display_name: str, mime_type: str = _JSONL) -> RemoteFile:
        """Send one file. A dropped connection is continued where it broke.

        :param file: seekable; sent from its beginning to its end.
        :param name: ``files/<at most 40 of a-z, 0-9, ->``; None lets the service choose.
        Raises RefusedError with code 409 when the name is taken; QuotaError when the storage is full.
        """
        upload = Upload(self._wire, file, name=name, display_name=display_name, mime_type=mime_type)
        return RETRIES.resume(upload.proceed, progress=lambda: upload.received, over=_TRANSIENT)

    def get_file(self, name: str) -> RemoteFile | None:
        """What the service knows of a file; None when it has no such file, or none for this key: it says 403 for both."""

        def look() -> RemoteFile | None:
            with translated(f"fetch {name}"):
                return RemoteFile.of(self._sdk.files.get(name=name))

        try:
            return RETRIES.repeat(look)
        except RefusedError as error:
            if error.code in (403, 404):
                return None
            raise

    def list_files(self) -> Iterator[RemoteFile]:
        """Every file of this key's project, page by page, to the end."""
        tokens = PageTokens("files")
        while True:
            files, token = RETRIES.repeat(functools.partial(self._page_of_files, tokens.latest))
            yield from files
            if not tokens.go_on(token):
                return

    def delete_file(self, name: str) -> None:
        """Give storage back. No error when it is gone, which may be said by a 403; outputs cannot be deleted: RefusedError."""

        def delete() -> None:
            with translated(f"delete {name}"):
                self._sdk.files.delete(name=name)

        try:
            RETRIES.repeat(delete)
        except RefusedError as error:
            if error.code not in (403, 404) or self.get_file(name) is not None:
                raise

    def download(self, name: str, path: Path) -> str:
        """Stream a generated file to a local path, and return the sha256 (hex) of what arrived.

        A broken transfer is continued where it broke; what is there after an error is not whole. API keys in the file are
        masked afterwards.
        """
        download = Download(self._wire, name, path)
        RETRIES.resume(download.proceed, progress=lambda: download.received, over=_TRANSIENT)
        mask_keys(path)
        return download.sha256

    def _page_of_files(self, token: str | None) -> tuple[list[RemoteFile], str | None]:
        with translated("list files"):
            pager = self._sdk.files.list(config=types.ListFilesConfig(page_size=LIST_PAGE_SIZE, page_token=token))
        return [RemoteFile.of(file) for file in pager.page], pager.config.get("page_token") or None

    def _create(self, model: str, input_file: str | None, display_name: str, options: types.HttpOptions) -> None:
        config = types.CreateBatchJobConfig(display_name=display_name, http_options=options)
        if self.endpoint.webhook_uri is not None:
            config.webhook_config = types.WebhookConfig(uris=[self.endpoint.webhook_uri])
        source: Any = input_file or [types.InlinedRequest(contents="")]
        self._sdk.batches.create(model=model, src=source, config=config)

    def _create_embeddings(self, model: str, input_file: str | None, display_name: str, options: types.HttpOptions) -> None:
        config = types.CreateEmbeddingsBatchJobConfig(display_name=display_name, http_options=options)
        stand_in = None if input_file else types.EmbedContentBatch(contents="")
        source = types.EmbeddingsBatchJobSource(file_name=input_file, inlined_requests=stand_in)
        with expected_warnings():
            self._sdk.batches.create_embeddings(model=model, src=source, config=config)

    def _get(self, name: str) -> Captured:
        with translated(f"fetch {name}"), captured() as raw:
            raw.run(lambda: self._sdk.batches.get(name=checked(name)))
        return raw

    def _page(self, token: str | None) -> dict[str, Any]:
        with translated("list batch jobs"), captured() as raw:
            raw.run(lambda: self._sdk.batches.list(config=page_config(token)))
        return raw.json()


def _answers_create(job: Job, display_name: str, input_file: str | None) -> bool:
    """Whether this is the job that was asked for, as far as the answer says."""
    if input_file is not None and job.input_file == input_file:
        return True
    return job.display_name == display_name if job.display_name else job.input_file is None


def jobs_of_page(page: dict[str, Any]) -> Iterator[Job]:
    """The jobs of one page; operations that are not batch jobs are left out."""
    for operation in as_list(page.get("operations")):
        try:
            yield parse_job(operation)
        except (ValueError, AttributeError):
            continue


def page_config(token: str | None) -> types.ListBatchJobsConfig:
    # One page per call: the SDK's own pager breaks on an empty page in the middle.
    return types.ListBatchJobsConfig(page_size=LIST_PAGE_SIZE, page_token=token)


def checked(name: str) -> str:
    if not is_job_name(name):
        raise InputError(f"Invalid job name {name!r}; expected batches/<id>.")
    return name


def job_of(operation: dict[str, Any], doing: str) -> Job:
    try:
        return parse_job(operation)
    except ValueError as error:
        raise OutcomeUnknownError(f"Could not {doing}: the service answered 200, but {error}.") from error
