"""A process that compares two runs, and kills itself where it is told to: ``KillRule`` as JSON in the arguments."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))

from crashing.boundaries import BoundaryWatcher, KillRule
from crashing.child_process import ReportPipe

from airflow_gemini_batch.evals import compare


def main(baseline: str, candidate: str, report: str, skip: list[str]) -> None:
    pipe = ReportPipe(os.open(report, os.O_WRONLY | os.O_CREAT | os.O_APPEND))
    BoundaryWatcher(pipe, KillRule(skip=frozenset(skip)), candidate).install()
    found = compare(baseline, candidate, slices="body", margin=0.1, options={"claim_lease": 3.0})
    pipe.send(compared=found.keys.paired)


if __name__ == "__main__":
    main(*json.loads(sys.argv[1]))
