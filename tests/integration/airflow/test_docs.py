"""The snippets of the pages about tasks run unchanged: each page is a DAG file, and its DAGs succeed."""

from __future__ import annotations

import contextlib
import datetime as dt
import importlib.util
import re
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from airflow.sdk import DAG

from airflow_gemini_batch.emulator import Emulator, RowFault
from airflow_gemini_batch.engine.api import drive, run_batch
from airflow_gemini_batch.engine.gemini.client import Endpoint
from airflow_gemini_batch.engine.specs import GenerateRequest
from tests.doc_snippets import DOCS
from tests.integration.airflow.conftest import KEY, MODEL, table

#: The bucket in the pages, replaced by a local folder.
BUCKET = "s3://bucket"

#: Checking every 30 seconds is right for jobs that take hours, but too slow for tests.
_SHORT_WAITS = (
    ("@task.gemini_batch(", "@task.gemini_batch(options={'poll_interval': 0.2}, "),
    ("poll_interval=10", "poll_interval=0.2"),
)


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[Emulator]:
    with Emulator(tmp_path / "service", pending_seconds=0, running_seconds=0) as emulator:
        yield emulator


@pytest.fixture
def a_finished_run(emulator: Emulator, tmp_path: Path) -> None:
    run_batch(
        table(2),
        GenerateRequest(prompt="${body}"),
        model=MODEL,
        destination=str(tmp_path / "bucket" / "runs" / "first"),
        options={"poll_interval": 0.1},
        endpoint=Endpoint(api_key=KEY, base_url=emulator.url),
    )


@contextlib.contextmanager
def dag_file_of(page: str, bucket: Path, *changes: tuple[str, str]) -> Iterator[ModuleType]:
    from airflow.configuration import conf

    snippets = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)
    file = Path(conf.get("core", "dags_folder")) / f"{page.removesuffix('.md').replace('-', '_')}_of_the_docs.py"
    content = "\n".join(snippets).replace(BUCKET, f"file://{bucket}")
    for long, short in (*_SHORT_WAITS, *changes):
        content = content.replace(long, short)
    file.write_text(content)
    try:
        spec = importlib.util.spec_from_file_location(file.stem, file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module
    finally:
        file.unlink()


@pytest.mark.usefixtures("airflow_db", "connect", "a_finished_run")
@pytest.mark.parametrize("page", ["managing.md", "task-decorator.md", "common-ai.md", "mapping.md"])
def test_the_dags_of_a_page_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if page == "common-ai.md":
        operator = pytest.importorskip("airflow.providers.common.ai.operators.llm_batch", reason="needs Python 3.11")
        # It waits a minute between two checks.
        monkeypatch.setattr(operator, "time", SimpleNamespace(time=time.time, sleep=lambda _: time.sleep(0.2)))

    with dag_file_of(page, tmp_path / "bucket") as module:
        dags = [value for value in vars(module).values() if isinstance(value, DAG)]
        states = {dag.dag_id: str(dag.test().state) for dag in dags}

        assert states
        assert set(states.values()) == {"success"}, states


@pytest.mark.usefixtures("airflow_db", "connect")
def test_the_page_about_resuming_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, emulator: Emulator) -> None:
    monkeypatch.setenv("GOOGLE_API_KEY", KEY)
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", emulator.url)
    bucket, request = tmp_path / "bucket", GenerateRequest(prompt="${body}")
    emulator.faults.add(RowFault(do="missing", keys=("0",), count=1))
    options = {"poll_interval": 0.1, "max_redrives": 0}
    run_batch(table(2), request, model=MODEL, destination=str(bucket / "runs" / "2026-11-25"), options=options)
    (bucket / "reviews").mkdir()
    pq.write_table(pa.table({"id": ["a", "b"], "text": ["good", "bad"]}), bucket / "reviews" / "2026-01-01.parquet")
    emulator.faults.add(RowFault(do="max_tokens", keys=("b",), display_name="attempt 0"))
    monkeypatch.setitem(drive.__kwdefaults__, "sleep", lambda seconds: time.sleep(min(seconds, 0.1)))
    soon = 'options={"poll_interval": 0.2, '
    changes = (('key="id",', f'key="id", {soon}}},'), ('options={"redrive', f'{soon}"redrive'))

    with dag_file_of("resuming.md", bucket, *changes) as module:
        ran = module.dag.test(logical_date=dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc))

    assert module.summary.results == 2
    assert str(ran.state) == "success"
    assert pq.read_table(bucket / "summaries" / "2026-01-01" / "results").num_rows == 2
    assert len(emulator.journal("create")) == 4
