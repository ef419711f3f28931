"""A sensor that waits for one job: in the triggerer, or in a worker slot with Airflow's own poke and reschedule modes."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
from airflow.sdk import BaseSensorOperator, PokeReturnValue

from airflow_gemini_batch._compat import AirflowSensorTimeout
from airflow_gemini_batch._errors import as_airflow_errors
from airflow_gemini_batch._references import JobReference, as_json, part_of, read_reference, run_of
from airflow_gemini_batch.engine.errors import InputError, RefusedError, ServiceError
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.wait.waiting import Sleep, Watch, is_settled
from airflow_gemini_batch.links import GeminiBatchRunLink
from airflow_gemini_batch.operators._arguments import check_arguments
from airflow_gemini_batch.operators.base import ShardStep

if TYPE_CHECKING:
    from airflow.sdk import Context, XComArg
    from airflow.sdk.definitions.mappedoperator import OperatorPartial
    from typing_extensions import Unpack

    from airflow_gemini_batch._references import JobReferenceDict
    from airflow_gemini_batch.engine.gemini.jobs import Job
    from airflow_gemini_batch.operators._airflow_arguments import SensorArguments

#: Airflow's argument -> the option that replaces it.
_REPLACED = {"timeout": "timeout", "poke_interval": "poll_interval"}


class GeminiBatchSensor(ShardStep, BaseSensorOperator):
    """Wait until a job can be collected, and return its reference with the terminal state.

    A job that failed, expired or was cancelled counts as ended; ``GeminiBatchDownloadOperator`` collects what it has left. A job
    that succeeded may name its output some time later. The sensor waits for that up to ``options.collect_timeout`` from when the
    end was first seen; in the triggerer also beyond ``options.timeout``.

    :param job: A job reference, from ``GeminiBatchSubmitOperator``. (templated)
    :param options: A ``BatchOptions``, or a dict of its fields. The sensor uses ``poll_interval`` and ``timeout``, which replace
        Airflow's own ``poke_interval`` and ``timeout``, and ``collect_timeout`` and ``cancel_on_kill``. ``cancel_on_kill=None``
        means False here: this task did not create the job. While the task is deferred, ``cancel_on_kill=True`` needs Airflow 3.3.
    :param deferrable: Whether to wait in the triggerer instead of in the worker slot, where ``mode`` applies. Default: True,
        whatever ``[operators] default_deferrable`` says: jobs take hours, and that setting is False unless it was changed.
    :param gemini_conn_id: The connection's id. Default: ``gemini_default``. (templated)

    Raises InputError while the DAG is parsed; AirflowSensorTimeout, without a retry, when ``options.timeout`` has passed;
    AirflowFailException when the service refuses the request or does not find the job.
    """

    template_fields: Sequence[str] = ("job", "options", *ShardStep.template_fields)
    operator_extra_links = (GeminiBatchRunLink(),)
    checked: ClassVar[tuple[str, ...]] = ("options", "deferrable")

    def __init__(
        self,
        *,
        job: JobReferenceDict | XComArg,
        options: BatchOptions | Mapping[str, Any] | None = None,
        deferrable: bool = True,
        **kwargs: Unpack[SensorArguments],
    ) -> None:
        _refuse_own_names(kwargs)
        checked = BatchOptions.of(options)
        arguments: dict[str, Any] = {"timeout": checked.timeout, "poke_interval": checked.poll_interval, **kwargs}
        super().__init__(**arguments)
        check_arguments({"deferrable": deferrable})
        self.job: Any = job
        self.options = checked
        self.deferrable = deferrable

    @classmethod
    def partial(cls, **arguments: Any) -> OperatorPartial:
        _refuse_own_names(arguments)
        return super().partial(**arguments)

    def execute(self, context: Context) -> Any:
        if not self.deferrable:
            with self.one_pass(context):
                return super().execute(context)
        deadline = time.time() + self.timeout
        with self.one_pass(context):
            return self._wait(deadline)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> JobReferenceDict:
        """Check the job once more after the wait.

        :param event: The event of ``GeminiBatchTrigger``.
        """
        with self.one_pass(context):
            if event["why"] == "error":
                raise RefusedError(event["message"])
            if event["why"] == "timeout" and self._settled_now() is None and self._collectable_until is None:
                raise AirflowSensorTimeout(
                    f"{self._reference.job} has not ended and options.timeout has passed. The job keeps running."
                )
            return self._wait(event["deadline"])

    def poke(self, context: Context) -> PokeReturnValue:
        """One check, in the worker slot. An outage is logged and the check is repeated, as in the triggerer."""
        with as_airflow_errors(self.hook):
            try:
                settled = self._settled_now()
            except ServiceError as error:
                decision = Watch((), self.options.poll_interval, math.inf).on_error(error, now=time.time())
                if not isinstance(decision, Sleep):
                    raise
                self.log.warning("%s Checking again.", error)
                settled = None
        return PokeReturnValue(is_done=settled is not None, xcom_value=settled)

    def cancel_jobs(self, why: str) -> None:
        """Cancel the job, unless it has ended."""
        from airflow_gemini_batch.engine.run.cancellation import cancel_job

        reference = self._reference
        if not self.options.cancel_on_kill or why != "killed" or reference.job is None:
            return
        if self._settled_now() is not None or self._collectable_until is not None:
            return
        with self.connect() as client:
            cancel_job(run_of(reference), client, part_of(reference), reference.job, why=why)

    @property
    def _reference(self) -> JobReference:
        return read_reference(self.job, JobReference, argument="job")

    def _settled_now(self) -> JobReferenceDict | None:
        """The reference with its state once the job can be collected or there is no job; else None."""
        reference = self._reference
        if reference.job is None:
            without_job: JobReferenceDict = as_json(reference)
            return without_job
        job = self._job_now(reference, reference.job)
        self.log.info("%s", job)
        if is_settled(job):
            ended: JobReferenceDict = as_json(msgspec.structs.replace(reference, state=job.state.value))
            return ended
        if job.is_terminal:
            self._wait_for_output(reference, job)
        return None

    def _wait_for_output(self, reference: JobReference, job: Job) -> None:
        """Record when the end was first seen. Raises NotFoundError when collect_timeout has passed without an output."""
        from airflow_gemini_batch.engine.collect.download import unnamed_output
        from airflow_gemini_batch.engine.run.ledger import Ledger

        Ledger(run_of(reference)).record_end(part_of(reference), job)
        until = self._collectable_until
        if until is not None and time.time() >= until:
            raise unnamed_output(job)

    @property
    def _collectable_until(self) -> float | None:
        """The deadline for naming the output, in seconds since the epoch; None until the job has been seen to have ended."""
        from airflow_gemini_batch.engine.run.ledger import Ledger

        reference = self._reference
        ended_at = Ledger(run_of(reference)).ended_at(part_of(reference))
        return None if ended_at is None else ended_at + self.options.collect_timeout.total_seconds()

    def _job_now(self, reference: JobReference, name: str) -> Job:
        from airflow_gemini_batch.engine.wait.in_flight import current_job

        with self.connect() as client:
            return current_job(run_of(reference), client, part_of(reference), name)

    def _wait(self, deadline: float) -> JobReferenceDict:
        settled = self._settled_now()
        if settled is not None:
            return settled
        jobs, until = [self._reference.job or ""], self._collectable_until
        self.wait_in_triggerer(
            jobs=jobs,
            poll_interval=self.options.poll_interval,
            deadline=deadline,
            # Later than wake_at, so that the task is woken at wake_at and not by the timeout.
            until=None if until is None else max(deadline, until + self.options.poll_interval),
            wake_at=until,
            late=[] if until is None else jobs,
            cancel_on_kill=self.options.cancel_on_kill is True,
            destination=self._reference.destination,
        )


def _refuse_own_names(arguments: Mapping[str, Any]) -> None:
    for name, option in _REPLACED.items():
        if name in arguments:
            raise InputError(f"GeminiBatchSensor does not accept {name}; set {option} in options: options={{{option!r}: ...}}.")
