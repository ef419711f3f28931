"""A build takes no longer than its rows do: nothing on its way imports pandas, which takes longer than many a table."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).parents[3]

PARTS = """
import sys
from airflow_gemini_batch import BatchOptions, EmbedRequest, GenerateRequest
from airflow_gemini_batch.engine.build.building import RunSpec, build_run
from airflow_gemini_batch.engine.build.group_building import build_group
from airflow_gemini_batch.engine.build.merging import merge_groups
from airflow_gemini_batch.engine.build.planning import plan_groups
from airflow_gemini_batch.engine.run.groups import read_plan
from airflow_gemini_batch.engine.run.layout import Run
from airflow_gemini_batch.engine.run.storage import locate

source, destination = sys.argv[1:]
run = Run(locate(destination))
options = BatchOptions()

def spec(request, model="gemini-3.6-flash"):
    return RunSpec(source, request, model, key="id", carry=("lang",))

def in_groups(spec):
    plan_groups(run, spec, options, groups=2)
    plan = read_plan(run)
    for group in range(2):
        build_group(run, plan.run_id, group)
    merge_groups(run, plan.run_id)

SCHEMA = {"type": "object", "properties": {"words": {"type": "array", "items": {"type": "string"}}}}
"""
BUILDS = [
    'build_run(run, spec(GenerateRequest(prompt="${text}")), options)',
    'build_run(run, spec(GenerateRequest(prompt="${text}", response_schema=SCHEMA)), options)',
    'build_run(run, spec(EmbedRequest(text="${text}"), "gemini-embedding-001"), options)',
    'in_groups(spec(GenerateRequest(prompt="${text}")))',
]


@pytest.mark.parametrize("build", BUILDS)
def test_a_build_does_not_import_pandas(build: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(2):  # each text twice in a file, and in both files
        ids = [f"{number}-{row}" for row in range(4)]
        pq.write_table(pa.table({"id": ids, "text": ["a", "a", "b", "b"], "lang": ["de"] * 4}), source / f"{number}.parquet")
    script = f"{PARTS}\n{build}\nassert run.built().shards\nassert 'pandas' not in sys.modules"

    done = subprocess.run(
        [sys.executable, "-c", script, str(source), str(tmp_path / "run")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )

    assert done.returncode == 0, done.stderr
