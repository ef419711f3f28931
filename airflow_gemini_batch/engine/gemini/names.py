"""Resource names of the service: ``batches/<id>`` and ``files/<id>``."""

from __future__ import annotations

import re

#: What RFC 3986 calls unreserved, because the service does not document its ids. Any other character, or an id of dots alone,
#: could reach another path or add a query when the name is put into a URL.
_ID = r"(?!\.{1,2}$)[A-Za-z0-9._~-]{1,512}"

_JOB = re.compile(f"batches/{_ID}")
_FILE = re.compile(f"files/{_ID}")

#: The ids of today's files. In a column of paths, ``files/photo.png`` is a path and ``files/abc-123`` a file of the service.
_FILE_IN_COLUMN = re.compile(r"files/[a-z0-9-]+")


def is_job_name(name: object) -> bool:
    """Whether this is ``batches/<id>`` with an id that is safe in a URL."""
    return isinstance(name, str) and _JOB.fullmatch(name) is not None


def is_file_name(name: object) -> bool:
    """Whether this is ``files/<id>`` with an id that is safe in a URL."""
    return isinstance(name, str) and _FILE.fullmatch(name) is not None


def is_file_in_column(value: str) -> bool:
    """Whether a value of a column of paths and URIs is the name of a file of the service."""
    return _FILE_IN_COLUMN.fullmatch(value) is not None
