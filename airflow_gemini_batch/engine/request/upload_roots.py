"""Which files a row may have uploaded: those below the places that the author of the DAG has named.

The rows are not trusted. Without this, whoever can write the table could have any file of the worker, or of its network, sent to
the service. A source is compared after links, ``..`` and escapes have been resolved; only regular files are read; and a web
server can lead neither to another place nor to an address of the own network.
"""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import re
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.run.storage import Location

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_PORTS = {"http": 80, "https": 443}

#: Seconds for a whole request to a web server: a block of a file, or all of it where the server gives no parts.
_REQUEST_TIMEOUT = 300.0


class NotAllowedError(PermissionError):
    """A row names a file that it must not have read. The text completes "cannot be read: …"."""


@dataclass(frozen=True, slots=True)
class UploadRoots:
    """The places below which rows may name files.

    :param folders: real paths of local folders or files.
    :param urls: parsed URIs, whose paths end with a slash.
    """

    folders: tuple[str, ...]
    urls: tuple[SplitResult, ...]

    @classmethod
    def of(cls, roots: Iterable[str]) -> UploadRoots:
        """Raises InputError for a root that cannot be one."""
        folders: list[str] = []
        urls: list[SplitResult] = []
        for root in roots:
            if not isinstance(root, str) or not root.strip() or "::" in root or "\0" in root:
                raise InputError(f"upload names {root!r}; expected folders as paths or URIs, such as 's3://bucket/in/'.")
            local = _local_path(root)
            if local is not None:
                folders.append(os.path.realpath(local))
                continue
            parts = urlsplit(root)
            if not parts.netloc or _climbs(parts.path):
                raise InputError(f"upload names {root!r}; expected a URI with a bucket or host, and without '..'.")
            if parts.scheme.lower() in _PORTS and importlib.util.find_spec("aiohttp") is None:
                raise InputError(
                    f"upload names {root!r}; files of web hosts need the extra: pip install 'airflow-gemini-batch[http]'."
                )
            urls.append(parts._replace(scheme=parts.scheme.lower(), path=parts.path.rstrip("/") + "/"))
        return cls(tuple(folders), tuple(urls))

    @classmethod
    def of_request(cls, request: Mapping[str, Any]) -> UploadRoots:
        """Those of a run.

        :param request: as the manifest keeps it.
        """
        return cls.of([root for media in request.get("media", ()) for root in media.get("upload") or ()])

    def open_with(self, locate: Callable[[str], Location]) -> Callable[[str], Location]:
        """``locate`` for rows: it raises NotAllowedError for a source that is not below a root or not a regular file."""

        def locate_allowed(source: str) -> Location:
            local = _local_path(source)
            if local is not None:
                return locate(self._allowed_file(local))
            url = self._allowed_url(source)
            return self._guarded(source) if url.scheme in _PORTS else locate(source)

        return locate_allowed

    def _allowed_file(self, path: str) -> str:
        real = os.path.realpath(path)
        if not any(real == folder or real.startswith(folder.rstrip("/") + "/") for folder in self.folders):
            raise NotAllowedError("it is not below a place that upload= names")
        # Not opened before this: opening a pipe would wait for ever.
        if not stat.S_ISREG(os.stat(real).st_mode):
            raise NotAllowedError("it is not a regular file")
        return real

    def _allowed_url(self, source: str) -> SplitResult:
        try:
            url = urlsplit(source)
            allowed = "::" not in source and source.isprintable() and any(_is_below(url, root) for root in self.urls)
        except ValueError:  # not a URL
            allowed = False
        if not allowed or _climbs(url.path):
            raise NotAllowedError("it is not below a place that upload= names")
        return url

    def _guarded(self, source: str) -> Location:
        """A file of a web server, opened by a client that checks where it is led."""
        from fsspec.implementations.http import HTTPFileSystem

        fs = HTTPFileSystem(get_client=self._client, skip_instance_cache=True)
        return Location(fs, source, source)

    async def _client(self, **arguments: Any) -> Any:
        import aiohttp

        async def check(session: Any, context: Any, parameters: Any) -> None:
            self._allowed_url(str(parameters.response.headers.get("Location", "")))

        trace = aiohttp.TraceConfig()
        trace.on_request_redirect.append(check)
        # Of a request, from the connection to the last byte of the answer; without it, the library's own limit would do.
        arguments.setdefault("timeout", aiohttp.ClientTimeout(total=_REQUEST_TIMEOUT))
        arguments["connector"] = aiohttp.TCPConnector(resolver=_guarded_resolver())
        return aiohttp.ClientSession(trace_configs=[trace], **arguments)


def roots_of(upload: bool | str | Sequence[str]) -> tuple[str, ...]:
    """The roots in ``Media(upload=…)``. Raises InputError for ``True``, which names none."""
    if upload is True:
        raise InputError(
            "media: upload=True would let a row have any file of the worker uploaded. Name the places that rows may name files "
            "in, such as upload=['s3://bucket/in/'] or upload=['/data/in/']."
        )
    if upload is False or upload is None:
        return ()
    roots = (upload,) if isinstance(upload, str) else tuple(upload)
    UploadRoots.of(roots)
    return roots


def _local_path(source: str) -> str | None:
    """The path, of a local path or ``file:`` URI; None for other URIs."""
    scheme = _SCHEME.match(source)
    if scheme is None:
        return source
    if scheme[1].lower() in ("file", "local"):
        rest = source[scheme.end() :]
        return rest[2:] if rest.startswith("//") else rest
    return None


def _is_below(url: SplitResult, root: SplitResult) -> bool:
    same_place = (url.scheme.lower(), _userinfo(url), (url.hostname or "").lower(), _port(url)) == (
        root.scheme, _userinfo(root), (root.hostname or "").lower(), _port(root),
    )  # fmt: skip
    return same_place and (url.path.startswith(root.path) or url.path == root.path.rstrip("/"))


def _userinfo(url: SplitResult) -> str:
    return url.netloc.rpartition("@")[0]


def _port(url: SplitResult) -> int | None:
    return url.port or _PORTS.get(url.scheme.lower())


def _climbs(path: str) -> bool:
    """Whether a path could lead out of its folder, however often it is unescaped."""
    while True:
        if "\\" in path or not {".", ".."}.isdisjoint(path.split("/")):
            return True
        plain = unquote(path)
        if plain == path:
            return False
        if plain.count("/") != path.count("/"):
            return True
        path = plain


def _guarded_resolver() -> Any:
    import aiohttp

    class Resolver(aiohttp.ThreadedResolver):
        async def resolve(self, host: str, *arguments: Any, **options: Any) -> Any:
            found = await super().resolve(host, *arguments, **options)
            if host.lower() != "localhost" and not all(_is_public(entry["host"]) for entry in found):
                raise NotAllowedError("its host has an address of a private network, which upload= must name")
            return found

    return Resolver()


def _is_public(address: str) -> bool:
    ip = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(ip, "ipv4_mapped", None)
    return (mapped or ip).is_global and not (mapped or ip).is_multicast
