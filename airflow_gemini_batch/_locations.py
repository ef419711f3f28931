"""URIs become locations: through Airflow's file systems and connections, or through fsspec for schemes that Airflow lacks.

``conn_id@`` is kept in every URI that goes through XCom. Otherwise the next task would open the same folder with other
credentials.
"""

from __future__ import annotations

import os
import reprlib
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from airflow.sdk import ObjectStoragePath
from airflow.sdk.io import attach, has_fs

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.run import storage
from airflow_gemini_batch.engine.run.storage import Location


def locate(place: str | os.PathLike[str] | ObjectStoragePath) -> Location:
    """The location of a file or folder, which need not exist.

    :param place: a local path, an ``ObjectStoragePath``, or a URI that ``ObjectStoragePath`` opens (including
        ``s3://conn_id@bucket/path``) or fsspec opens without a connection (such as ``gs://`` through gcsfs).

    Raises InputError for a scheme that no installed package can open.
    """
    uri = uri_of(place)
    if "://" not in uri:
        return storage.locate(uri)
    scheme, conn_id, bare = _parsed(uri)
    if has_fs(scheme):
        fs = attach(scheme, conn_id).fs
        # Not the path of an ObjectStoragePath, which drops what follows a "#" or "?".
        path = str(fs._strip_protocol(bare)).rstrip("/")
        return Location(fs, path or "/", uri.rstrip("/"))
    if conn_id is not None:
        raise InputError(
            f"{uri} names the connection {conn_id!r}, but no installed Airflow provider opens {scheme}://. Install the provider, "
            f"or remove '{conn_id}@' to use the credentials of the machine."
        )
    return storage.locate(uri)


def uri_of(place: str | os.PathLike[str] | ObjectStoragePath) -> str:
    """The place as text that ``locate`` accepts in any process."""
    if isinstance(place, ObjectStoragePath):
        uri = str(place)
        scheme, separator, rest = uri.partition("://")
        # Whether the text of a path includes its connection depends on the Airflow release.
        conn_id = getattr(place, "conn_id", None)
        if conn_id and separator and not rest.startswith(f"{conn_id}@"):
            return f"{scheme}://{conn_id}@{rest}"
        return uri
    if not isinstance(place, (str, os.PathLike)) or not str(place).strip():
        raise InputError(
            f"A location is {reprlib.repr(place)} ({type(place).__name__}); expected a path or a URI. If a template or an "
            "upstream task gives it, check what that returned."
        )
    return os.fspath(place)


def run_uri_of(run: Any, argument: str) -> str:
    """The destination of a run that is given by it or by its summary.

    :param argument: the operator's argument, for the message.
    """
    if not isinstance(run, Mapping):
        return uri_of(run)
    if "destination" not in run:
        found = ", ".join(map(repr, run)) or "nothing"
        raise InputError(f"{argument} is a dict with {found}; expected a summary or a URI.")
    return uri_of(run["destination"])


def plain_source(source: Any) -> Any:
    """A source with each ``ObjectStoragePath`` as a URI. Tables and streams are returned unchanged."""
    if isinstance(source, ObjectStoragePath):
        return uri_of(source)
    if isinstance(source, (list, tuple)):
        return [plain_source(item) for item in source]
    return source


def _parsed(uri: str) -> tuple[str, str | None, str]:
    """Scheme, connection and the URI without the connection."""
    scheme, _, rest = uri.partition("://")
    userinfo, at, _ = urlsplit(uri).netloc.rpartition("@")
    return scheme.lower(), userinfo or None, f"{scheme}://{rest[len(userinfo) + 1 :] if at else rest}"
