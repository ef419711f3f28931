"""A run that several tasks build, each from a group of the source's files.

    plan -> [group] -> build -> merge -> [shard] -> submit -> wait -> download -> finish

    plan = GeminiBatchPlanOperator(task_id="plan", source="s3://lake/reviews/", groups=16, ...)
    built = GeminiBatchBuildGroupOperator.partial(task_id="build").expand(group=plan.output)
    shards = GeminiBatchMergeOperator(task_id="merge", groups=built.output)

Only the plan is told what to ask: it leaves that in the run, where the builders find it. From the merge on, the run is as one
that ``GeminiBatchBuildOperator`` has built.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_gemini_batch._references import GroupReference, as_json, read_group, shard_references
from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.links import GeminiBatchRunLink
from airflow_gemini_batch.operators._arguments import check_arguments
from airflow_gemini_batch.operators._table import TableOperator
from airflow_gemini_batch.operators.base import GeminiOperator, owner_of

if TYPE_CHECKING:
    from airflow.sdk import Context, XComArg
    from typing_extensions import Unpack

    from airflow_gemini_batch._references import GroupReferenceDict, ShardReferenceDict
    from airflow_gemini_batch.operators._airflow_arguments import GeminiOperatorArguments, TableArguments


class GeminiBatchPlanOperator(TableOperator):
    """Divide the files of a source into groups, and return one reference for each, to be mapped over.

    Every other argument is that of ``GeminiBatchBuildOperator``. All files are listed and their schemas read; groups have about
    the same number of bytes, and the files keep their order. Nothing is paid.

    :param source: URI of Parquet, CSV or JSON Lines (file, folder or glob), an ``ObjectStoragePath``, or a list of them. One
        file is never divided. (templated)
    :param request: A ``GenerateRequest``, an ``EmbedRequest`` or a ``RawRequest``; a function cannot be sent to other tasks.
    :param key: The column that identifies a row, unique in all files; required here. (templated)
    :param groups: How many builders there are to be, from 1 to 1,000; fewer where there are fewer files. Default: 8.
    :param options: A ``BatchOptions``, or a dict of its fields. The builders and the merge use these options.

    ``sample`` cannot be given. Raises InputError while the DAG is parsed, and AirflowFailException when the source, the request,
    the destination or the connection cannot be used.
    """

    operator_extra_links = (GeminiBatchRunLink(),)
    checked: ClassVar[tuple[str, ...]] = (*TableOperator.checked, "groups")

    def __init__(self, *, groups: int = 8, **kwargs: Unpack[TableArguments]) -> None:
        super().__init__(**kwargs)
        check_arguments({"groups": groups})
        self.groups = groups

    def execute(self, context: Context) -> list[GroupReferenceDict]:
        from airflow_gemini_batch.engine.build.planning import plan_groups

        with self.one_pass(context), self.connect() as client:
            run = self.run_here
            run_id, groups = plan_groups(
                run,
                self.question,
                self.options,
                groups=self.groups,
                if_exists=self.if_exists,
                owner=owner_of(context),
                client=client,
            )
        return [as_json(GroupReference(destination=run.destination.uri, run_id=run_id, group=group, groups=groups))
                for group in range(groups)]  # fmt: skip


class _GroupStep(GeminiOperator):
    """A step that has no connection to the service."""

    operator_extra_links = (GeminiBatchRunLink(),)


class GeminiBatchBuildGroupOperator(_GroupStep):
    """Build one group of a planned run, and return its reference. Map it over the plan's output.

    Nothing is paid, and the service is not asked. A group that is built already is found; of two tries at once, both make the
    same files.

    :param group: A group reference, from ``GeminiBatchPlanOperator``. (templated)

    Raises AirflowFailException when rows cannot be used, or when the plan has been replaced: then clear the plan task too.
    """

    template_fields: Sequence[str] = ("group", *GeminiOperator.template_fields)

    def __init__(self, *, group: GroupReferenceDict | XComArg, **kwargs: Unpack[GeminiOperatorArguments]) -> None:
        super().__init__(**kwargs)
        self.group: Any = group

    @property
    def map_label(self) -> str:
        return f"group {self.group.get('group')}" if hasattr(self.group, "get") else ""

    def execute(self, context: Context) -> GroupReferenceDict:
        from airflow_gemini_batch.engine.build.group_building import build_group

        with self.one_pass(context):
            reference = read_group(self.group)
            build_group(reference.run, reference.run_id, reference.group)
        built: GroupReferenceDict = as_json(reference)
        return built


class GeminiBatchMergeOperator(_GroupStep):
    """Make one run of the groups that were built, and return one reference for each shard, as ``GeminiBatchBuildOperator`` does.

    A key that two groups have is an error. Of equal requests in several groups the one in the first group is sent, and the other
    rows get its answer, unless the plan was made with ``dedupe=False``. Shards that lose rows by that are written again here.
    ``max_cost_usd`` of the plan is compared with all groups together.

    :param groups: The group references that the build tasks have returned. (templated)

    Raises AirflowFailException when a group is not built, a key is not unique, the run may cost more than the limit, or the plan
    has been replaced.
    """

    template_fields: Sequence[str] = ("groups", *GeminiOperator.template_fields)

    def __init__(self, *, groups: Sequence[GroupReferenceDict] | XComArg, **kwargs: Unpack[GeminiOperatorArguments]) -> None:
        super().__init__(**kwargs)
        self.groups: Any = groups

    def execute(self, context: Context) -> list[ShardReferenceDict]:
        from airflow_gemini_batch.engine.build.merging import merge_groups

        given: Any = self.groups if not isinstance(self.groups, Mapping) else [self.groups]
        # For the link to the run's page, which does not need what is checked below.
        self.destination = next((one.get("destination") for one in given if isinstance(one, Mapping)), None)
        with self.one_pass(context):
            references = [read_group(one) for one in given]
            runs = {(reference.destination, reference.run_id) for reference in references}
            if len(runs) != 1:
                raise InputError(f"groups has groups of {len(runs)} runs; pass the output of the build tasks of one plan.")
            run = references[0].run
            manifest = merge_groups(run, references[0].run_id)
        return shard_references(run, manifest)
