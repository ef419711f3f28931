"""One group of a planned run becomes shards, on any worker, beside the builders of the other groups.

A group is built when its file says so, which is written last and exclusively; a group that is built again is found, or makes the
same files.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable

import msgspec

from airflow_gemini_batch.engine.build.budget import meter_of
from airflow_gemini_batch.engine.build.earlier_answers import found_runs
from airflow_gemini_batch.engine.build.group_part import GroupPart
from airflow_gemini_batch.engine.build.shards import Built, build_shards
from airflow_gemini_batch.engine.errors import DestinationError, InputError
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.request.encoding import RequestEncoder, compile_request
from airflow_gemini_batch.engine.request.fingerprints import Fingerprinter
from airflow_gemini_batch.engine.run.groups import BuiltGroup, GroupFiles, Plan, other_plan, require_plan
from airflow_gemini_batch.engine.run.layout import Run
from airflow_gemini_batch.engine.run.storage import Location
from airflow_gemini_batch.engine.source.files import File, FileSource
from airflow_gemini_batch.engine.specs import request_of

log = logging.getLogger(__name__)


def build_group(run: Run, run_id: str, group: int) -> BuiltGroup | None:
    """Make the request files of one group, or find them.

    :param run_id: that ``plan_groups`` has returned.
    :param group: from 0.

    Returns None where the whole run is built already.

    Raises DestinationError when the destination has another plan, or when another try of the group has read other rows, and as
    ``build_run`` does for rows that cannot be used.
    """
    there = run.manifest()
    if there is not None:
        if there.run_id != run_id:
            raise other_plan(run, run_id, there.run_id)
        return None
    plan = require_plan(run, run_id)
    if not 0 <= group < len(plan.groups):
        raise InputError(f"group is {group}, and the plan has the groups 0 to {len(plan.groups) - 1}. Clear the plan task too.")
    files = GroupFiles(run, run_id)
    found = files.built(group)
    if found is not None:
        log.info("Group %d is built already.", group)
        return found
    built = _build(run, plan, group, files)
    if files.built_file(group).create(msgspec.json.encode(built)):
        log.info("Built group %d of %d: %d requests in %d shards.", group, len(plan.groups),
                 sum(shard.requests for shard in built.shards), len(built.shards))  # fmt: skip
        return built
    found = files.built(group)  # another try was faster
    if found is not None and _digests(found) != _digests(built):
        raise DestinationError(
            f"Group {group} of the run at {run.destination} was built at the same time from other rows: its files were changed "
            "meanwhile. Build again with if_exists='replace'."
        )
    return found


def _build(run: Run, plan: Plan, group: int, files: GroupFiles) -> BuiltGroup:
    options, asked = BatchOptions.of(plan.options), plan.manifest
    source = _source(plan, group, run.locate)
    encoder = planned_encoder(plan, run.locate)
    limit = plan.max_cost_usd
    with contextlib.ExitStack() as stack:
        runs = stack.enter_context(found_runs(plan.reuse, asked.model, encoder, options, run.locate, own=run))
        built = build_shards(
            source,
            encoder,
            run=run,
            key=asked.key,
            carry=asked.carry,
            options=options,
            fingerprinter=Fingerprinter(asked.model, encoder.spec),
            dedupe=plan.dedupe,
            earlier=stack.enter_context(runs.answers(run, asked.repeats)),
            manifest=asked,
            meter=None if limit is None else meter_of(asked.model, asked.prices, limit),
            repeats=asked.repeats,
            part=GroupPart(files, plan, group),
        )
    return BuiltGroup(group, **built._asdict())


def _digests(built: BuiltGroup) -> object:
    return Built(built.shards, built.duplicates_sha256, built.reused, built.reused_sha256).digests


def _source(plan: Plan, group: int, locate: Callable[[str], Location]) -> FileSource:
    places = [locate(uri) for uri in plan.uris]
    planned = plan.groups[group]
    files = [
        File(Location(places[file.given].fs, file.path, file.uri), file.partitions, {"size": file.size}, plan.uris[file.given])
        for file in planned
    ]
    described = planned[0].uri if len(planned) == 1 else f"{planned[0].uri} and {len(planned) - 1} more"
    return FileSource(described, files, plan.kind, plan.schema)


def planned_encoder(plan: Plan, locate: Callable[[str], Location]) -> RequestEncoder:
    """Raises DestinationError where this worker makes other requests than the one that planned."""
    options, manifest = BatchOptions.of(plan.options), plan.manifest
    encoder = compile_request(request_of(plan.request), plan.schema, manifest.model, locate, options.schema_field)
    if msgspec.json.decode(msgspec.json.encode(encoder.spec)) != manifest.request:
        raise DestinationError(
            "This worker makes other requests than the worker that made the plan. Install the same versions of "
            "airflow-gemini-batch and google-genai on all workers."
        )
    return encoder
