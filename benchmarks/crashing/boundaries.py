"""The steps of a try, counted and died at: before and after each request, and before and after each file appears or goes.

All of it is put around the HTTP transports and around ``Location`` when the child starts, and in the child only; the product
does not know that it is watched. Names are canonical: the same step of another run of the scenario has the same name.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from airflow_gemini_batch.engine.errors import GeminiBatchError
from airflow_gemini_batch.engine.run.layout import Run
from airflow_gemini_batch.engine.run.snapshot import Snapshot
from airflow_gemini_batch.engine.run.storage import Location, locate
from airflow_gemini_batch.engine.run.tokens import token_of
from crashing.children import Line


@dataclass(frozen=True, slots=True)
class Fate:
    """Where a child is to kill itself: at the nth boundary it meets, at the ``only`` one, or at the first that is not spared.

    :param share: ``(i, n)``: of the boundaries that are not spared, only the ith of n parts counts, by ``seed``.
    """

    nth: int | None = None
    only: str = ""
    spared: frozenset[str] | None = None
    share: tuple[int, int] = (0, 1)
    seed: int = 0

    def strikes(self, name: str, count: int) -> bool:
        if self.nth is not None:
            return count == self.nth
        if self.only:
            return name == self.only
        if self.spared is None or name in self.spared:
            return False
        part, parts = self.share
        return int(_chance(self.seed, name) * parts) == part


class Boundaries:
    """Watches this process."""

    def __init__(self, line: Line, fate: Fate, destination: str) -> None:
        self._line = line
        self._fate = fate
        self._names = _Names(destination)
        self._met: set[str] = set()
        self._count = 0

    def meet(self, name: str) -> None:
        self._count += 1
        if name not in self._met:
            self._met.add(name)
            self._line.say(met=name)
        if self._fate.strikes(name, self._count):
            self._line.say(dies_at=name)
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self) -> None:
        """Put the boundaries into this process."""
        _around_requests(self, self._names)
        for method, verb in (("_publish", "write"), ("_claim", "create"), ("delete", "delete")):
            original = getattr(Location, method)
            setattr(Location, method, _around_file(self, self._names, original, verb))


def _around_file(boundaries: Boundaries, names: _Names, original: Callable[..., Any], verb: str) -> Callable[..., Any]:
    def watched(location: Location, *arguments: Any) -> Any:
        name = f"{verb} {names.file(location.path)}"
        boundaries.meet(f"{name}: before")
        answer = original(location, *arguments)
        boundaries.meet(f"{name}: after")
        return answer

    return watched


def _around_requests(boundaries: Boundaries, names: _Names) -> None:
    handle, handle_async = httpx.HTTPTransport.handle_request, httpx.AsyncHTTPTransport.handle_async_request

    def watched(transport: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
        name = names.call(request)
        boundaries.meet(f"{name}: before")
        if "upload_id" in request.url.params:
            request.stream = _Halves(request.stream, lambda: boundaries.meet(f"{name}: half sent"))
        response = handle(transport, request)
        boundaries.meet(f"{name}: answered, not yet used")
        if request.url.path.endswith(":download"):
            response.stream = _Blocks(response.stream, lambda: boundaries.meet(f"{name}: a block has come"))
        return response

    async def watched_async(transport: httpx.AsyncHTTPTransport, request: httpx.Request) -> httpx.Response:
        name = f"triggerer: {names.call(request)}"
        boundaries.meet(f"{name}: before")
        response = await handle_async(transport, request)
        boundaries.meet(f"{name}: answered, not yet used")
        return response

    httpx.HTTPTransport.handle_request = watched  # type: ignore[method-assign]
    httpx.AsyncHTTPTransport.handle_async_request = watched_async  # type: ignore[method-assign]


class _Halves(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that is sent in two parts, with a boundary between them."""

    def __init__(self, body: Any, between: Callable[[], None]) -> None:
        self._body = body
        self._between = between

    def __iter__(self) -> Iterator[bytes]:
        content = b"".join(self._body)
        middle = len(content) // 2
        yield content[:middle]
        self._between()
        yield content[middle:]

    def __aiter__(self) -> AsyncIterator[bytes]:
        raise NotImplementedError("the triggerer uploads nothing")


class _Blocks(httpx.SyncByteStream):
    """An answer with a boundary after each block."""

    def __init__(self, body: Any, after: Callable[[], None]) -> None:
        self._body = body
        self._after = after

    def __iter__(self) -> Iterator[bytes]:
        for block in self._body:
            yield block
            self._after()

    def close(self) -> None:
        self._body.close()


_VERBS = {"GET": "look at", "DELETE": "delete"}
_TOKEN = re.compile(r"gb-([0-9a-f]{32})(?: shard (\d+) attempt (\d+))?")
_JOB = re.compile(r"/(batches/[^/:]+)")
_FILE = re.compile(r"/(files/[^/:]+)")


class _Names:
    """Which shard and attempt a request is about, as the ledger knows it."""

    def __init__(self, destination: str) -> None:
        self._run = Run(locate(destination))
        self._folder = Path(destination)
        self._known: dict[str, str] = {}
        self._uploading = "?"

    def file(self, path: str) -> str:
        relative = os.path.relpath(path, self._folder)
        # Later claims are made by the same lines as the second one.
        return re.sub(r"intent-(?!1\.)\d+", "intent-2", relative)

    def call(self, request: httpx.Request) -> str:
        path, body = request.url.path, b""
        if "upload_id" in request.url.params:
            offset = request.headers.get("x-goog-upload-offset", "0")
            return f"upload {self._uploading} from byte {offset}"
        if request.method == "POST":
            body = request.read()
        if path.endswith(":batchGenerateContent"):
            return f"create the job of {self._of_token(body.decode())}"
        if path.startswith("/upload/"):
            self._uploading = self._of_token(body.decode())
            return f"begin the upload of {self._uploading}"
        if (job := _JOB.search(path)) is not None:
            verb = (
                "cancel"
                if path.endswith(":cancel")
                else {"GET": "look at", "DELETE": "delete"}.get(request.method, request.method)
            )
            return f"{verb} the job of {self._of(job[1])}"
        if path.endswith("/batches"):
            return "list the jobs"
        if (file := _FILE.search(path)) is not None:
            shard = self._of_token(path) if "gb-" in path else self._of(file[1])
            verb = "download" if path.endswith(":download") else _VERBS.get(request.method, request.method)
            return f"{verb} the {'input' if 'gb-' in path else 'output'} file of {shard}"
        return f"{request.method} {path}"

    def _of_token(self, text: str) -> str:
        match = _TOKEN.search(text)
        if match is None:
            return "another job"
        return f"{int(match[2]):05d}-{match[3]}" if match[2] else self._of(match[1])

    def _of(self, name: str) -> str:
        if name not in self._known:
            self._learn()
        return self._known.get(name, "an unrecorded shard")

    def _learn(self) -> None:
        with contextlib.suppress(GeminiBatchError):
            manifest = self._run.manifest()
            for shard in Snapshot(self._run, manifest).shards() if manifest is not None else ():
                self._known[token_of(manifest, shard)] = str(shard.id)
        for file in (self._folder / "_run" / "ledger").glob("*.json"):
            part, _, fact = file.name.partition(".")
            try:
                if fact == "job.json":
                    self._known[json.loads(file.read_bytes())["job"]] = part
                elif fact == "end.json":
                    self._known[json.loads(file.read_bytes())["job"]["output_file"]] = part
            except (OSError, ValueError, KeyError):
                continue


def _chance(seed: int, name: str) -> float:
    """A number in [0, 1) that depends on nothing else, in every process."""
    return int.from_bytes(hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=8).digest(), "big") / 2**64
