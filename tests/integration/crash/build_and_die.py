"""A process that builds a run in groups, and kills itself where it is told to: ``KillRule`` as JSON in the arguments."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))

from crashing.boundaries import BoundaryWatcher, KillRule
from crashing.child_process import ReportPipe

from airflow_gemini_batch import BatchOptions, GenerateRequest
from airflow_gemini_batch.engine.build.call import RunSpec
from airflow_gemini_batch.engine.build.group_building import build_group
from airflow_gemini_batch.engine.build.merging import merge_groups
from airflow_gemini_batch.engine.build.planning import plan_groups
from airflow_gemini_batch.engine.run.layout import Run
from airflow_gemini_batch.engine.run.storage import locate


def main(source: str, destination: str, report: str, skip: list[str], share: list[int]) -> None:
    pipe = ReportPipe(os.open(report, os.O_WRONLY | os.O_CREAT | os.O_APPEND))
    rule = KillRule(skip=frozenset(skip), share=(share[0], share[1]))
    BoundaryWatcher(pipe, rule, destination).install()
    run = Run(locate(destination))
    request = GenerateRequest(prompt="Repeat: ${body}")
    spec = RunSpec(source, request, "gemini-3.6-flash", key="id", carry=("body",))
    run_id, groups = plan_groups(run, spec, BatchOptions(max_shard_requests=5), groups=3)
    for group in reversed(range(groups)):
        build_group(run, run_id, group)
    pipe.send(built=len(merge_groups(run, run_id).shards))


if __name__ == "__main__":
    main(*json.loads(sys.argv[1]))
