"""What a new run finds at its destination and is not a run to be resumed: it is removed where that was asked for, or refused."""

from __future__ import annotations

import logging

from airflow_gemini_batch.engine.errors import CorruptRunError, DestinationError, ServiceError
from airflow_gemini_batch.engine.gemini.client import GeminiClient
from airflow_gemini_batch.engine.run.cancellation import cancel_run
from airflow_gemini_batch.engine.run.layout import Run, judge_folders

log = logging.getLogger(__name__)


def discard_run(run: Run, client: GeminiClient | None) -> None:
    """Remove a run, even a corrupt one, with its scores and comparisons. Its running jobs are cancelled first, and those of the
    judges of its scores, so that none continues unnoticed."""
    if client is not None:
        judges = (Run(folder, run.locate) for judge in judge_folders(run) for folder in judge.folders())
        for one in (run, *judges):
            try:
                cancel_run(one, client, why="replaced")
            except (CorruptRunError, ServiceError) as error:
                log.warning("%s Jobs of the replaced run may continue and be billed.", error)
    # The manifest is deleted last: while it exists, a crash in between leaves something that is still recognised as a run.
    run.summary_file.delete()
    run.summary_page.delete()
    for folder in ("results", "results_media", "dead_letter", "scores", "comparisons", "_run"):
        (run.destination / folder).delete()


def require_empty(run: Run) -> None:
    for folder in ("results", "dead_letter"):
        found = (run.destination / folder).children()
        if found:
            raise DestinationError(
                f"{run.destination} holds {found[0]} but no manifest: it is not a run that can be resumed. "
                "Choose another destination, or pass if_exists='replace' to delete those tables."
            )
