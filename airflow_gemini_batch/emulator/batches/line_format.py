"""Line formats of jobs whose lines are not Gemini's own, because they were created through another API or from its files.

The batch code reads and writes Gemini's own lines. A job kind with other lines has a `LineFormat`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class LineFormat:
    """Translates the input and output lines of one job kind."""

    native_kind: str
    """The kind of a job that Gemini's own method creates from the same model."""

    is_used_in: Callable[[Path], bool]
    """Whether an uploaded file has lines of this format."""

    translate_input: Callable[[Path, Path], None]
    """Translates the uploaded file (first path) to a file of Gemini's input lines (second path).

    Raises a Refusal that lists invalid lines.
    """

    output_line: Callable[[bytes, int], bytes]
    """Translates one of Gemini's output lines. The second argument is the job's creation time in Unix seconds."""
