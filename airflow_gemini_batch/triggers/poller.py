"""One poller for many waiting jobs: whoever watches jobs of the same endpoint in the same event loop shares its requests.

Each watcher says when it wants to know next; the first one who is due makes the poller look at the jobs of all, and all are
told. So the requests depend on the interval and not on the number of watchers: many jobs are one listing.
What must stay true: a job is called missing only when it was asked for by its name, since a listing may lag; and the event
loop is never blocked, by building a client neither.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias
from weakref import WeakKeyDictionary

from airflow_gemini_batch.engine.errors import NotFoundError, RefusedError, ServiceError
from airflow_gemini_batch.engine.gemini.jobs import Job

if TYPE_CHECKING:
    from airflow_gemini_batch.engine.gemini.async_client import AsyncGeminiClient
    from airflow_gemini_batch.engine.gemini.client import Endpoint

#: What a look says of one job; None when the service does not find it.
Seen: TypeAlias = "Job | ServiceError | None"


@dataclass(eq=False)
class _Waiter:
    """Someone who wants to know. ``due`` by the event loop's clock."""

    jobs: tuple[str, ...]
    due: float
    told: asyncio.Future[Mapping[str, Seen]]


class Poller:
    """Looks at the jobs of all its watchers at once."""

    def __init__(self, client: AsyncGeminiClient) -> None:
        self.client = client
        self._waiters: list[_Waiter] = []
        self._joined = asyncio.Event()
        self._rounds: asyncio.Task[None] | None = None

    async def look(self, jobs: Iterable[str], *, within: float) -> dict[str, Seen]:
        """The jobs as they are at some moment between now and ``within`` seconds from now."""
        loop = asyncio.get_running_loop()
        waiter = _Waiter(tuple(jobs), loop.time() + within, loop.create_future())
        self._waiters.append(waiter)
        self._joined.set()
        if self._rounds is None or self._rounds.done():
            # In a context of its own: the watcher that happens to start it may be gone, and its log closed, long before it ends.
            self._rounds = contextvars.Context().run(loop.create_task, self._make_rounds())
        try:
            seen = await waiter.told
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
        return {name: seen[name] for name in waiter.jobs}

    async def close(self) -> None:
        if self._rounds is not None:
            self._rounds.cancel()
            await asyncio.gather(self._rounds, return_exceptions=True)
        await self.client.close()

    async def _make_rounds(self) -> None:
        """Look whenever someone is due, as long as someone waits."""
        loop = asyncio.get_running_loop()
        while self._waiters:
            self._joined.clear()
            seconds = min(waiter.due for waiter in self._waiters) - loop.time()
            if seconds > 0:
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._joined.wait(), seconds)
                continue  # a newcomer may be due earlier
            waiters, self._waiters = self._waiters, []
            try:
                seen = await look(self.client, {name for waiter in waiters for name in waiter.jobs})
            except Exception as error:
                for waiter in waiters:
                    if not waiter.told.done():
                        waiter.told.set_exception(error)
                continue
            for waiter in waiters:
                if not waiter.told.done():
                    waiter.told.set_result(seen)


async def look(client: AsyncGeminiClient, names: Iterable[str]) -> dict[str, Seen]:
    """The jobs as they are now, in few requests.

    They are read from the listing, which brings no answers of inline jobs, page by page, for as long as that costs fewer requests
    than to ask for what is left by name; then that is done. An outage ends the look: it is what is said of all the rest.
    """
    wanted = set(names)
    seen: dict[str, Seen] = {}
    try:
        if wanted:
            async for job in _listed(client, wanted):
                seen[job.name] = job
        for name in sorted(wanted - seen.keys()):
            try:
                seen[name] = await client.get_job(name)
            except NotFoundError:
                seen[name] = None
            except RefusedError as error:  # says something about this job alone
                seen[name] = error
    except ServiceError as error:
        seen.update(dict.fromkeys(wanted - seen.keys(), error))
    return seen


async def _listed(client: AsyncGeminiClient, wanted: set[str]) -> AsyncIterator[Job]:
    """Those of the wanted jobs that the first pages of the listing hold."""
    left = set(wanted)
    token: str | None = None
    pages = 0
    while True:
        jobs, token = await client.page_of_jobs(token)
        pages += 1
        for job in jobs:
            if job.name in left:
                left.remove(job.name)
                yield job
        if token is None or pages >= len(left):
            return


@dataclass
class _Shared:
    """A poller, its users, and the building of its client, which takes a tenth of a second and is done in a thread."""

    building: asyncio.Future[Poller]
    users: int = field(default=0)

    async def close(self) -> None:
        with contextlib.suppress(Exception):  # one that could not be built has told its users
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
        # Shielded: the one who is cancelled must not take the others' poller along.
        yield await asyncio.shield(shared.building)
    finally:
        shared.users -= 1
        if shared.users == 0:
            del pollers[endpoint]
            await shared.close()


async def _build(endpoint: Endpoint) -> Poller:
    def build() -> AsyncGeminiClient:
        # Imported here too: the SDK takes a second to import, which is the thread's and not the event loop's.
        from airflow_gemini_batch.engine.gemini.async_client import AsyncGeminiClient

        return AsyncGeminiClient(endpoint)

    return Poller(await asyncio.to_thread(build))
