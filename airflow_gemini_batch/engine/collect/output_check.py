"""Whether a downloaded body is the output of a job.

A 200 does not say so: proxies answer with login pages, storage with an empty body, and a connection without a length may end
early. A wrong body that is believed makes unanswered rows of paid answers, which are then paid for again.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from airflow_gemini_batch.engine.response.lines import OutputLines
from airflow_gemini_batch.engine.response.responses import Garbage, classify


def doubt(body: Path, *, size: int | None, expected: int, keys: Collection[str] | None = None) -> str | None:
    """Why the body is not believed to be the whole output, as the end of a sentence about it; None if it is believed.

    :param size: bytes of the output according to the service; None where the service does not give it. A body of that size is
        the service's own file: rows that it lacks are missing. Only a file that answers other rows alone is another job's.
    :param expected: rows that the job has answered, by its own counts.
    :param keys: the keys that were sent. Default: any key counts.
    """
    received = body.stat().st_size
    if size is not None and received != size:
        return f"came with {received} of {size} bytes"
    needed = expected if size is None else 1
    with open(body, "rb") as file:
        count = _count(OutputLines(file), keys, enough=max(needed, 1))
    if count.answered >= max(needed, 1) or (size is not None and not count.others) or (not needed and not count.lines):
        return None
    return (
        f"came with {count.answered} lines that answer this job's rows (of {count.lines} lines), but the job counts {expected} "
        "answers"
    )


@dataclass(slots=True)
class _Counts:
    """
    :param answered: rows of this job that have a line.
    :param others: lines for other keys, and lines that do not even begin as JSON; a torn line does.
    """

    lines: int = 0
    answered: int = 0
    others: int = 0


def _count(output: OutputLines, keys: Collection[str] | None, *, enough: int) -> _Counts:
    """Reads until ``enough`` rows are answered."""
    counts = _Counts()
    answered: set[str] = set()
    for _, line, plain in output:
        counts.lines += 1
        read = classify(line, plain)
        # A line that is too long is whole, other than a torn one.
        if read.key is None or (isinstance(read, Garbage) and isinstance(line, bytes)):
            counts.others += not (line if isinstance(line, bytes) else line.head).lstrip().startswith(b"{")
            continue
        if keys is not None and read.key not in keys:
            counts.others += 1
            continue
        answered.add(read.key)
        counts.answered = len(answered)
        if counts.answered >= enough:
            break
    return counts
