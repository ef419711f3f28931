"""Scores and judges of a run on an object store: S3's protocol over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow.dataset as ds
import pytest
import s3fs
from moto.server import ThreadedMotoServer

from airflow_gemini_batch.emulator import Emulator
from airflow_gemini_batch.engine.finish.summary import Summary
from airflow_gemini_batch.engine.gemini.client import Endpoint
from airflow_gemini_batch.engine.run.storage import locate
from airflow_gemini_batch.evals import Comparison, ExactMatch, Judge, Scores, compare, load_comparison, score
from tests.integration.evals.conftest import JUDGE_MODEL, OPTIONS, Model, paid

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, Any]]:
    """Storage options for a store of its own."""
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    region = {"region_name": "us-east-1"}
    options = {"endpoint_url": f"http://{host}:{port}", "key": "any", "secret": "any", "client_kwargs": region}
    s3fs.S3FileSystem(**options).call_s3(
        "create_bucket", Bucket="scored"
    )  # of its own: moto's servers in one process share their buckets
    yield options
    server.stop()


def test_two_calls_at_once_pay_once_and_leave_one_set_of_scores(
    answered: Callable[..., Summary], s3: dict[str, Any], emulator: Emulator, endpoint: Endpoint, model: Model
) -> None:
    model.words = lambda prompt: {"explanation": "so", "score": 4} if prompt.startswith("Judge") else None
    run = answered(destination="s3://scored/run", storage_options=s3)
    scorers = [Judge(model=JUDGE_MODEL, rubric="Judge ${text}", scale=(1, 5)), ExactMatch()]

    def call(_: int) -> Scores:
        return score(run, scorers, endpoint=endpoint, options=OPTIONS, storage_options=s3)

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(call, range(2))

    assert first == second
    assert (first["judge"].mean, paid(emulator)) == (4.0, 12)
    place = locate("s3://scored/run/scores/default", skip_instance_cache=True, **s3)
    rows = ds.dataset("scored/run/scores/default", filesystem=place.arrow_fs).to_table().to_pylist()
    assert len({(row["key"], row["scorer"]) for row in rows}) == len(rows) == 24


def test_two_comparisons_at_once_write_one(answered: Callable[..., Summary], s3: dict[str, Any]) -> None:
    wrong = answered(
        name="a", body=lambda row: "other" if row < 3 else f"number {row}", destination="s3://scored/a", storage_options=s3
    )
    right = answered(name="b", destination="s3://scored/b", storage_options=s3)

    def call(_: int) -> Comparison:
        return compare(wrong, right, scorers=ExactMatch(), slices="body", options=OPTIONS, storage_options=s3)

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(call, range(2))

    assert first == second == load_comparison("s3://scored/b", storage_options=s3)
    assert (first["exact_match"].improved, len(first.examples)) == (3, 3)
    place = locate("s3://scored/b/comparisons/default", skip_instance_cache=True, **s3)
    pairs = ds.dataset("scored/b/comparisons/default/pairs-00000.parquet", filesystem=place.arrow_fs).to_table().to_pylist()
    assert len({row["key"] for row in pairs}) == len(pairs) == 12
    names = {file.name for file in place.children()} - {"_claims"}
    assert names == {"comparison.json", "pairs-00000.parquet", "report.html"}
