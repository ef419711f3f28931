"""A Parquet table becomes request files.

The samples do it with a loop and ``json.dumps``. DuckDB and polars write the same lines without checked keys,
fingerprints, the index of equal requests, the inputs file and an fsync.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

Work = Callable[[], object]


def samples(folder: Path) -> Work:
    import json
    import os

    import pandas as pd
    import pyarrow.parquet  # noqa: F401  # what pandas reads Parquet with

    def work() -> None:
        frame = pd.read_parquet(folder / "table.parquet")
        with open(folder / "samples.jsonl", "w") as file:
            for row in frame.itertuples():
                request = {
                    "contents": [{"parts": [{"text": f"Summarise in {row.lang}: {row.text}"}], "role": "user"}],
                    "generation_config": {"temperature": 0.2},
                }
                file.write(json.dumps({"key": row.id, "request": request}) + "\n")
            file.flush()
            os.fsync(file.fileno())

    return work


def duckdb(folder: Path, threads: int = 1) -> Work:
    import duckdb

    query = f"""
        COPY (
            SELECT id AS key, {{
                'contents': [{{'parts': [{{'text': 'Summarise in ' || lang || ': ' || text}}], 'role': 'user'}}],
                'generation_config': {{'temperature': 0.2}}
            }} AS request FROM '{folder / "table.parquet"}'
        ) TO '{folder / "duckdb.jsonl"}' (FORMAT json)
    """  # noqa: S608  # nobody else's text is in it

    def work() -> None:
        with duckdb.connect(config={"threads": threads}) as database:
            database.execute(query)

    return work


def polars(folder: Path) -> Work:
    import polars as pl

    def work() -> None:
        text = pl.format("Summarise in {}: {}", "lang", "text").alias("text")
        parts = pl.concat_list(pl.struct(text)).alias("parts")
        content = pl.struct(parts, pl.lit("user").alias("role"))
        config = pl.struct(pl.lit(0.2).alias("temperature")).alias("generation_config")
        request = pl.struct(pl.concat_list(content).alias("contents"), config).alias("request")
        pl.scan_parquet(folder / "table.parquet").select(pl.col("id").alias("key"), request).sink_ndjson(folder / "polars.jsonl")

    return work


def ours(folder: Path) -> Work:
    from benching.tables import build

    return lambda: build(folder / "table.parquet", folder / "built")


def builder(folder: Path, part: int, parts: int) -> Work:
    """One of several builders of one run, each of its own files; the first one merges what all have built."""
    from airflow_gemini_batch.engine.build.group_building import build_group
    from airflow_gemini_batch.engine.build.merging import merge_groups
    from airflow_gemini_batch.engine.build.planning import plan_groups
    from airflow_gemini_batch.engine.run.groups import GroupFiles, read_plan
    from airflow_gemini_batch.engine.run.layout import Run
    from airflow_gemini_batch.engine.run.storage import locate
    from benching.tables import OPTIONS, run_spec

    run = Run(locate(str(folder / "built")))
    if part == 0:
        plan_groups(run, run_spec(f"{folder}/halves/*.parquet"), OPTIONS, groups=parts)
    while (plan := read_plan(run)) is None:
        time.sleep(0.01)
    run_id = plan.run_id

    def work() -> None:
        build_group(run, run_id, part)
        if part == 0:
            files = GroupFiles(run, run_id)
            while any(files.built(group) is None for group in range(parts)):
                time.sleep(0.01)
            merge_groups(run, run_id)

    return work
