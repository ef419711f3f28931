"""One poller for many waiting jobs: all triggers that wait with the same endpoint in the same event loop share its requests.

Each trigger says when it wants its jobs next; the first one that is due makes the poller fetch the jobs of all, and all get their
answers. So the number of requests depends on the interval and not on the number of triggers.

There is one implementation of fetching jobs, synchronous (``engine.gemini.job_fetching``), which the poller calls in a thread:
the event loop is never blocked, not by building a client either.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from airflow_gemini_batch import _metrics

if TYPE_CHECKING:
    from airflow_gemini_batch.engine.gemini.client import Endpoint, GeminiClient
    from airflow_gemini_batch.engine.gemini.job_fetching import Fetched
    from airflow_gemini_batch.engine.gemini.jobs import Job


@dataclass(eq=False)
class _Waiter:
    """A trigger that waits for its jobs. ``due`` by the event loop's clock."""

    jobs: tuple[str, ...]
    due: float
    answer: asyncio.Future[Mapping[str, Fetched]]


class Poller:
    """Fetches the jobs of all its waiters at once."""

    def __init__(self, client: GeminiClient) -> None:
        self._client = client
        self._waiters: list[_Waiter] = []
        self._joined = asyncio.Event()
        self._rounds: asyncio.Task[None] | None = None

    async def fetch(self, jobs: Iterable[str], *, within: float) -> dict[str, Fetched]:
        """The jobs as they are at some moment between now and ``within`` seconds from now; see ``fetch_jobs``."""
        loop = asyncio.get_running_loop()
        waiter = _Waiter(tuple(jobs), loop.time() + within, loop.create_future())
        self._waiters.append(waiter)
        self._joined.set()
        if self._rounds is None or self._rounds.done():
            # In a context of its own: the trigger that happens to start it may be gone, and its log closed, long before it ends.
            self._rounds = contextvars.Context().run(loop.create_task, self._make_rounds())
        try:
            fetched = await waiter.answer
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
        return {name: fetched[name] for name in waiter.jobs}

    async def page_of_jobs(self, token: str | None = None) -> tuple[list[Job], str | None]:
        """One page of the listing and the token of the next, None at the end. Raises ServiceError."""
        return await asyncio.to_thread(self._client.page_of_jobs, token)

    async def cancel_job(self, name: str) -> None:
        """Cancel a job. A job that does not exist is not an error. Raises ServiceError."""
        await asyncio.to_thread(self._client.cancel_job, name)

    async def close(self) -> None:
        if self._rounds is not None:
            self._rounds.cancel()
            await asyncio.gather(self._rounds, return_exceptions=True)
        await asyncio.to_thread(self._client.close)

    async def _make_rounds(self) -> None:
        """Fetch whenever a waiter is due, as long as there are waiters."""
        from airflow_gemini_batch.engine.gemini.job_fetching import fetch_jobs

        loop = asyncio.get_running_loop()
        while self._waiters:
            self._joined.clear()
            seconds = min(waiter.due for waiter in self._waiters) - loop.time()
            if seconds > 0:
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._joined.wait(), seconds)
                continue  # a newcomer may be due earlier
            waiters, self._waiters = self._waiters, []
            _metrics.count("polls")
            try:
                fetched = await asyncio.to_thread(fetch_jobs, self._client, {name for waiter in waiters for name in waiter.jobs})
            except Exception as error:
                for waiter in waiters:
                    if not waiter.answer.done():
                        waiter.answer.set_exception(error)
                continue
            for waiter in waiters:
                if not waiter.answer.done():
                    waiter.answer.set_result(fetched)


@dataclass
class _Shared:
    """A poller, its users, and the building of its client, which takes a tenth of a second and is done in a thread."""

    building: asyncio.Future[Poller]
    users: int = field(default=0)

    async def close(self) -> None:
        with contextlib.suppress(Exception):  # its users have the error of one that could not be built
            await (await self.building).close()


#: By event loop: connections belong to the loop that opened them.
_shared: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Endpoint, _Shared]] = WeakKeyDictionary()


@contextlib.asynccontextmanager
async def shared_poller(endpoint: Endpoint) -> AsyncIterator[Poller]:
    """The poller for an endpoint in this event loop: made for the first user, closed when the last one leaves."""
    pollers = _shared.setdefault(asyncio.get_running_loop(), {})
    shared = pollers.get(endpoint)
    if shared is None:
        shared = pollers[endpoint] = _Shared(asyncio.ensure_future(_build(endpoint)))
    shared.users += 1
    try:
        # Shielded: a trigger that is cancelled must not cancel the poller of the others.
        yield await asyncio.shield(shared.building)
    finally:
        shared.users -= 1
        if shared.users == 0:
            del pollers[endpoint]
            await shared.close()


async def _build(endpoint: Endpoint) -> Poller:
    def build() -> GeminiClient:
        # Imported here too: the SDK takes a second to import, which is the thread's and not the event loop's.
        from airflow_gemini_batch.engine.gemini.client import GeminiClient

        return GeminiClient(endpoint, on_answer=_metrics.answered)

    return Poller(await asyncio.to_thread(build))
