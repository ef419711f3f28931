"""The whole trip as one task: a table goes in, two tables come out, and the worker slot is free while the jobs run.

The task keeps nothing in its own memory. Each leg asks the engine to take the run as far as it will go, and defers when there is
nothing left but to wait; so a leg may be repeated, by a retry, a cleared task or after a crash, at any point.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from airflow_gemini_batch.engine.errors import RefusedError
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.specs import RequestSpec
from airflow_gemini_batch.links import GeminiBatchRunLink
from airflow_gemini_batch.operators.base import (
    DEFAULT_COLLECT_TIMEOUT,
    DEFAULT_POLL_INTERVAL,
    DEFAULT_TIMEOUT,
    AskingOperator,
    owner_of,
)

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_gemini_batch.engine.gemini.client import GeminiClient
    from airflow_gemini_batch.engine.run.layout import Run


class GeminiBatchOperator(AskingOperator):
    """Send a table through the Gemini Batch API and write ``results`` and ``dead_letter`` at the destination.

    The task may be retried, cleared or killed at any time: it goes on where it stopped, and pays for nothing twice. It returns
    the summary as a plain dict.

    :param source: The input table: a URI of Parquet, CSV or JSON Lines (file, folder, glob) or a list of them, an
        ``ObjectStoragePath``, a pandas DataFrame or an Arrow table; the last two come best from an upstream task's ``.output``.
        (templated)
    :param request: What to ask for each row: a ``GenerateRequest`` (its ``prompt`` and ``system_instruction`` are templated), an
        ``EmbedRequest`` (its ``text`` is templated), a ``RawRequest``, or a function that makes a REST request of a row given as
        dict.
    :param model: The model's name, such as ``gemini-3.6-flash``. (templated)
    :param destination: URI of the folder that receives the run. It must stay the same over the tries of one task instance, and
        differ between runs. (templated)
    :param key: The column that tells rows apart. Default: the row's number. (templated)
    :param carry: Input columns repeated in both tables. Default: none.
    :param max_shard_bytes: Size of one request file at most. Default: somewhat under the service's limit of 2 GB.
    :param max_shard_requests: Requests in one job at most. Default: the engine's.
    :param max_active_jobs: Jobs of this task in flight at once. Default: 20; the service allows a project 100.
    :param max_redrives: How often a row whose dead letter is retryable is sent again, in a job of its own within the same run.
        Default: 1. What a job left undone that we cancelled ourselves goes again without being counted.
    :param redrive_max_output_tokens: The limit of output tokens for rows that are sent again; with it, truncated answers are
        worth sending again. Default: None, they are not.
    :param resubmit_stuck_after: A job without any progress for so long is cancelled, and what it left undone is sent again as
        two smaller jobs, once it has ended. Default: None, never.
    :param resubmit_lost: Whether rows are sent again, and paid again, when the service does not find their job or its output
        any more, or does not give it in all of ``collect_timeout``. Default: False, the task fails: the job may run on, visible
        to another key only.
    :param max_dead_letter_ratio: From 0 to 1; above it the task fails, after everything has been written. Default: 1.0, never.
    :param keep_response: Whether ``results`` keeps each raw answer. Default: True.
    :param media_to: Where images in answers go: into the ``media`` ``column`` (default), or into ``files`` beside the tables.
    :param if_exists: What to do when the destination holds a run: ``resume`` the same one (default) and fail at another one, or
        ``replace`` it. The run that this task instance has begun itself is resumed either way.
    :param timeout: How long one try waits for its jobs before it fails, without a retry. Default: 48 hours.
    :param collect_timeout: How long to go on asking for the output of a job that has ended well, which may outlast ``timeout``.
        Default: 12 hours; the service keeps an output for about 48.
    :param transport: How requests reach the service: by ``file`` (default), ``inline`` in the create call, or ``auto``: inline
        where a shard is small.
    :param poll_interval: Seconds between two looks at the jobs. Default: 30.
    :param deferrable: Whether to wait in the triggerer (default) or in the worker slot.
    :param cancel_on_timeout: Whether to cancel the jobs at the timeout, or at Airflow's own ``execution_timeout``. Default:
        False; they run on, and a cleared task goes on waiting for them.
    :param cancel_on_kill: Whether to cancel the jobs when a user clears the task or sets its state, or its worker is shut down.
        While deferred this needs Airflow 3.3, and a triggerer that has begun to watch, which takes it some seconds: before, the
        jobs run on. When the task runs again, it keeps what the cancelled jobs had done and sends the rest again. Default: True.
    :param gemini_conn_id: The connection's id. Default: ``gemini_default``. (templated)

    Raises AirflowFailException, which ends the task without retries, for what a retry cannot mend: input or destination that
    cannot be used, a wrong key, a refused request, the timeout, too many dead letters. An outage before the first wait ends in an
    error that Airflow may retry; a later one is waited out.
    """

    operator_extra_links = (GeminiBatchRunLink(),)

    def __init__(
        self,
        *,
        source: Any,
        request: RequestSpec,
        model: str,
        destination: Any,
        key: str | None = None,
        carry: Sequence[str] = (),
        max_shard_bytes: int | None = None,
        max_shard_requests: int | None = None,
        max_active_jobs: int | None = None,
        max_redrives: int = 1,
        redrive_max_output_tokens: int | None = None,
        resubmit_stuck_after: timedelta | None = None,
        resubmit_lost: bool = False,
        max_dead_letter_ratio: float = 1.0,
        keep_response: bool = True,
        media_to: Literal["column", "files"] = "column",
        if_exists: Literal["resume", "replace"] = "resume",
        timeout: timedelta = DEFAULT_TIMEOUT,
        collect_timeout: timedelta = DEFAULT_COLLECT_TIMEOUT,
        transport: Literal["file", "inline", "auto"] = "file",
        poll_interval: float = DEFAULT_POLL_INTERVAL,
        deferrable: bool = True,
        cancel_on_timeout: bool = False,
        cancel_on_kill: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            source=source,
            request=request,
            model=model,
            destination=destination,
            key=key,
            carry=carry,
            max_shard_bytes=max_shard_bytes,
            max_shard_requests=max_shard_requests,
            if_exists=if_exists,
            **kwargs,
        )
        self.max_active_jobs = max_active_jobs
        self.max_redrives = max_redrives
        self.redrive_max_output_tokens = redrive_max_output_tokens
        self.resubmit_stuck_after = resubmit_stuck_after
        self.resubmit_lost = resubmit_lost
        self.max_dead_letter_ratio = max_dead_letter_ratio
        self.keep_response = keep_response
        self.media_to = media_to
        self.timeout = timeout
        self.collect_timeout = collect_timeout
        self.transport = transport
        self.poll_interval = poll_interval
        self.deferrable = deferrable
        self.cancel_on_timeout = cancel_on_timeout
        self.cancel_on_kill = cancel_on_kill

    def execute(self, context: Context) -> dict[str, Any]:
        from airflow_gemini_batch.engine.api import drive
        from airflow_gemini_batch.engine.build.building import build_run

        deadline = time.time() + self.timeout.total_seconds()
        with self.one_pass(), self.connect() as client:
            run, policy = self.run_here, self._policy
            build_run(run, self.question, policy, if_exists=self.if_exists, owner=owner_of(context), client=client)
            if not self.deferrable:
                return drive(run, client, policy, deadline=deadline).as_dict()
            return self._go_on(run, client, deadline)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Go on after a wait.

        :param event: The trigger's. It brings what this leg must know of the ones before.
        """
        from airflow_gemini_batch.engine.api import give_up

        with self.one_pass(), self.connect() as client:
            match event["why"]:
                case "error":
                    raise RefusedError(event["message"])
                case "timeout":
                    raise give_up(self.run_here, client, self._policy)
            return self._go_on(self.run_here, client, event["deadline"], event["refusals"], patient=True)

    def cancel_jobs(self, why: str) -> None:
        """Cancel what runs. Airflow gives a killed task about five seconds."""
        from airflow_gemini_batch.engine.wait.in_flight import cancel_run

        if self.cancel_on_timeout if why == "timeout" else self.cancel_on_kill:
            with self.connect() as client:
                cancel_run(self.run_here, client, why=why)

    @property
    def _policy(self) -> BatchOptions:
        return dataclasses.replace(
            self.shard_options,
            max_active_jobs=BatchOptions().max_active_jobs if self.max_active_jobs is None else self.max_active_jobs,
            poll_interval=self.poll_interval,
            timeout=self.timeout,
            max_dead_letter_ratio=self.max_dead_letter_ratio,
            keep_response=self.keep_response,
            media_to=self.media_to,
            cancel_on_timeout=self.cancel_on_timeout,
            max_redrives=self.max_redrives,
            redrive_max_output_tokens=self.redrive_max_output_tokens,
            resubmit_stuck_after=self.resubmit_stuck_after,
            resubmit_lost=self.resubmit_lost,
            collect_timeout=self.collect_timeout,
            transport=self.transport,
        )

    def _go_on(
        self, run: Run, client: GeminiClient, deadline: float, refusals: int = 0, *, patient: bool = False
    ) -> dict[str, Any]:
        """Take the run as far as it will go now; return its summary or defer."""
        from airflow_gemini_batch.engine.advance import Waiting, advance

        state = advance(run, client, self._policy, refusals=refusals, patient=patient)
        if not isinstance(state, Waiting):
            return state.as_dict()
        self.wait_in_triggerer(
            jobs=state.jobs,
            late=state.late,
            poll_interval=self.poll_interval,
            deadline=deadline,
            until=state.until(deadline, now=time.time()),
            wake_at=None if state.retry_in is None else time.time() + state.retry_in,
            refusals=state.refusals,
            cancel_on_kill=self.cancel_on_kill,
            destination=run.destination.uri,
        )
