"""The service's public keys (JWKS), which verify the tokens of a single job's webhook.

PyJWT's client reads the key document. Three things that it lacks are added, because the receiver is open to the internet:

- A failed fetch starts the cool-down too. Tokens with invented key ids make us ask the service at most once a minute.
- Keys that were fetched once stay usable while the service cannot be reached.
- A response has a limit in bytes and in seconds, and no document of any shape raises anything but ``KeysUnavailableError``.
"""

from __future__ import annotations

import asyncio
import functools
import json
import time
from collections.abc import Callable
from typing import Any

import httpx
import jwt

from airflow_gemini_batch.engine.gemini.deadlines import limit_headers

#: Seconds after which the keys are fetched again, so that a key which the service has withdrawn is not accepted for ever.
_LIFESPAN = 3600.0
#: Seconds between two fetches, whether the last one succeeded or failed.
_COOL_DOWN = 60.0
#: Seconds for the whole fetch. The sender waits for our answer meanwhile.
_TIMEOUT = 5.0
#: Seconds in which a fetch that is over time can say so; what happens before its answer begins does not.
_GRACE = 1.0
#: Bytes. Google's key documents have a few thousand.
_MAX_BYTES = 1 << 20


class KeysUnavailableError(Exception):
    """The keys could not be fetched, so a token can be neither accepted nor refused. The sender should try again."""


class _KeyClient(jwt.PyJWKClient):
    """PyJWT's client with a bounded fetch. Its own has no limit in bytes, and its timeout starts anew with every byte."""

    def fetch_data(self) -> Any:
        # Uncompressed, so that a small response cannot unpack to a large one. Redirects are not followed.
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        until = time.monotonic() + self.timeout
        document = bytearray()
        # Nobody waits for the fetch any more when its time is over, but its thread must end too.
        hooks: dict[str, list[Callable[..., Any]]] = {"request": [functools.partial(limit_headers, seconds=self.timeout)]}
        with (
            httpx.Client(timeout=self.timeout, event_hooks=hooks) as http,
            http.stream("GET", self.uri, headers=headers) as response,
        ):
            if response.status_code != 200:
                raise jwt.PyJWKClientError(f"expected status 200, found {response.status_code}")
            for chunk in response.iter_raw():
                document += chunk
                if len(document) > _MAX_BYTES:
                    raise jwt.PyJWKClientError(f"the response has more than {_MAX_BYTES} bytes")
                if time.monotonic() > until:
                    raise jwt.PyJWKClientError(f"the response took longer than {self.timeout} s")
        return json.loads(document)


class KeySet:
    """The signing keys at one URL, for one event loop.

    :param url: where the key document is (http or https).
    :param clock: seconds of a clock that never goes back; tests give their own.
    :param timeout: seconds for a whole fetch.
    """

    def __init__(self, url: str, *, clock: Callable[[], float] = time.monotonic, timeout: float = _TIMEOUT) -> None:
        self.url = url
        self._clock = clock
        self._timeout = timeout
        self._keys: dict[str, jwt.PyJWK] = {}
        #: When a fetch was last begun, and when the last one began that succeeded.
        self._tried = self._fetched = float("-inf")
        self._error: Exception | None = None
        self._fetching = asyncio.Lock()

    async def key(self, key_id: str) -> jwt.PyJWK | None:
        """The key with this id, or None when the service does not have it. Raises KeysUnavailableError.

        A known key is returned without waiting for a fetch that another token has started.
        """
        if not self._is_current(key_id):
            async with self._fetching:
                if not self._is_current(key_id) and self._clock() - self._tried >= _COOL_DOWN:
                    await self._refresh()
        if key_id not in self._keys and self._fetched != self._tried:
            raise KeysUnavailableError(f"the keys at {self.url} could not be fetched: {self._error!r}") from self._error
        return self._keys.get(key_id)

    def _is_current(self, key_id: str) -> bool:
        return key_id in self._keys and self._clock() - self._fetched < _LIFESPAN

    async def _refresh(self) -> None:
        self._tried = self._clock()
        try:
            keys = await asyncio.wait_for(asyncio.to_thread(self._fetch), self._timeout + _GRACE)
        except Exception as error:  # the server at that URL may answer with anything
            self._error = error
        else:
            self._keys, self._fetched = keys, self._tried

    def _fetch(self) -> dict[str, jwt.PyJWK]:
        keys = _KeyClient(self.url, cache_jwk_set=False, timeout=self._timeout).get_signing_keys()
        return {key.key_id: key for key in keys if key.key_id}
