"""``--json``: one document on stdout, with what people read in the table."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_gemini_batch.emulator import Emulator
from tests.integration.cli.conftest import Command, job_names

pytestmark = pytest.mark.integration


def document(gemini_batch: Command, *words: str, code: int = 0) -> Any:
    ended, lines, error = gemini_batch(*words, "--json")
    assert ended == code, error
    return json.loads("\n".join(lines))


def test_jobs(run: str, gemini_batch: Command) -> None:
    listed = document(gemini_batch, "jobs", "list", "--limit", "1")
    shown = document(gemini_batch, "jobs", "show", *job_names(), "batches/absent", code=1)

    assert (listed["total"], len(listed["jobs"])) == (2, 1)
    assert [job.get("requests") for job in shown] == [1, 2, None]
    assert "404" in shown[2]["error"]
    assert document(gemini_batch, "jobs", "delete", job_names()[0])[0]["outcome"] == "deleted"


def test_files(run: str, gemini_batch: Command) -> None:
    listed = document(gemini_batch, "files", "list")
    [own, *_] = [file["name"] for file in listed["files"] if not file["is_output"]]

    assert listed["total"] == len(listed["files"]) == 4
    assert document(gemini_batch, "files", "delete", own) == [{"name": own, "outcome": "deleted"}]


def test_cleanup_names_all(run: str, gemini_batch: Command) -> None:
    report = document(gemini_batch, "cleanup", run, "--older-than", "0s", "--dry-run")

    assert (report["dry_run"], report["runs"]["finished"]) == (True, 1)
    assert report["deleted_jobs"]["count"] == 2


def test_webhooks(emulator: Emulator, gemini_batch: Command) -> None:
    made = document(gemini_batch, "webhooks", "create", "http://127.0.0.1:9/hook")
    listed = document(gemini_batch, "webhooks", "list")

    assert made["secret"].startswith("whsec_")
    assert listed == {"total": 1, "webhooks": [{name: made[name] for name in made if name != "secret"}]}
    assert document(gemini_batch, "webhooks", "rotate", made["id"])["secret"] != made["secret"]
    assert document(gemini_batch, "webhooks", "delete", made["id"]) == {"id": made["id"], "done": "delete"}


def test_status_and_report_and_costs(run: str, gemini_batch: Command) -> None:
    assert document(gemini_batch, "status", run)["state"] == "finished"
    assert document(gemini_batch, "report", run)["bytes"] > 10_000
    assert document(gemini_batch, "costs", run)["total"]["rows"] == 3
    assert document(gemini_batch, "letters", "inspect", run)["letters"] == []
    assert document(gemini_batch, "redrive", run)["results"] == 3
