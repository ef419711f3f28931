"""How jobs that came through another API read and write their lines.

The batches know Gemini's own lines only. A kind of job with other lines brings a `LineFormat`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class LineFormat:
    """The two translations of one kind of job."""

    translate_input: Callable[[Path, Path], None]
    """Writes the uploaded file (first path) as Gemini's input lines (second path). Raises the refusal that lists bad lines."""

    output_line: Callable[[bytes, int], bytes]
    """One of Gemini's output lines in the other form; the number is the job's creation time in Unix seconds."""
