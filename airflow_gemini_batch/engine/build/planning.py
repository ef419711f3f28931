"""The plan of a run that several builders build: the files of the source in groups, and what all of them must have in common.

    plan_groups -> build_group for each group, anywhere, in any order -> merge_groups

The types of the columns depend on all files, so they are decided here, by the files' schemas; carried columns with nanoseconds
are read for that.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from itertools import accumulate

import msgspec

from airflow_gemini_batch.engine.build.building import require_budget, require_buildable
from airflow_gemini_batch.engine.build.call import Call, IfExists, RunSpec, require_arguments
from airflow_gemini_batch.engine.build.leftovers import discard_run, require_empty
from airflow_gemini_batch.engine.build.preflight import check_before_build
from airflow_gemini_batch.engine.build.same_run import existing_run, in_words, same_run
from airflow_gemini_batch.engine.build.table_columns import table_columns
from airflow_gemini_batch.engine.errors import CorruptRunError, DestinationError, InputError
from airflow_gemini_batch.engine.gemini.client import GeminiClient
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.run.groups import Plan, PlannedFile, plan_file, read_plan
from airflow_gemini_batch.engine.run.layout import Manifest, Run
from airflow_gemini_batch.engine.source.files import File, FileSource
from airflow_gemini_batch.engine.source.keys import check_key_column
from airflow_gemini_batch.engine.specs import request_of

log = logging.getLogger(__name__)

#: ``[core] max_map_length`` is 1,024.
MOST_GROUPS = 1000


def plan_groups(
    run: Run,
    spec: RunSpec,
    options: BatchOptions,
    *,
    groups: int,
    if_exists: IfExists = "resume",
    owner: str | None = None,
    client: GeminiClient | None = None,
) -> tuple[str, int]:
    """Divide the files of the source into groups of about the same size, or find the plan that exists.

    The files stay in the order of the source. The other arguments are those of ``build_run``; so is what is done about a run that
    is there already. A plan of the same question and source is resumed, with the limit of this call.

    :param groups: how many builders there are to be; fewer where there are fewer files.

    Returns the id of the run that is planned, and the number of its groups: 1 for a run that is built.

    Raises as ``build_run``, and InputError for a source that is not made of files, for a run without key, for a sample, and for a
    request that is a Python function.
    """
    spec = _plannable(spec, groups)
    require_arguments(spec, if_exists)
    there = existing_run(run, if_exists=if_exists, owner=owner)
    begun = None if there is not None else _existing_plan(run, if_exists, owner)
    if there is None and begun is None:
        if if_exists == "resume":
            require_empty(run)
        check_before_build(run, spec.model, client)
    call = Call.of(spec, options, there)
    if there is not None:
        found = same_run(run, there, call, if_exists=if_exists)
        if found is not None:
            require_budget(run, found, call)
            return _of_built(run, found)
    plan = _plan(call, groups, owner)
    if begun is not None and _same(begun, plan):
        return _resumed(run, begun, plan)
    require_buildable(run, call, client, replaces=there is not None or begun is not None)
    if begun is not None:
        log.warning("%s holds a plan of another run, of which nothing was submitted. It is replaced.", run.destination)
    if begun is not None or there is not None or if_exists == "replace":
        discard_run(run, client)
    if not plan_file(run).create(msgspec.json.encode(plan)):
        begun = read_plan(run)  # another try was faster
        if begun is None or not _same(begun, plan):
            raise DestinationError(
                f"Another task is planning another run at {run.destination}. Choose another destination for one of them."
            )
        return _resumed(run, begun, plan)
    files, described = sum(map(len, plan.groups)), plan.manifest.source.description
    log.info("Run %s is planned: %d files in %d groups, from %s.", plan.run_id, files, len(plan.groups), described)
    return plan.run_id, len(plan.groups)


def _plannable(spec: RunSpec, groups: int) -> RunSpec:
    """With the request in the form in which it goes to the builders. Raises InputError for what cannot be built in groups."""
    if not isinstance(groups, int) or isinstance(groups, bool) or not 1 <= groups <= MOST_GROUPS:
        raise InputError(f"groups is {groups!r}; expected a whole number from 1 to {MOST_GROUPS:,}.")
    if spec.key is None:
        raise InputError(
            "key is None, but a builder of one group does not know how many rows the groups before it have. Name a column."
        )
    if spec.sample is not None:
        raise InputError("sample is given, but a sample is drawn from the whole table. Build it in one task.")
    if callable(spec.request):
        raise InputError(
            f"request is the function {getattr(spec.request, '__name__', 'given')!r}, which cannot be sent to other tasks. Use a "
            "GenerateRequest or an EmbedRequest, or write the requests into a column and use a RawRequest."
        )
    return dataclasses.replace(spec, request=request_of(spec.request.serialize()))


def _existing_plan(run: Run, if_exists: IfExists, owner: str | None) -> Plan | None:
    try:
        plan = read_plan(run)
    except CorruptRunError:
        if if_exists == "resume":
            raise
        return None
    return plan if if_exists == "resume" or (plan is not None and owner is not None and plan.manifest.owner == owner) else None


def _same(begun: Plan, plan: Plan) -> bool:
    """Whether a plan is of the same run; the order of the groups' files follows from the source."""
    return all(
        (
            begun.manifest.question == plan.manifest.question,
            begun.manifest.source.fingerprint == plan.manifest.source.fingerprint,
            (begun.dedupe, begun.reuse, len(begun.groups)) == (plan.dedupe, plan.reuse, len(plan.groups)),
        )
    )


def _resumed(run: Run, begun: Plan, plan: Plan) -> tuple[str, int]:
    if begun.max_cost_usd != plan.max_cost_usd:
        plan_file(run).write(msgspec.json.encode(msgspec.structs.replace(begun, max_cost_usd=plan.max_cost_usd)))
    log.info("%s holds the plan of this run already: %s, in %d groups.", run.destination, begun.run_id, len(begun.groups))
    return begun.run_id, len(begun.groups)


def _of_built(run: Run, manifest: Manifest) -> tuple[str, int]:
    plan = read_plan(run)
    groups = 1 if plan is None or plan.run_id != manifest.run_id else len(plan.groups)
    log.info("There is nothing to build: %s.", in_words(manifest))
    return manifest.run_id, groups


def _plan(call: Call, groups: int, owner: str | None) -> Plan:
    source, spec = call.source, call.spec
    if source is None:
        raise call.error or InputError("The source cannot be read.")
    if not isinstance(source, FileSource):
        raise InputError(f"source is a {source.description}; groups are made of files. Give URIs, or build in one task.")
    assert spec.key is not None
    check_key_column(spec.key, source.schema)
    _, carried = table_columns(source, call.encoder, call.options, key=spec.key, carry=spec.carry, repeats=spec.repeats)
    uris = list(dict.fromkeys(file.given for file in source.files))
    return Plan(
        manifest=call.manifest(source, owner),
        request=spec.request.serialize(),  # type: ignore[union-attr]  # it is no function: see _plannable
        dedupe=spec.dedupe and spec.repeats == 1,
        reuse=tuple(spec.reuse),
        max_cost_usd=spec.max_cost_usd,
        options=call.options.as_dict(),
        uris=tuple(uris),
        kind=source.kind,
        in_microseconds=carried.in_microseconds,
        groups=tuple(
            tuple(
                PlannedFile(uris.index(file.given), file.location.path, file.location.uri, file.size, file.partitions)
                for file in group
            )
            for group in divided(source.files, groups)
        ),
    )


def divided(files: Sequence[File], groups: int) -> list[Sequence[File]]:
    """Files in groups of about as many bytes, at most so many groups; none is empty, and the order stays.

    A file whose size is not known counts as one of an average size.
    """
    known = [file.size for file in files if file.size is not None]
    average = sum(known) / len(known) if known else 1.0
    # One more for each file, which takes time however small it is; so sizes are never 0.
    ends = list(accumulate(1 + (average if file.size is None else file.size) for file in files))
    starts = [0, *ends[:-1]]
    numbers = [int((start + end) / 2 * groups / ends[-1]) for start, end in zip(starts, ends, strict=True)]
    return [[file for file, of_file in zip(files, numbers, strict=True) if of_file == number] for number in sorted(set(numbers))]
