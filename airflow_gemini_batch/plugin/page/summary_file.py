"""``summary.html`` of a run, as it may be served from Airflow's own address.

The file lies in a folder that others may write to, so it is not trusted: the content policy that is sent with it lets no script
run, puts it into an origin of its own, and allows the one style sheet whose hash the file names.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from airflow_gemini_batch.engine.report.summary_page import MOST_BYTES
from airflow_gemini_batch.engine.run.layout import Run

_STYLE = re.compile(rb"style-src 'sha256-([0-9A-Za-z+/]{43}=)'")

_POLICY = (
    "sandbox; default-src 'none'; style-src {style}; img-src data:; form-action 'none'; base-uri 'none'; frame-ancestors 'self'"
)

#: Where the file names its style sheet.
_HEAD_BYTES = 1_000


class SummaryFile(NamedTuple):
    """The file, and the content policy to send with it."""

    content: bytes
    policy: str


def read_summary_file(run: Run) -> SummaryFile | None:
    """None where there is none, or something that is too large to be one. Raises what the storage does."""
    try:
        with run.summary_page.open() as file:
            content = file.read(MOST_BYTES + 1)
    except (FileNotFoundError, IsADirectoryError):
        return None
    if len(content) > MOST_BYTES:
        return None
    named = _STYLE.search(content[:_HEAD_BYTES])
    style = f"'sha256-{named[1].decode()}'" if named else "'none'"
    return SummaryFile(content, _POLICY.format(style=style))
