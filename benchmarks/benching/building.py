"""A Parquet table becomes request files.

The samples do it with a loop and ``json.dumps``. DuckDB and polars write the same lines without checked keys,
fingerprints, the index of equal requests, the inputs file and an fsync.
"""

from __future__ import annotations

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
