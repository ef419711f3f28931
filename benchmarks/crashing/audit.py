"""Check a finished run from outside: the jobs as the service lists them, and the rows as any reader of the tables sees them.

Nothing here relies on what the engine reports about itself.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from crashing.copies_audit import copied_rows, wrong_copies
from crashing.reuse_audit import answers_by_body, reused_rows, wrong_reuse
from crashing.source_table import CARRIED, requests_of

_ATTEMPT = re.compile(r"^gb-\S+ shard \d+ attempt (\d+)\b")


class CreatedJob(NamedTuple):
    """
    :param requests: how many it holds, as the service counts them; None where the service does not say.
    """

    display_name: str
    requests: int | None = None
    name: str = ""


class EarlierRun(NamedTuple):
    """A finished run whose answers another one takes over.

    :param uri: as the run that reuses it was given it.
    :param folder: where it is now.
    :param jobs: each job that the service created for it.
    """

    uri: str
    folder: str
    jobs: Sequence[CreatedJob]


@dataclass
class Findings:
    """Counts for one run, or for several together.

    :param rows, results, dead_letter: rows of the source and of the two tables.
    :param lost: keys of the source that are in neither table.
    :param duplicated: rows whose key is in the tables more than once, not counting the first.
    :param mismatched: rows that hold a carried column, an answer or a request of another key.
    :param unknown_keys: rows whose key is not in the source.
    :param jobs: jobs that the service created.
    :param most_jobs: the most jobs that were created for one shard and attempt.
    :param duplicate_jobs: jobs for a shard and attempt that already had one.
    :param wrong_summaries: summaries that do not agree with the tables, or cannot be read.
    :param requests: requests of the source that differ, and that are to be paid.
    :param paid: requests in the jobs of first attempts, as the service counts them.
    :param paid_again: requests in the jobs of later attempts.
    :param wrongly_paid: by how many the requests that were paid are more, or fewer, than those that were to be paid.
    :param copies: rows that another row has paid for.
    :param wrong_copies: rows that are not what became of the row that paid, and rows that paid for what another one has paid for.
    :param reused: rows that an earlier run has answered.
    :param wrong_reuse: rows that are not what that run has answered, and rows that were not reused although they could have been.
    """

    rows: int = 0
    results: int = 0
    dead_letter: int = 0
    lost: int = 0
    duplicated: int = 0
    mismatched: int = 0
    unknown_keys: int = 0
    jobs: int = 0
    most_jobs: int = 0
    duplicate_jobs: int = 0
    wrong_summaries: int = 0
    requests: int = 0
    paid: int = 0
    paid_again: int = 0
    wrongly_paid: int = 0
    copies: int = 0
    wrong_copies: int = 0
    reused: int = 0
    wrong_reuse: int = 0

    def add(self, other: Findings) -> None:
        for name, value in asdict(other).items():
            setattr(self, name, max(self.most_jobs, value) if name == "most_jobs" else getattr(self, name) + value)

    @property
    def errors(self) -> int:
        """How many things are wrong; 0 for a correct run."""
        return sum(getattr(self, name) for name in ERRORS)


#: The counts that are 0 for a correct run.
ERRORS = (
    "lost", "duplicated", "mismatched", "unknown_keys", "duplicate_jobs", "wrong_summaries", "wrongly_paid", "wrong_copies",
    "wrong_reuse",
)  # fmt: skip


def audit(
    destination: str,
    source: str,
    jobs: Sequence[CreatedJob],
    *,
    raw_requests: bool = False,
    earlier: EarlierRun | None = None,
    answers: int = 1,
) -> Findings:
    """Compare the tables of a finished run with its source, key by key and text by text, and the jobs with its requests.

    :param destination, source: local paths.
    :param jobs: each job that the service created. Only those whose name starts with ``gb-`` count.
    :param raw_requests: whether the run took its requests from the source's column.
    :param earlier: the run whose answers this one was to take over.
    :param answers: how often each row was sent. Each of them counts as a row of the source with a key of its own.
    """
    expected, asked = _each_answer(pq.read_table(source), answers)
    folder = Path(destination)
    results, dead_letter = _table(folder / "results"), _table(folder / "dead_letter")
    findings = Findings(rows=expected.num_rows, results=results.num_rows, dead_letter=dead_letter.num_rows)
    found = pa.chunked_array([*results["key"].chunks, *dead_letter["key"].chunks], pa.string())
    known = pc.is_in(found, value_set=expected["id"].combine_chunks())
    findings.unknown_keys = len(found) - (pc.sum(known).as_py() or 0)
    distinct = len(pc.unique(found.filter(known)))
    findings.lost = expected.num_rows - distinct
    findings.duplicated = len(found) - findings.unknown_keys - distinct
    findings.mismatched = _mismatched(expected, results, "text") + _mismatched(expected, dead_letter, "request")
    findings.copies = copied_rows(results) + copied_rows(dead_letter)
    findings.wrong_copies = wrong_copies(asked, results, dead_letter)
    answered: dict[str, dict[str, Any]] = {}
    if earlier is not None:
        answered = answers_by_body(_table(Path(earlier.folder) / "results"))
        answered = answered if answers == 1 else {f"{body}#0": row for body, row in answered.items()}
        names = ({job.name for job in earlier.jobs}, {job.name for job in jobs})
        findings.reused = reused_rows(results)
        findings.wrong_reuse = wrong_reuse(asked, results, answered, earlier.uri, *names)
    findings.wrong_summaries = int(not _is_correct(folder / "summary.json", findings))
    _count_jobs(findings, jobs)
    _count_requests(findings, jobs, requests_of(asked, raw=raw_requests, answered=answered.keys()))
    return findings


def _each_answer(source: pa.Table, answers: int) -> tuple[pa.Table, pa.Table]:
    """The rows as often as they were sent, with keys as ``_table`` has them; and the same, where no two of a row ask the same."""
    if answers == 1:
        return source, source
    expected = source.take([row for row in range(len(source)) for _ in range(answers)])
    repeat = pa.array([str(number) for _ in range(len(source)) for number in range(answers)])
    asked = expected
    for name in ("id", "body"):
        named = pc.binary_join_element_wise(expected[name], repeat, "#")
        asked = asked.set_column(asked.schema.get_field_index(name), name, named)
    return expected.set_column(expected.schema.get_field_index("id"), "id", asked["id"]), asked


def _count_jobs(findings: Findings, jobs: Sequence[CreatedJob]) -> None:
    created = Counter(job.display_name for job in jobs if job.display_name.startswith("gb-"))
    findings.jobs = sum(created.values())
    findings.most_jobs = max(created.values(), default=0)
    findings.duplicate_jobs = sum(count - 1 for count in created.values())


def _count_requests(findings: Findings, jobs: Sequence[CreatedJob], requests: int) -> None:
    """Count what was paid, unless the service does not say how many requests a job holds."""
    ours = [(attempt[1], job.requests) for job in jobs if (attempt := _ATTEMPT.match(job.display_name)) is not None]
    if any(held is None for _, held in ours):
        return
    findings.requests = requests
    findings.paid = sum(held or 0 for attempt, held in ours if attempt == "0")
    findings.paid_again = sum(held or 0 for attempt, held in ours if attempt != "0")
    findings.wrongly_paid = abs(findings.paid - requests)


def _table(folder: Path) -> pa.Table:
    parts = [pq.ParquetFile(part).read() for part in sorted(folder.glob("[!._]*.parquet"))]
    columns = ["key", "paid_by", "reused_from", *CARRIED, "text" if folder.name == "results" else "request"]
    table = pa.concat_tables(parts) if parts else pa.table({name: pa.array([], pa.string()) for name in columns})
    if "repeat" not in table.column_names:
        return table
    return table.set_column(0, "key", pc.binary_join_element_wise(table["key"], table["repeat"].cast(pa.string()), "#"))


def _carried(expected: pa.Table, rows: pa.Array, table: pa.Table) -> pa.Array:
    """Whether all carried columns of each row are those of the source; compared as Python values."""
    same = [True] * table.num_rows
    for name in CARRIED:
        was, now = (column.to_pylist() for column in (pc.take(expected[name].combine_chunks(), rows), table[name]))
        if pa.types.is_time(expected[name].type):  # a table holds times of day as text
            was = [None if time is None else time.isoformat() for time in was]
        same = [one and old == new for one, old, new in zip(same, was, now, strict=True)]
    return pa.array(same, pa.bool_())


def _mismatched(expected: pa.Table, table: pa.Table, column: str) -> int:
    """The number of rows whose carried columns, or whose ``column``, do not belong to their key."""
    rows = pc.fill_null(pc.index_in(table["key"], value_set=expected["id"].combine_chunks()), 0).combine_chunks()
    body = pc.take(expected["body"].combine_chunks(), rows)
    carried = _carried(expected, rows, table)
    # The row's text may be surrounded by the JSON of the request, or by what another implementation of the service adds.
    matches = pa.array([text in (value or "") for text, value in zip(body.to_pylist(), table[column].to_pylist(), strict=True)])
    matches = pc.fill_null(pc.and_(carried, matches.cast(pa.bool_())), False)
    return len(matches) - (pc.sum(matches).as_py() or 0)


def _is_correct(summary: Path, findings: Findings) -> bool:
    try:
        content: dict[str, Any] = json.loads(summary.read_bytes())
    except (OSError, ValueError):
        return False
    names = ("rows", "results", "dead_letter", "deduplicated", "reused", "balanced")
    expected = (findings.rows, findings.results, findings.dead_letter, findings.copies, findings.reused, True)
    return tuple(content.get(name) for name in names) == expected
