"""The calls of a trigger: the same SDK, options and meanings as the synchronous client, on an event loop."""

from __future__ import annotations

from google import genai

from airflow_gemini_batch.engine.errors import NotFoundError
from airflow_gemini_batch.engine.gemini.client import Endpoint, checked, job_of, jobs_of_page, next_page, page_config
from airflow_gemini_batch.engine.gemini.jobs import Job
from airflow_gemini_batch.engine.gemini.transport import captured, hooked_client, translated


class AsyncGeminiClient:
    """One per event loop; close it or use it in an ``async with``."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._http = hooked_client(asynchronous=True)
        # The Client object must outlive .aio: when it is collected, it closes the connections of both.
        self._sdk = genai.Client(
            api_key=endpoint.key(), vertexai=False, http_options=endpoint.http_options(httpx_async_client=self._http)
        )

    async def __aenter__(self) -> AsyncGeminiClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._sdk.aio.aclose()
        await self._http.aclose()

    async def get_job(self, name: str) -> Job:
        """Look at one job, once. Raises NotFoundError for 404."""
        with translated(f"look at {name}"), captured() as raw:
            await raw.arun(lambda: self._sdk.aio.batches.get(name=checked(name)))
        return job_of(raw.json(), f"look at {name}")

    async def page_of_jobs(self, token: str | None = None) -> tuple[list[Job], str | None]:
        """One page of the listing and the token of the next, None at the end."""
        with translated("list batch jobs"), captured() as raw:
            await raw.arun(lambda: self._sdk.aio.batches.list(config=page_config(token)))
        page = raw.json()
        return list(jobs_of_page(page)), next_page(page, after=token)

    async def cancel_job(self, name: str) -> None:
        """Ask for a job to end; no error when it is gone."""
        try:
            with translated(f"cancel {name}"):
                await self._sdk.aio.batches.cancel(name=checked(name))
        except NotFoundError:
            return
