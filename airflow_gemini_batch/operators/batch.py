"""The whole trip as one task: a table goes in, two tables come out, and the worker slot is free while the jobs run.

The task keeps nothing in its own memory. Each leg asks the engine to take the run as far as it will go, and defers when there is
nothing left but to wait; so a leg may be repeated, by a retry, a cleared task or after a crash, at any point.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from airflow_gemini_batch.engine.errors import GeminiBatchError, RefusedError
from airflow_gemini_batch.engine.requests import RequestSpec
from airflow_gemini_batch.failures import told_to_airflow
from airflow_gemini_batch.links import GeminiBatchRunLink
from airflow_gemini_batch.operators.base import DEFAULT_POLL_INTERVAL, DEFAULT_TIMEOUT, AskingOperator, owner_of

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_gemini_batch.engine.advance import Policy
    from airflow_gemini_batch.engine.client import GeminiClient
    from airflow_gemini_batch.engine.runs import Run


class GeminiBatchOperator(AskingOperator):
    """Send a table through the Gemini Batch API and write ``results`` and ``dead_letter`` at the destination.

    The task may be retried, cleared or killed at any time: it goes on where it stopped, and pays for nothing twice. It returns
    the summary as a plain dict.

    :param source: The input table: a URI of Parquet, CSV or JSON Lines (file, folder, glob) or a list of them, an
        ``ObjectStoragePath``, a pandas DataFrame or an Arrow table; the last two come best from an upstream task's ``.output``.
        (templated)
    :param request: What to ask for each row: a ``GenerateRequest`` (its ``prompt`` and ``system_instruction`` are templated), a
        ``RawRequest``, or a function that makes a REST request of a row given as dict.
    :param model: The model's name, such as ``gemini-3.6-flash``. (templated)
    :param destination: URI of the folder that receives the run. It must stay the same over the tries of one task instance, and
        differ between runs. (templated)
    :param key: The column that tells rows apart. Default: the row's number. (templated)
    :param carry: Input columns repeated in both tables. Default: none.
    :param max_shard_bytes: Size of one request file at most. Default: somewhat under the service's limit of 2 GB.
    :param max_shard_requests: Requests in one job at most. Default: the engine's.
    :param max_active_jobs: Jobs of this task in flight at once. Default: 20; the service allows a project 100.
    :param max_dead_letter_ratio: From 0 to 1; above it the task fails, after everything has been written. Default: 1.0, never.
    :param keep_response: Whether ``results`` keeps each raw answer. Default: True.
    :param if_exists: What to do when the destination holds a run: ``resume`` the same one (default) and fail at another one, or
        ``replace`` it. The run that this task instance has begun itself is resumed either way.
    :param timeout: How long one try waits in all before it fails, without a retry. Default: 48 hours.
    :param poll_interval: Seconds between two looks at the jobs. Default: 30.
    :param deferrable: Whether to wait in the triggerer (default) or in the worker slot.
    :param cancel_on_timeout: Whether to cancel the jobs at the timeout. Default: False; they run on, and a cleared task goes on
        waiting for them.
    :param cancel_on_kill: Whether to cancel the jobs when a user clears the task or sets its state. While deferred this needs
        Airflow 3.3. Rows of a cancelled job without an answer become dead letters of reason ``JOB_CANCELLED`` when the task
        runs again. Default: True.
    :param gemini_conn_id: The connection's id. Default: ``gemini_default``. (templated)

    Raises AirflowFailException, which ends the task without retries, for what a retry cannot mend: input or destination that
    cannot be used, a wrong key, a refused request, the timeout, too many dead letters. Outages that outlast the patience of one
    request end in errors that Airflow may retry.
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
        max_dead_letter_ratio: float = 1.0,
        keep_response: bool = True,
        if_exists: Literal["resume", "replace"] = "resume",
        timeout: timedelta = DEFAULT_TIMEOUT,
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
        self.max_dead_letter_ratio = max_dead_letter_ratio
        self.keep_response = keep_response
        self.timeout = timeout
        self.poll_interval = poll_interval
        self.deferrable = deferrable
        self.cancel_on_timeout = cancel_on_timeout
        self.cancel_on_kill = cancel_on_kill

    def execute(self, context: Context) -> dict[str, Any]:
        from airflow_gemini_batch.engine.building import build_run
        from airflow_gemini_batch.engine.trip import drive

        deadline = time.time() + self.timeout.total_seconds()
        with told_to_airflow(), self.connect() as client:
            run, policy = self.run_here, self._policy
            build_run(run, self.question, if_exists=self.if_exists, owner=owner_of(context), client=client)
            if not self.deferrable:
                return drive(run, client, policy, deadline=deadline, poll_interval=self.poll_interval).as_dict()
            return self._go_on(run, client, deadline)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Go on after a wait.

        :param event: The trigger's. It brings what this leg must know of the ones before.
        """
        from airflow_gemini_batch.engine.trip import give_up

        with told_to_airflow(), self.connect() as client:
            match event["why"]:
                case "error":
                    raise RefusedError(event["message"])
                case "timeout":
                    raise give_up(self.run_here, client, self._policy)
            return self._go_on(self.run_here, client, event["deadline"], event["refusals"])

    def on_kill(self) -> None:
        """Cancel what runs, as far as the ledger knows it. Airflow gives this about five seconds."""
        if not self.cancel_on_kill:
            return
        from airflow_gemini_batch.engine.flight import cancel_run

        try:
            with self.connect() as client:
                cancel_run(self.run_here, client, why="killed")
        except GeminiBatchError as error:  # inside a signal handler there is nobody to raise it to
            self.log.warning("%s What runs may run on and be billed.", error)

    @property
    def _policy(self) -> Policy:
        from airflow_gemini_batch.engine.advance import MAX_ACTIVE_JOBS, Policy

        return Policy(
            max_active_jobs=MAX_ACTIVE_JOBS if self.max_active_jobs is None else self.max_active_jobs,
            max_dead_letter_ratio=self.max_dead_letter_ratio,
            keep_response=self.keep_response,
            cancel_on_timeout=self.cancel_on_timeout,
        )

    def _go_on(self, run: Run, client: GeminiClient, deadline: float, refusals: int = 0) -> dict[str, Any]:
        """Take the run as far as it will go now; return its summary or defer."""
        from airflow_gemini_batch.engine.advance import Waiting, advance

        state = advance(run, client, self._policy, refusals=refusals)
        if not isinstance(state, Waiting):
            return state.as_dict()
        self.wait_in_triggerer(
            jobs=state.jobs,
            poll_interval=self.poll_interval,
            deadline=state.until(deadline, now=time.time()),
            wake_at=None if state.retry_in is None else time.time() + state.retry_in,
            refusals=state.refusals,
            cancel_on_kill=self.cancel_on_kill,
        )
