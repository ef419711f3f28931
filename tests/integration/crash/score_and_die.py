"""A process that scores a run with a judge, and kills itself where it is told to: ``KillRule`` as JSON in the arguments."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))

from crashing.boundaries import BoundaryWatcher, KillRule
from crashing.child_process import ReportPipe
from crashing.short_waits import shorten_waits

from airflow_gemini_batch.engine.gemini.client import Endpoint
from airflow_gemini_batch.evals import ExactMatch, Judge, score

OPTIONS = {"poll_interval": 0.1, "claim_lease": 3.0, "listing_lag": 1.0, "max_shard_requests": 10}


def main(destination: str, url: str, report: str, skip: list[str], share: list[int]) -> None:
    shorten_waits()
    pipe = ReportPipe(os.open(report, os.O_WRONLY | os.O_CREAT | os.O_APPEND))
    rule = KillRule(skip=frozenset(skip), share=(share[0], share[1]))
    BoundaryWatcher(pipe, rule, destination).install()
    judge = Judge(model="gemini-2.5-flash", rubric="Judge ${text} for ${body}", scale=(1, 5))
    endpoint = Endpoint(api_key="AIzaAnyKey", base_url=url, request_timeout=2.0)
    scores = score(destination, [judge, ExactMatch(expected="body")], endpoint=endpoint, options=OPTIONS)
    pipe.send(scored=scores["judge"].scored)


if __name__ == "__main__":
    main(*json.loads(sys.argv[1]))
