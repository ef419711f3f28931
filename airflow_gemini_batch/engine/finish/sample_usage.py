"""What the requests of a sample used, row by row: the estimate of the whole table is made from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from airflow_gemini_batch.engine.costs.usage import Usage
from airflow_gemini_batch.engine.json.lenient import as_dict, field, read_any
from airflow_gemini_batch.engine.response.lines import open_output
from airflow_gemini_batch.engine.response.responses import Answer, Garbage, classify
from airflow_gemini_batch.engine.response.usage import Counts, holds_media, queries_in, read_counts
from airflow_gemini_batch.engine.run.layout import Run, Shard
from airflow_gemini_batch.engine.run.samples import UsageOfRow, usage_file
from airflow_gemini_batch.engine.run.shard_inputs import open_inputs


def write_usages(run: Run, shards: Sequence[Shard]) -> None:
    """Write what each row used, over all attempts.

    :param shards: of every attempt, all of them collected.
    """
    usages: dict[str, UsageOfRow] = {}
    for shard in shards:
        found = _usages_in(run, shard)
        with open_inputs(run, shard) as inputs:
            for batch in range(len(inputs.batches)):
                for key in inputs.keys(batch):
                    before = usages.get(key, UsageOfRow(()))
                    usage, thoughts = found.get(key, (None, 0))
                    usages[key] = UsageOfRow((*before.usages, usage), before.thoughts + thoughts)
    usage_file(run).write(msgspec.json.encode(usages))


def _usages_in(run: Run, shard: Shard) -> dict[str, tuple[Usage | None, int]]:
    """By key: the usage, and the part of its output that is thoughts. The first line of a key counts, as in the tables."""
    found: dict[str, tuple[Usage | None, int]] = {}
    with open_output(run, shard) as lines:
        for _, line, plain in lines:
            read = classify(line, plain)
            if isinstance(read, Garbage) or not isinstance(line, bytes) or read.key in found:
                continue
            counts = _counts(read.response if isinstance(read, Answer) else line, whole_line=not isinstance(read, Answer))
            usage = read.usage() if isinstance(read, Answer) else read.usage
            found[read.key] = (_completed(usage, line), counts.thoughts or 0)
    return found


def _counts(raw: bytes, *, whole_line: bool) -> Counts:
    try:
        value: Any = as_dict(read_any(raw))
    except (ValueError, RecursionError):
        return Counts()
    response = as_dict(value.get("response")) if whole_line else value
    return read_counts(as_dict(field(response, "usageMetadata")))


def _completed(usage: Usage | None, line: bytes) -> Usage | None:
    """With what the counts do not say: searches, and that images were not counted."""
    if usage is None or not usage.output:
        return usage
    if queries := queries_in(line):
        usage = msgspec.structs.replace(usage, queries=queries)
    if holds_media(line) and not any(kind.startswith("output_") for kind in usage.parts or ()):
        usage = msgspec.structs.replace(usage, unsplit=True)
    return usage
