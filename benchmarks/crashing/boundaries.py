"""The steps of a try, named and counted: before and after each request, and before and after each file is written or deleted.

The watcher wraps the HTTP transports and ``Location`` in the child process; the product itself is unchanged. A boundary's name
depends only on the step, so it is the same in each run of a scenario.
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
from crashing.child_process import ReportPipe


@dataclass(frozen=True, slots=True)
class KillRule:
    """Where a child process kills itself. Without arguments: nowhere.

    :param nth: at the nth boundary that it reaches, of those whose name contains ``about``.
    :param only: at the boundary of this name.
    :param skip: at the first boundary that is not among these.
    :param share: ``(i, n)``, with ``skip``: boundaries are divided into n parts by ``seed``, and only the ith part counts.
    """

    nth: int | None = None
    about: str = ""
    only: str = ""
    skip: frozenset[str] | None = None
    share: tuple[int, int] = (0, 1)
    seed: int = 0

    def matches(self, name: str, count: int) -> bool:
        """Whether to kill the process now.

        :param count: how many boundaries that ``nth`` counts the process has reached, including this one.
        """
        if self.nth is not None:
            return self.about in name and count == self.nth
        if self.only:
            return name == self.only
        if self.skip is None or name in self.skip:
            return False
        part, parts = self.share
        return int(_fraction(self.seed, name) * parts) == part


class BoundaryWatcher:
    """Reports the boundaries that this process reaches, and kills the process at one of them."""

    def __init__(self, pipe: ReportPipe, rule: KillRule, destination: str) -> None:
        self._pipe = pipe
        self._rule = rule
        self._names = _Names(destination)
        self._reached: set[str] = set()
        self._count = 0

    def reach(self, name: str) -> None:
        self._count += self._rule.about in name
        if name not in self._reached:
            self._reached.add(name)
            self._pipe.send(reached=name)
        if self._rule.matches(name, self._count):
            self._pipe.send(killing_at=name)
            os.kill(os.getpid(), signal.SIGKILL)

    def install(self) -> None:
        """Wrap the HTTP transports and ``Location`` in this process."""
        _wrap_requests(self, self._names)
        for method, verb in (("_publish", "write"), ("_claim", "create"), ("delete", "delete")):
            original = getattr(Location, method)
            setattr(Location, method, _wrap_file_call(self, self._names, original, verb))


def _wrap_file_call(watcher: BoundaryWatcher, names: _Names, original: Callable[..., Any], verb: str) -> Callable[..., Any]:
    def watched(location: Location, *arguments: Any) -> Any:
        name = f"{verb} {names.of_file(location.path)}"
        watcher.reach(f"{name}: before")
        answer = original(location, *arguments)
        watcher.reach(f"{name}: after")
        return answer

    return watched


def _wrap_requests(watcher: BoundaryWatcher, names: _Names) -> None:
    handle, handle_async = httpx.HTTPTransport.handle_request, httpx.AsyncHTTPTransport.handle_async_request

    def watched(transport: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
        name = names.of_request(request)
        watcher.reach(f"{name}: before")
        if "upload_id" in request.url.params:
            request.stream = _Halves(request.stream, lambda: watcher.reach(f"{name}: half sent"))
        response = handle(transport, request)
        watcher.reach(f"{name}: answer not yet used")
        if request.url.path.endswith(":download"):
            response.stream = _Blocks(response.stream, lambda: watcher.reach(f"{name}: block received"))
        return response

    async def watched_async(transport: httpx.AsyncHTTPTransport, request: httpx.Request) -> httpx.Response:
        name = f"triggerer: {names.of_request(request)}"
        watcher.reach(f"{name}: before")
        response = await handle_async(transport, request)
        watcher.reach(f"{name}: answer not yet used")
        return response

    httpx.HTTPTransport.handle_request = watched  # type: ignore[method-assign, assignment]
    httpx.AsyncHTTPTransport.handle_async_request = watched_async  # type: ignore[method-assign, assignment]


class _Halves(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A request body that is sent in two halves, with a boundary between them."""

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
        raise NotImplementedError("The triggerer does not upload.")


class _Blocks(httpx.SyncByteStream):
    """A response body with a boundary after each block."""

    def __init__(self, body: Any, after: Callable[[], None]) -> None:
        self._body = body
        self._after = after

    def __iter__(self) -> Iterator[bytes]:
        for block in self._body:
            yield block
            self._after()

    def close(self) -> None:
        self._body.close()


_VERBS = {"GET": "get", "DELETE": "delete"}
_TOKEN = re.compile(r"gb-([0-9a-f]{32})(?: shard (\d+) attempt (\d+))?")
_JOB = re.compile(r"/(batches/[^/:]+)")
_FILE = re.compile(r"/(files/[^/:]+)")


class _Names:
    """Names for files and requests that say which shard and attempt they are about, according to the run's ledger."""

    def __init__(self, destination: str) -> None:
        self._run = Run(locate(destination))
        self._folder = Path(destination)
        self._known: dict[str, str] = {}
        self._uploading = "?"

    def of_file(self, path: str) -> str:
        relative = os.path.relpath(path, self._folder)
        # The third and later claims of a shard are the same step as the second one, and so are all later claims on scores.
        relative = re.sub(r"(_claims/(?:.*/)?)(?!00001\.)\d+(-\d+)?", r"\g<1>00002", relative)
        relative = re.sub(r"(limits/)\d+", r"\g<1>n", relative)
        return re.sub(r"intent-(?!1\.)\d+", "intent-2", relative)

    def of_request(self, request: httpx.Request) -> str:
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
            return f"start the upload of {self._uploading}"
        if (job := _JOB.search(path)) is not None:
            verb = "cancel" if path.endswith(":cancel") else _VERBS.get(request.method, request.method)
            return f"{verb} the job of {self._of(job[1])}"
        if path.endswith("/batches"):
            return "list the jobs"
        if (file := _FILE.search(path)) is not None:
            shard = self._of_token(path) if "gb-" in path else self._of(file[1])
            verb = "download" if path.endswith(":download") else _VERBS.get(request.method, request.method)
            return f"{verb} the {'input' if 'gb-' in path else 'output'} file of {shard}"
        if "/models/" in path:
            return "look at the model"
        return f"{request.method} {path}"

    def _of_token(self, text: str) -> str:
        match = _TOKEN.search(text)
        if match is None:
            return "another job"
        return f"{int(match[2]):05d}-{match[3]}" if match[2] else self._of(match[1])

    def _of(self, name: str) -> str:
        if name not in self._known:
            self._read_ledger()
        return self._known.get(name, "an unrecorded shard")

    def _read_ledger(self) -> None:
        with contextlib.suppress(GeminiBatchError):
            manifest = self._run.manifest()
            if manifest is not None:
                for shard in Snapshot(self._run, manifest).shards():
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


def _fraction(seed: int, name: str) -> float:
    """A number in [0, 1) that is the same in every process for the same arguments."""
    return int.from_bytes(hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=8).digest(), "big") / 2**64
