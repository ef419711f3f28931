"""What one step hands to the next: a few hundred bytes of plain JSON that name a shard's files and job.

References hold no data and stay far below 1 KB, so that XCom holds any number of them. Each says which shard it is for, since the
list that a mapped task gives has no gap where an instance failed; each has all that the step before it had.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.gemini.jobs import is_job_name

if TYPE_CHECKING:
    from airflow_gemini_batch.engine.run.layout import Run, ShardAttempt


class ShardReference(msgspec.Struct, frozen=True, kw_only=True):
    """A built shard.

    :param destination: URI of the run, ``conn_id@`` included.
    :param shard, attempt: which part of the run.
    :param rows: input rows; ``requests`` of them became requests. Where none did there is no job, and nothing to wait for.
    """

    destination: str
    shard: int
    attempt: int = 0
    rows: int
    requests: int


class JobReference(ShardReference, frozen=True, kw_only=True):
    """A shard's job.

    :param job: ``batches/…``; None for a shard without requests.
    :param state: as it was last seen, once that is known to be terminal.
    """

    job: str | None
    state: str | None = None


class PartReference(JobReference, frozen=True, kw_only=True):
    """A shard's parts of the two tables, and how many rows went where."""

    results: int
    dead_letter: int
    reasons: dict[str, int]
    results_uri: str
    dead_letter_uri: str


R = TypeVar("R", bound=ShardReference)


def as_json(reference: ShardReference) -> dict[str, Any]:
    """What goes into XCom."""
    plain: dict[str, Any] = msgspec.to_builtins(reference)
    return plain


def read_reference(value: Any, kind: type[R], *, argument: str) -> R:
    """What came out of XCom. Raises InputError that names the operator's argument when it is something else."""
    try:
        reference = msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise InputError(f"{argument} is no {_NAMES[kind]}: {error}. {_remedy(value, argument)}") from None
    if isinstance(reference, JobReference) and reference.job is not None and not is_job_name(reference.job):
        raise InputError(f"{argument} names {reference.job!r} as its job; expected batches/<id>.")
    return reference


def run_of(reference: ShardReference) -> Run:
    """The run that a reference points into."""
    from airflow_gemini_batch._locations import locate
    from airflow_gemini_batch.engine.run.layout import Run

    return Run(locate(reference.destination), locate)


def part_of(reference: ShardReference) -> ShardAttempt:
    """The part of the run that it is for."""
    from airflow_gemini_batch.engine.run.layout import ShardAttempt

    return ShardAttempt(reference.shard, reference.attempt)


_NAMES: dict[type[ShardReference], str] = {
    ShardReference: "shard reference",
    JobReference: "job reference",
    PartReference: "part reference",
}


def _remedy(value: Any, argument: str) -> str:
    if isinstance(value, (list, tuple)):
        return f"It is a list: map over it with .expand({argument}=...), one task instance for each."
    return f"Pass the output of the step before: .expand({argument}=<that task>.output)."
