"""Waiting for one job, as a sensor: in the triggerer, or in a worker slot with Airflow's own poke and reschedule modes."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec
from airflow.sdk import BaseSensorOperator, PokeReturnValue

from airflow_gemini_batch._compat import AirflowSensorTimeout
from airflow_gemini_batch._errors import as_airflow_errors
from airflow_gemini_batch._references import JobReference, as_json, part_of, read_reference, run_of
from airflow_gemini_batch.engine.errors import RefusedError, ServiceError
from airflow_gemini_batch.engine.wait.waiting import Sleep, Watch, is_settled
from airflow_gemini_batch.links import GeminiBatchRunLink
from airflow_gemini_batch.operators.base import DEFAULT_COLLECT_TIMEOUT, DEFAULT_POLL_INTERVAL, DEFAULT_TIMEOUT, ShardStep

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_gemini_batch.engine.gemini.jobs import Job


class GeminiBatchSensor(ShardStep, BaseSensorOperator):
    """Wait until a job can be collected, and return its reference with the terminal state.

    A job that failed, expired or was cancelled is an end like any other: what it has left is landed by the download. One that
    ended well may name its output some time later; that is waited for up to 12 hours from its end, in the triggerer also beyond
    ``timeout``.

    :param job: A job reference, from ``GeminiBatchSubmitOperator``. (templated)
    :param deferrable: Whether to wait in the triggerer (default) or in the worker slot, as ``mode`` says.
    :param poll_interval: Seconds between two looks at the job. Default: 30. Takes the place of ``poke_interval``.
    :param timeout: How long to wait, as timedelta or in seconds; then the task fails, without a retry. Default: 48 hours.
    :param cancel_on_kill: Whether to cancel the job when a user clears this task or sets its state (while it is deferred, this
        needs Airflow 3.3). Default: False: this task did not create the job, and waits for it again when it has been cleared.
    :param gemini_conn_id: The connection's id. Default: ``gemini_default``. (templated)

    Raises AirflowSensorTimeout; AirflowFailException when the service refuses to be asked or does not find the job.
    """

    template_fields: Sequence[str] = ("job", *ShardStep.template_fields)
    operator_extra_links = (GeminiBatchRunLink(),)

    def __init__(
        self,
        *,
        job: dict[str, Any],
        deferrable: bool = True,
        poll_interval: float = DEFAULT_POLL_INTERVAL,
        timeout: timedelta | float = DEFAULT_TIMEOUT,
        cancel_on_kill: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(timeout=timeout, **{"poke_interval": poll_interval, **kwargs})
        self.job = job
        self.deferrable = deferrable
        self.poll_interval = poll_interval
        self.cancel_on_kill = cancel_on_kill

    def execute(self, context: Context) -> Any:
        if not self.deferrable:
            with self.one_pass():
                return super().execute(context)
        deadline = time.time() + self.timeout
        with self.one_pass():
            return self._go_on(deadline)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Look at the job once more after the wait.

        :param event: The trigger's.
        """
        with self.one_pass():
            if event["why"] == "error":
                raise RefusedError(event["message"])
            if event["why"] == "timeout" and self._look() is None and self._collectable_until is None:
                raise AirflowSensorTimeout(f"{self._reference.job} has not ended and the timeout has passed. It runs on.")
            return self._go_on(event["deadline"])

    def poke(self, context: Context) -> PokeReturnValue:
        """One look, in the worker slot. Outages are waited out, as they are in the triggerer."""
        with as_airflow_errors():
            try:
                settled = self._look()
            except ServiceError as error:
                decision = Watch((), self.poll_interval, math.inf).on_error(error, now=time.time())
                if not isinstance(decision, Sleep):
                    raise
                self.log.warning("%s Looking again.", error)
                settled = None
        return PokeReturnValue(is_done=settled is not None, xcom_value=settled)

    def cancel_jobs(self, why: str) -> None:
        """Cancel the job, unless it has ended."""
        from airflow_gemini_batch.engine.wait.in_flight import cancel

        reference = self._reference
        if not self.cancel_on_kill or why != "killed" or reference.job is None:
            return
        if self._look() is not None or self._collectable_until is not None:
            return
        with self.connect() as client:
            cancel(run_of(reference), client, part_of(reference), reference.job, why=why)

    @property
    def _reference(self) -> JobReference:
        return read_reference(self.job, JobReference, argument="job")

    def _look(self) -> dict[str, Any] | None:
        """The reference with its state when there is nothing to wait for any more, else None."""
        reference = self._reference
        if reference.job is None:
            return as_json(reference)
        job = self._job_now(reference, reference.job)
        self.log.info("%s", job)
        if is_settled(job):
            return as_json(msgspec.structs.replace(reference, state=job.state.value))
        if job.is_terminal:
            self._wait_for_output(reference, job)
        return None

    def _wait_for_output(self, reference: JobReference, job: Job) -> None:
        """Write down when the end was first seen. Raises NotFoundError when the output should have been named by now."""
        from airflow_gemini_batch.engine.collect.download import unnamed_output
        from airflow_gemini_batch.engine.run.ledger import Ledger

        Ledger(run_of(reference)).record_end(part_of(reference), job)
        until = self._collectable_until
        if until is not None and time.time() >= until:
            raise unnamed_output(job)

    @property
    def _collectable_until(self) -> float | None:
        """Up to when an output may be named, in seconds since the epoch; None while the job has not been seen to have ended."""
        from airflow_gemini_batch.engine.run.ledger import Ledger

        reference = self._reference
        ended_at = Ledger(run_of(reference)).ended_at(part_of(reference))
        return None if ended_at is None else ended_at + DEFAULT_COLLECT_TIMEOUT.total_seconds()

    def _job_now(self, reference: JobReference, name: str) -> Job:
        from airflow_gemini_batch.engine.wait.in_flight import look_at

        with self.connect() as client:
            return look_at(run_of(reference), client, part_of(reference), name)

    def _go_on(self, deadline: float) -> dict[str, Any]:
        settled = self._look()
        if settled is not None:
            return settled
        jobs, until = [self._reference.job or ""], self._collectable_until
        self.wait_in_triggerer(
            jobs=jobs,
            poll_interval=self.poll_interval,
            deadline=deadline,
            # Beyond the time to wake, so that it is that time that wakes.
            until=None if until is None else max(deadline, until + self.poll_interval),
            wake_at=until,
            late=[] if until is None else jobs,
            cancel_on_kill=self.cancel_on_kill,
            destination=self._reference.destination,
        )
