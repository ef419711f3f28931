"""Files whose rows are built in groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from airflow_gemini_batch.engine.api import run_batch
from airflow_gemini_batch.engine.build.call import RunSpec
from airflow_gemini_batch.engine.build.group_building import build_group
from airflow_gemini_batch.engine.build.merging import merge_groups
from airflow_gemini_batch.engine.build.planning import plan_groups
from airflow_gemini_batch.engine.finish.summary import Summary
from airflow_gemini_batch.engine.gemini.client import Endpoint
from airflow_gemini_batch.engine.run.layout import Manifest, Run
from airflow_gemini_batch.engine.run.storage import locate
from airflow_gemini_batch.engine.specs import GenerateRequest
from tests.integration.engine.conftest import MODEL, SHORT_WAITS

REQUEST = GenerateRequest(prompt="Repeat: ${body}")
PRICES = {MODEL: {"input": 0.5, "output": 2.0}}
OPTIONS = replace(SHORT_WAITS, prices=PRICES)


def write_files(folder: Path, tables: Sequence[pa.Table]) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    for number, table in enumerate(tables):
        pq.write_table(table, folder / f"{number:03}.parquet")
    return str(folder)


def rows(bodies: Sequence[str | None], first: int = 0) -> pa.Table:
    numbers = range(first, first + len(bodies))
    return pa.table(
        {"id": [f"k{n}" for n in numbers], "body": pa.array(bodies, pa.string()), "row": pa.array(numbers, pa.int64())}
    )


def files_of(bodies: Sequence[Sequence[str | None]]) -> list[pa.Table]:
    tables, first = [], 0
    for of_file in bodies:
        tables.append(rows(of_file, first))
        first += len(of_file)
    return tables


def question(source: Any, **given: Any) -> RunSpec:
    return RunSpec(**{"source": source, "request": REQUEST, "model": MODEL, "key": "id", "carry": ("row",), **given})


def here(folder: Path) -> Run:
    return Run(locate(str(folder)))


def built_in_groups(run: Run, spec: RunSpec, groups: int, order: Callable[[list[int]], list[int]] = list) -> Manifest:
    run_id, count = plan_groups(run, spec, OPTIONS, groups=groups)
    for group in order(list(range(count))):
        build_group(run, run_id, group)
    return merge_groups(run, run_id)


def finishing(endpoint: Endpoint) -> Callable[..., Summary]:
    """What carries a built run through."""

    def call(run: Run, spec: RunSpec, **options: Any) -> Summary:
        return run_batch(
            spec.source, spec.request, model=spec.model, destination=run.destination.path, key=spec.key, carry=spec.carry,
            dedupe=spec.dedupe, repeats=spec.repeats, reuse=list(spec.reuse), max_cost_usd=spec.max_cost_usd,
            options=replace(OPTIONS, **options), endpoint=endpoint,
        )  # fmt: skip

    return call
