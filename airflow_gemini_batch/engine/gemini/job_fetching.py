"""Many jobs in few requests.

The listing is read first: it shows 100 jobs a request, and it holds no answers, which an inline job that has ended would bring
with each get. A job is called not found only after it was asked for by name, since a listing may lag.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeAlias

from airflow_gemini_batch.engine.errors import NotFoundError, RefusedError, ServiceError
from airflow_gemini_batch.engine.gemini.client import GeminiClient
from airflow_gemini_batch.engine.gemini.jobs import Job
from airflow_gemini_batch.engine.gemini.page_tokens import PageTokens

#: The job; None when the service does not find it; or why nothing is known of it: its own refusal, or an outage.
Fetched: TypeAlias = Job | ServiceError | None


def fetch_jobs(client: GeminiClient, names: Collection[str]) -> dict[str, Fetched]:
    """The jobs as they are now, by name. Raises nothing that the service does: each job has its own answer.

    Pages of the listing are read for as long as that takes fewer requests than asking for the remaining jobs by name. An outage
    ends the fetch: it is the answer for all jobs that have none yet.
    """
    fetched: dict[str, Fetched] = {}
    try:
        _from_listing(client, set(names), fetched)
        for name in sorted(set(names) - fetched.keys()):
            fetched[name] = _by_name(client, name)
    except ServiceError as outage:
        fetched.update(dict.fromkeys(set(names) - fetched.keys(), outage))
    return fetched


def _from_listing(client: GeminiClient, wanted: set[str], fetched: dict[str, Fetched]) -> None:
    tokens = PageTokens("batch jobs")
    pages = 0
    while wanted:
        jobs, token = client.page_of_jobs(tokens.latest)
        pages += 1
        found = {job.name: job for job in jobs if job.name in wanted}
        fetched.update(found)
        wanted -= found.keys()
        if pages >= len(wanted) or not tokens.go_on(token):
            return


def _by_name(client: GeminiClient, name: str) -> Fetched:
    try:
        return client.get_job(name)
    except NotFoundError:
        return None
    except RefusedError as refusal:  # says something about this job alone
        return refusal
