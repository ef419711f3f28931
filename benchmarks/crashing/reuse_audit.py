"""Check the rows that took their answers from an earlier run: each has that answer, from a job of that run, and has paid nothing.

The emulator gives the same answer to the same request on any day, so the job tells which day an answer is from.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import pyarrow as pa

from crashing.copies_audit import OWN, TOKENS


def reused_rows(results: pa.Table) -> int:
    return len(results) - int(results["reused_from"].null_count)


def answers_by_body(results: pa.Table) -> dict[str, dict[str, Any]]:
    """The results of a run, by the text that was asked."""
    return {row["body"]: row for row in results.to_pylist()}


def wrong_reuse(
    expected: pa.Table,
    results: pa.Table,
    answered: Mapping[str, Mapping[str, Any]],
    uri: str,
    jobs_before: Collection[str],
    jobs_now: Collection[str],
) -> int:
    """How many results are wrong.

    :param expected: the source.
    :param answered: the results of the earlier run, by the text that was asked.
    :param uri: of the earlier run.
    :param jobs_before, jobs_now: the names of the jobs of the earlier run and of this one, as the service has them.
    """
    asked = dict(zip(expected["id"].to_pylist(), expected["body"].to_pylist(), strict=True))
    wrong = 0
    for row in results.to_pylist():
        before = answered.get(asked.get(row["key"], ""))
        if before is None:
            wrong += row["reused_from"] is not None or row["job"] not in jobs_now
            continue
        is_right = row["reused_from"] == uri and row["job"] in jobs_before and row["paid_by"] is None and row["cost_usd"] == 0
        is_right = is_right and all(row[name] is None for name in TOKENS if name in row)
        wrong += not (is_right and all(row[name] == before[name] for name in row if name not in OWN))
    return wrong
