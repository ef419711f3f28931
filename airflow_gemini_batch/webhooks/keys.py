"""The public keys of the service (JWKS), fetched when they are first needed and then kept.

What must stay true: whoever sends tokens with invented key ids makes us ask the service once a minute and no more.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import httpx
import jwt

#: Seconds. Keys are kept so long; one that we do not know is asked for at most so often.
_KEEP = 3600.0
_ASK_EVERY = 60.0
_TIMEOUT = 5.0
_MOST_BYTES = 1 << 20


class KeysUnavailableError(Exception):
    """The keys could not be fetched: nothing can be said of a token, and the sender should try again."""


async def fetch(url: str) -> bytes:
    async with httpx.AsyncClient(timeout=_TIMEOUT) as http:
        answer = await http.get(url)
        answer.raise_for_status()
        return answer.content[:_MOST_BYTES]


class KeySet:
    """The keys at one URL, for one event loop."""

    def __init__(
        self,
        url: str,
        fetch: Callable[[str], Awaitable[bytes]] = fetch,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.url = url
        self._fetch = fetch
        self._clock = clock
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched = -_KEEP
        self._asked = -_ASK_EVERY
        self._lock = asyncio.Lock()

    async def key(self, key_id: str) -> jwt.PyJWK | None:
        """The key of that id; None when the service has none such. Raises KeysUnavailableError."""
        async with self._lock:
            now = self._clock()
            is_old = now - self._fetched >= _KEEP
            if (is_old or key_id not in self._keys) and now - self._asked >= _ASK_EVERY:
                self._asked = now
                try:
                    self._keys = _parsed(await self._fetch(self.url))
                    self._fetched = now
                except Exception as error:  # whatever stands between us and the service may answer anything
                    # Keys that we have had stay good: better an old key than no webhook.
                    if key_id not in self._keys:
                        raise KeysUnavailableError(f"the keys at {self.url} cannot be had: {error!r}") from error
            if not self._keys:
                raise KeysUnavailableError(f"the keys at {self.url} could not be had less than a minute ago")
            return self._keys.get(key_id)


def _parsed(document: bytes) -> dict[str, jwt.PyJWK]:
    keys = jwt.PyJWKSet.from_json(document.decode()).keys
    return {key.key_id: key for key in keys if key.key_id}
