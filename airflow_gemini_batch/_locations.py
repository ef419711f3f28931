"""Where Airflow says a URI is: through its own file systems and connections, with fsspec where it knows none.

``conn_id@`` must survive the way through XCom, or the next task would open the same place with other credentials.
"""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlsplit

from airflow.sdk import ObjectStoragePath
from airflow.sdk.io import attach, has_fs

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.run import storage
from airflow_gemini_batch.engine.run.storage import Location


def locate(place: str | os.PathLike[str] | ObjectStoragePath) -> Location:
    """Find a file or folder.

    :param place: a local path, any URI that Airflow's ``ObjectStoragePath`` opens (``s3://conn_id@bucket/path`` included) or
        fsspec opens without a connection (such as ``gs://`` through gcsfs), or an ``ObjectStoragePath``.

    Raises InputError for a scheme that nothing installed can open.
    """
    uri = uri_of(place)
    if "://" not in uri:
        return storage.locate(uri)
    scheme, conn_id, bare = _parsed(uri)
    if has_fs(scheme):
        fs = attach(scheme, conn_id).fs
        # Not the path of an ObjectStoragePath: it takes what follows a "#" or "?" for no part of the name.
        path = str(fs._strip_protocol(bare)).rstrip("/")
        return Location(fs, path or "/", uri.rstrip("/"))
    if conn_id is not None:
        raise InputError(
            f"{uri} names the connection {conn_id!r}, but no installed provider opens {scheme}:// for Airflow. Install the one "
            f"that does, or leave out '{conn_id}@' to use the machine's own credentials."
        )
    try:
        return storage.locate(uri)
    except (ValueError, ImportError) as error:
        raise InputError(f"Nothing that is installed opens {uri}: {error}") from error


def uri_of(place: str | os.PathLike[str] | ObjectStoragePath) -> str:
    """The place as text that ``locate`` understands, wherever it is read again."""
    if isinstance(place, ObjectStoragePath):
        uri = str(place)
        scheme, separator, rest = uri.partition("://")
        # Whether the text of a path names its connection depends on the release of Airflow.
        conn_id = getattr(place, "conn_id", None)
        if conn_id and separator and not rest.startswith(f"{conn_id}@"):
            return f"{scheme}://{conn_id}@{rest}"
        return uri
    return os.fspath(place)


def plain_source(source: Any) -> Any:
    """A source with Airflow's paths told as URIs; tables and streams as they are."""
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
