"""A file of the Files API, as the service describes it."""

from __future__ import annotations

import base64
import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_gemini_batch.engine.gemini.jobs import time_of

if TYPE_CHECKING:
    from google.genai import types


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file that the service holds.

    :param name: ``files/<id>``.
    :param size: in bytes; None where the service does not give it.
    :param sha256: hex digest of the content; None where the service does not give it.
    :param is_usable: whether requests can refer to it now.
    :param is_output: written by the service as a job's output. Such a file expires and cannot be deleted.
    :param display_name: empty where it has none.
    :param create_time: aware datetime; None where the service does not give it.
    :param expires: aware datetime; None where the service does not give it.
    :param is_processing: the service is still processing the content, as it does with video.
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
        """From the SDK's type."""
        return cls.parse(file.model_dump(mode="json", by_alias=True, exclude_none=True))

    @classmethod
    def parse(cls, resource: dict[str, Any]) -> RemoteFile:
        """From the service's JSON. What is not as documented counts as not given."""
        text = {name: value for name, value in resource.items() if isinstance(value, str)}
        state, size = text.get("state", "STATE_UNSPECIFIED"), str(resource.get("sizeBytes"))
        return cls(
            name=text.get("name", ""),
            size=int(size) if size.isdecimal() and len(size) < 20 else None,
            sha256=_hex_digest(text.get("sha256Hash")),
            is_usable=state in ("ACTIVE", "STATE_UNSPECIFIED"),
            is_processing=state == "PROCESSING",
            is_output=text.get("source") == "GENERATED",
            display_name=text.get("displayName", ""),
            create_time=time_of(text.get("createTime", "")),
            expires=time_of(text.get("expirationTime", "")),
        )


def _hex_digest(sha256_hash: str | None) -> str | None:
    """The hex digest. The API documents base64 of the digest but sends base64 of the digest's hex text; both are accepted."""
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
