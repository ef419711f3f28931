"""A run that is built in groups: its plan, and what the build of each group leaves for the merge.

    _run/groups/plan.json                     the question, the files of each group, and what all groups must have in common
    _run/groups/<run>/00003.json              written last: group 3 is built
    _run/groups/<run>/00003.keys              8 bytes for each row: sorted hashes of the keys
    _run/groups/<run>/00003.fingerprints      16 bytes for each row in a shard, in their order: half of the request's fingerprint,
                                              or zeros for a row without a request
    _run/groups/<run>/00003.duplicates.arrow  the rows that another row of the group pays for (see ``build.set_aside``)

Of G groups, group g writes the shards g, G + g, 2 G + g and so on where those of the run lie; so no two groups write the same
file, and none is renamed. ``<run>`` is the id that the run is going to have, so nothing of another plan is taken for this one's.
All but the plan and the JSON of each group is removed when the manifest is written.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec
import pyarrow as pa

from airflow_gemini_batch.engine.errors import DestinationError
from airflow_gemini_batch.engine.run.layout import Manifest, ReusedPart, Run, Shard, read_json
from airflow_gemini_batch.engine.run.storage import Location

#: Bytes of a fingerprint that are kept, as in ``build.fingerprint_table``.
KEPT_BYTES = 16


class PlannedFile(msgspec.Struct, frozen=True):
    """A file of the source.

    :param given: which of the plan's URIs it was found by: it is opened with the same credentials.
    :param path: on the file system of that URI.
    :param size: bytes; None where the store does not say.
    :param partitions: the values given by the names of its folders.
    """

    given: int
    path: str
    uri: str
    size: int | None
    partitions: dict[str, str | None]


class Plan(msgspec.Struct, frozen=True):
    """What all groups of a run have in common. Written once; only the limit may change until the run is built.

    :param manifest: as far as it is known; it has the id that the run is going to have.
    :param request: as ``request_of`` reads it.
    :param options: as ``BatchOptions.of`` reads them.
    :param uris: that the source was given as.
    :param kind: the format of the files.
    :param in_microseconds: the carried columns that do not need their nanoseconds, in any file.
    :param groups: the files of each group.
    """

    manifest: Manifest
    request: dict[str, Any]
    dedupe: bool
    reuse: tuple[str, ...]
    max_cost_usd: float | None
    options: dict[str, Any]
    uris: tuple[str, ...]
    kind: str
    in_microseconds: tuple[str, ...]
    groups: tuple[tuple[PlannedFile, ...], ...]

    @property
    def run_id(self) -> str:
        return self.manifest.run_id

    @property
    def schema(self) -> pa.Schema:
        """Of the whole table."""
        return self.manifest.source.arrow_schema()


class BuiltGroup(msgspec.Struct, frozen=True):
    """A group that is built.

    :param shards: in input order; ``duplicates`` is not known yet.
    :param duplicates_sha256: digest of the rows that another row of the group pays for; None without ``dedupe``.
    """

    group: int
    shards: tuple[Shard, ...]
    duplicates_sha256: str | None = None
    reused: tuple[ReusedPart, ...] = ()
    reused_sha256: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class GroupFiles:
    """The files of the groups of one plan."""

    run: Run
    run_id: str

    @property
    def folder(self) -> Location:
        return self.run.groups_folder / self.run_id

    def built_file(self, group: int) -> Location:
        return self.folder / f"{group:05d}.json"

    def keys_file(self, group: int) -> Location:
        return self.folder / f"{group:05d}.keys"

    def fingerprints_file(self, group: int) -> Location:
        return self.folder / f"{group:05d}.fingerprints"

    def duplicates_file(self, group: int) -> Location:
        """Absent where there are none."""
        return self.folder / f"{group:05d}.duplicates.arrow"

    def built(self, group: int) -> BuiltGroup | None:
        """None while the group is not built. Raises CorruptRunError for a torn file."""
        return read_json(self.built_file(group), BuiltGroup)


def plan_file(run: Run) -> Location:
    return run.groups_folder / "plan.json"


def read_plan(run: Run) -> Plan | None:
    """The plan at the destination, or None. Raises CorruptRunError for a torn file."""
    return read_json(plan_file(run), Plan)


def is_built_in_groups(run: Run, manifest: Manifest) -> bool:
    plan = read_plan(run)
    return plan is not None and plan.run_id == manifest.run_id


def require_plan(run: Run, run_id: str) -> Plan:
    """The plan that a group belongs to. Raises DestinationError when the destination has another one, or none."""
    plan = read_plan(run)
    if plan is None or plan.run_id != run_id:
        raise other_plan(run, run_id, None if plan is None else plan.run_id)
    return plan


def other_plan(run: Run, run_id: str, found: str | None) -> DestinationError:
    what = "no plan" if found is None else f"run {found}"
    return DestinationError(
        f"The group belongs to the plan of run {run_id}, and {run.destination} holds {what}: that plan has been replaced. "
        "Clear the plan task too."
    )
