"""Applications that are built at their first request: every Airflow process loads plugins, and most of them never serve one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any


class LazyApp:
    """An ASGI application that becomes another one when it is first called.

    :param build: makes it; called once, in a thread, because it imports much.
    """

    def __init__(self, build: Callable[[], Any]) -> None:
        self._build = build
        self._building: asyncio.Task[Any] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self._building is None:
            self._building = asyncio.create_task(asyncio.to_thread(self._build))
        try:
            app = await asyncio.shield(self._building)
        except Exception:
            self._building = None  # what was wrong may be over at the next request
            raise
        await app(scope, receive, send)
