"""Output files of jobs become Parquet: texts, structured answers or embeddings, with the raw answer beside them.

The samples decode each file whole, split it and ``json.loads`` each line. DuckDB and polars make the same columns without the
join with the rows, the check that each row is answered once, the reasons of refusals and the costs; polars keeps the raw line.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Work = Callable[[], object]


def samples(folder: Path, kind: str) -> Work:
    import pandas as pd
    import pyarrow.parquet  # noqa: F401  # what pandas writes Parquet with

    from benching.tables import outputs

    def work() -> None:
        for path in outputs(folder):
            rows = [_sample(json.loads(line), kind) for line in path.read_bytes().decode().split("\n") if line]
            pd.DataFrame(rows).to_parquet(folder / f"samples-{path.stem}.parquet", compression="zstd")

    return work


def _sample(read: dict[str, Any], kind: str) -> dict[str, Any]:
    response = read["response"]
    if kind == "embeddings":
        return {"key": read["key"], "embedding": response["embedding"]["values"], "response": json.dumps(response)}
    candidate, usage = response["candidates"][0], response["usageMetadata"]
    text = candidate["content"]["parts"][0]["text"]
    row = {"key": read["key"], "text": text, **usage, "finish_reason": candidate["finishReason"]}
    if kind == "structured":
        try:
            row["parsed"] = json.loads(text)
        except ValueError:
            row["parsed"] = None
    return {**row, "response": json.dumps(response)}


#: As DuckDB writes the column that only one kind of answer has.
_DUCKDB_COLUMNS = {
    "text": "",
    "structured": (
        'CASE WHEN json_valid(text) THEN from_json(text, \'{"sentiment":"VARCHAR","score":"DOUBLE",'
        '"topics":["VARCHAR"],"summary":"VARCHAR"}\') END AS parsed,'
    ),
}


def duckdb(folder: Path, kind: str) -> Work:
    import duckdb

    if kind == "embeddings":
        columns = "(response->'embedding'->'values')::FLOAT[768] AS embedding"
    else:
        columns = f"{_DUCKDB_COLUMNS[kind]} text, finish_reason, prompt_tokens, output_tokens, total_tokens"
    query = f"""
        COPY (
            SELECT key, {columns}, response::VARCHAR AS response FROM (
                SELECT key, response,
                    response->'candidates'->0->'content'->'parts'->0->>'text' AS text,
                    response->'candidates'->0->>'finishReason' AS finish_reason,
                    (response->'usageMetadata'->'promptTokenCount')::BIGINT AS prompt_tokens,
                    (response->'usageMetadata'->'candidatesTokenCount')::BIGINT AS output_tokens,
                    (response->'usageMetadata'->'totalTokenCount')::BIGINT AS total_tokens
                FROM read_json('{folder}/run/_run/responses/shard-*.jsonl', format='newline_delimited',
                    columns={{key: 'VARCHAR', response: 'JSON'}})
            )
        ) TO '{folder}/duckdb.parquet' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)
    """  # noqa: S608  # nobody else's text is in it

    def work() -> None:
        with duckdb.connect(config={"threads": 2}) as database:
            database.execute(query)

    return work


def polars(folder: Path, kind: str) -> Work:
    import polars as pl

    usage = pl.Struct({"promptTokenCount": pl.Int64, "candidatesTokenCount": pl.Int64, "totalTokenCount": pl.Int64})
    content = pl.Struct({"parts": pl.List(pl.Struct({"text": pl.String}))})
    candidates = pl.List(pl.Struct({"content": content, "finishReason": pl.String}))
    response = {"candidates": candidates, "usageMetadata": usage}
    if kind == "embeddings":
        response = {"embedding": pl.Struct({"values": pl.List(pl.Float32)})}
    line = pl.Struct({"key": pl.String, "response": pl.Struct(response)})
    read = pl.col("line").str.json_decode(line)
    found = read.struct.field("response")
    columns = [read.struct.field("key"), pl.col("line").alias("response")]
    if kind == "embeddings":
        columns.append(found.struct.field("embedding").struct.field("values").list.to_array(768).alias("embedding"))
    else:
        candidate = found.struct.field("candidates").list.first()
        text = candidate.struct.field("content").struct.field("parts").list.first().struct.field("text")
        counts = [found.struct.field("usageMetadata").struct.field(field.name) for field in usage.fields]
        columns += [text, candidate.struct.field("finishReason"), *counts]

    def work() -> None:
        lines = pl.scan_lines(f"{folder}/run/_run/responses/shard-*.jsonl", name="line")
        lines.select(columns).sink_parquet(folder / "polars.parquet", compression="zstd", compression_level=1)

    return work


def ours(folder: Path, part: int = 0, parts: int = 1) -> Work:
    from airflow_gemini_batch.engine.collect.land import Ending, land
    from airflow_gemini_batch.engine.run.layout import Run
    from airflow_gemini_batch.engine.run.storage import locate
    from benching.tables import shards_of

    run = Run(locate(str(folder / "run")))

    def work() -> None:
        for shard in shards_of(run, part, parts):
            land(run, shard, Ending(job="batches/one"))

    return work
