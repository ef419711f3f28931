"""What one step passes to the next: a few hundred bytes of plain JSON that name a shard's files and job.

References hold no data and stay far below 1 KB, so that XCom can hold any number of them. Each names its shard, because the list
that a mapped task returns has no gap where an instance failed; each has everything that the reference before it had.

In Python they are structs, which are checked when they are read; in XCom they are the dicts below, which DAGs may use in types.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

import msgspec

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.gemini.names import is_job_name

if TYPE_CHECKING:
    from airflow_gemini_batch.engine.run.layout import Manifest, Run, ShardAttempt


class ShardReferenceDict(TypedDict):
    """A built shard, as ``GeminiBatchBuildOperator`` returns it: the fields of :class:`ShardReference`."""

    destination: str
    shard: int
    attempt: int
    rows: int
    requests: int


class JobReferenceDict(ShardReferenceDict):
    """A shard's job, as the submit operator and the sensor return it: the fields of :class:`JobReference`."""

    job: str | None
    state: str | None


class PartReferenceDict(JobReferenceDict):
    """A shard's parts of the tables, as ``GeminiBatchDownloadOperator`` returns it: the fields of :class:`PartReference`."""

    results: int
    dead_letter: int
    reasons: dict[str, int]
    results_uri: str
    dead_letter_uri: str


class GroupReferenceDict(TypedDict):
    """A group of files of one run, as ``GeminiBatchPlanOperator`` returns it: the fields of :class:`GroupReference`."""

    destination: str
    run_id: str
    group: int
    groups: int


class GroupReference(msgspec.Struct, frozen=True, kw_only=True):
    """A group of the files of a run.

    :param destination: URI of the run, ``conn_id@`` included.
    :param run_id: of the planned run: a group of another plan is refused.
    :param group: from 0, of ``groups``.
    """

    destination: str
    run_id: str
    group: int
    groups: int

    @property
    def run(self) -> Run:
        return _run_at(self.destination)


class ShardReference(msgspec.Struct, frozen=True, kw_only=True):
    """A built shard.

    :param destination: URI of the run, ``conn_id@`` included.
    :param shard: which part of the run, with ``attempt``.
    :param attempt: 0, and one more each time that the rows are resubmitted.
    :param rows: input rows; ``requests`` of them became requests. A shard without requests has no job to wait for.
    """

    destination: str
    shard: int
    attempt: int = 0
    rows: int
    requests: int


class JobReference(ShardReference, frozen=True, kw_only=True):
    """A shard's job.

    :param job: ``batches/…``; None for a shard without requests.
    :param state: the job's terminal state, such as ``SUCCEEDED``; None until it is known.
    """

    job: str | None
    state: str | None = None


class PartReference(JobReference, frozen=True, kw_only=True):
    """A shard's parts of the two tables, and how many rows each has."""

    results: int
    dead_letter: int
    reasons: dict[str, int]
    results_uri: str
    dead_letter_uri: str


R = TypeVar("R", bound=ShardReference)


def as_json(reference: ShardReference | GroupReference) -> Any:
    """The reference as it goes into XCom: a dict of the type that mirrors its class."""
    return msgspec.to_builtins(reference)


def read_reference(value: Any, kind: type[R], *, argument: str) -> R:
    """Read a reference that came out of XCom.

    :param argument: the operator's argument, for the message.

    Raises InputError when the value is not a reference of this kind.
    """
    try:
        reference = msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise InputError(f"{argument} is not a {_NAMES[kind]}: {error}. {_remedy(value, argument)}") from None
    if isinstance(reference, JobReference) and reference.job is not None and not is_job_name(reference.job):
        raise InputError(f"{argument} names the job {reference.job!r}; expected batches/<id>.")
    return reference


def read_group(value: Any) -> GroupReference:
    """Read a group reference that came out of XCom. Raises InputError when it is not one."""
    try:
        return msgspec.convert(value, GroupReference)
    except msgspec.ValidationError as error:
        raise InputError(f"group is not a group reference: {error}. {_remedy(value, 'group')}") from None


def shard_references(run: Run, manifest: Manifest) -> list[ShardReferenceDict]:
    """The references of a built run's shards."""
    return [
        as_json(
            ShardReference(
                destination=run.destination.uri,
                shard=shard.number,
                attempt=shard.attempt,
                rows=shard.rows,
                requests=shard.requests,
            )
        )
        for shard in manifest.shards
    ]


def run_of(reference: ShardReference) -> Run:
    """The run that a reference points into."""
    return _run_at(reference.destination)


def _run_at(destination: str) -> Run:
    from airflow_gemini_batch._locations import locate
    from airflow_gemini_batch.engine.run.layout import Run

    return Run(locate(destination), locate)


def part_of(reference: ShardReference) -> ShardAttempt:
    """The shard and attempt that a reference names."""
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
