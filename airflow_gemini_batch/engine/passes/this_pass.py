"""What both halves of a pass work with."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_gemini_batch.engine.build.budget import Budget
from airflow_gemini_batch.engine.gemini.client import GeminiClient
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.run.layout import Run
from airflow_gemini_batch.engine.run.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Pass:
    """Nothing in it changes but what the snapshot remembers.

    :param patient: whether an outage is waited out.
    :param budget: None: the run has no limit.
    """

    run: Run
    client: GeminiClient
    options: BatchOptions
    snapshot: Snapshot
    patient: bool
    budget: Budget | None = None
