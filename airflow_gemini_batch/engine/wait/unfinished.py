"""What an unfinished run waits for."""

from __future__ import annotations

from dataclasses import dataclass, field

from airflow_gemini_batch.engine.gemini.jobs import Job
from airflow_gemini_batch.engine.wait.progress import Standing


@dataclass(frozen=True, slots=True)
class Waiting:
    """What an unfinished run waits for.

    :param jobs: names of the jobs in flight, and of the ``late``.
    :param retry_in: seconds until there is something to do other than wait for them: a submission that was refused for quota,
        an output that could not be had, a job that may be stuck by then.
    :param refusals: how often in a row a submission has been refused for quota, or not answered.
    :param done: shards that have been collected, of ``shards``.
    :param only_collecting: whether nothing is left but outputs that the service has not given yet.
    :param late: jobs that have ended well and have not named their output.
    :param standing: how far the run is, without what the jobs have done so far.
    :param seen: the jobs as this pass has seen them, those that it has just created left out.
    """

    jobs: tuple[str, ...]
    retry_in: float | None = None
    refusals: int = 0
    done: int = 0
    shards: int = 0
    only_collecting: bool = False
    late: tuple[str, ...] = ()
    standing: Standing = field(default_factory=Standing)
    seen: tuple[Job, ...] = ()

    def until(self, deadline: float, *, now: float) -> float:
        """When to give up waiting. Outputs that have been paid for have a timeout of their own, which ``advance`` keeps."""
        return max(deadline, now + 2 * (self.retry_in or 0.0)) if self.only_collecting else deadline
