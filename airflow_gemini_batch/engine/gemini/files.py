"""A file of the Files API as the service tells it."""

from __future__ import annotations

import base64
import datetime as dt
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from google.genai import types

#: A name that may be put into a URL. The service's own are of a-z, 0-9 and ``-``; nobody has promised that they stay so.
_FILE_NAME = re.compile(r"files/(?!\.{1,2}$)[A-Za-z0-9._~-]{1,512}")


def is_file_name(name: object) -> bool:
    return isinstance(name, str) and _FILE_NAME.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file that the service holds. ``size`` in bytes and ``sha256`` (hex) are None where the service is silent.

    :param is_processing: the service still looks through it, as it does with video.
    :param is_output: written by the service itself; such a file expires, and cannot be deleted.
    """

    name: str
    size: int | None
    sha256: str | None
    is_usable: bool
    is_output: bool = False
    display_name: str = ""
    create_time: dt.datetime | None = None
    expires: dt.datetime | None = None
    is_processing: bool = False

    @classmethod
    def of(cls, file: types.File) -> RemoteFile:
        return cls(
            name=file.name or "",
            size=file.size_bytes,
            sha256=_hex_digest(file.sha256_hash),
            is_usable=file.state is None or file.state.name in ("ACTIVE", "STATE_UNSPECIFIED"),
            is_processing=file.state is not None and file.state.name == "PROCESSING",
            is_output=file.source is not None and file.source.name == "GENERATED",
            display_name=file.display_name or "",
            create_time=file.create_time,
            expires=file.expiration_time,
        )


def _hex_digest(sha256_hash: str | None) -> str | None:
    """The API documents base64 of the digest; what it sends is base64 of the digest's hex text. Both are understood."""
    if not sha256_hash:
        return None
    try:
        decoded = base64.b64decode(sha256_hash, altchars=b"-_" if set(sha256_hash) & {"-", "_"} else None)
    except ValueError:
        return None
    if len(decoded) == 32:
        return decoded.hex()
    text = decoded.decode("ascii", "replace").lower()
    return text if len(text) == 64 else None
