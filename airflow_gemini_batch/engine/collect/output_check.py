"""Whether a downloaded body is the output of a job.

A 200 does not say so: proxies answer with login pages, storage with an empty body, and a connection without a length may end
early. A wrong body that is believed makes unanswered rows of paid answers, which are then paid for again.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from airflow_gemini_batch.engine.response.lines import OutputLines
from airflow_gemini_batch.engine.response.responses import Garbage, classify


def doubt(body: Path, *, size: int | None, expected: int, keys: Collection[str] | None = None) -> str | None:
    """Why the body is not believed to be the whole output, as the end of a sentence about it; None if it is believed.

    :param size: bytes of the output according to the service; None where the service does not give it. A body of that size is
        whole, and may still lack rows; then one line of this job is enough.
    :param expected: rows that the job has answered, by its own counts.
    :param keys: the keys that were sent. Default: any key counts.
    """
    received = body.stat().st_size
    if size is not None and received != size:
        return f"came with {received} of {size} bytes"
    needed = expected if size is None else min(expected, 1)
    with open(body, "rb") as file:
        lines, answered = _count(OutputLines(file), keys, enough=max(needed, 1))
    if answered >= needed and (answered or not lines):
        return None
    return f"came with {answered} lines that answer this job's rows (of {lines} lines), but the job counts {expected} answers"


def _count(output: OutputLines, keys: Collection[str] | None, *, enough: int) -> tuple[int, int]:
    """Lines read, and rows answered by them. Reads until ``enough`` rows are answered."""
    lines = 0
    answered: set[str] = set()
    for _, line in output:
        lines += 1
        read = classify(line)
        if not isinstance(read, Garbage) and read.key is not None and (keys is None or read.key in keys):
            answered.add(read.key)
            if len(answered) >= enough:
                break
    return lines, len(answered)
