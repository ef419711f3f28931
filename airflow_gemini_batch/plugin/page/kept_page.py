"""``summary.html`` of a run and ``report.html`` of a comparison, as they may be served from Airflow's own address.

The file lies in a folder that others may write to, so it is not trusted: the content policy that is sent with it lets no script
run, puts it into an origin of its own, and allows the one style sheet whose hash the file names.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from airflow_gemini_batch.engine.run.storage import Location

_STYLE = re.compile(rb"style-src 'sha256-([0-9A-Za-z+/]{43}=)'")

_POLICY = (
    "sandbox; default-src 'none'; style-src {style}; img-src data:; form-action 'none'; base-uri 'none'; frame-ancestors 'self'"
)

#: Where the file names its style sheet.
_HEAD_BYTES = 1_000


class KeptPage(NamedTuple):
    """The file, and the content policy to send with it."""

    content: bytes
    policy: str


def read_kept_page(place: Location, most_bytes: int) -> KeptPage | None:
    """None where there is none, or something that is too large to be one. Raises what the storage does.

    :param most_bytes: of a page of its kind.
    """
    try:
        with place.open() as file:
            content = file.read(most_bytes + 1)
    except (FileNotFoundError, IsADirectoryError):
        return None
    if len(content) > most_bytes:
        return None
    named = _STYLE.search(content[:_HEAD_BYTES])
    style = f"'sha256-{named[1].decode()}'" if named else "'none'"
    return KeptPage(content, _POLICY.format(style=style))
