"""A killed task stops first, and then its jobs are cancelled.

Airflow kills a task on a worker with SIGTERM: it calls ``on_kill`` in the signal handler, lets the task continue after it, and
sends SIGKILL five seconds later. If ``on_kill`` itself cancelled the jobs, the task would then continue and create the next ones.
So ``on_kill`` only ends the pass; the jobs are cancelled when the pass has unwound and holds no lock any more.

Jobs are cancelled only if the task has ended, as when a user has marked it as failed. A task that was cleared while it ran, and
one whose worker was shut down, keep their jobs for the next try.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from airflow_gemini_batch._compat import AirflowTaskTimeout
from airflow_gemini_batch._errors import as_airflow_errors
from airflow_gemini_batch._task_states import task_has_ended
from airflow_gemini_batch.engine.errors import GeminiBatchError
from airflow_gemini_batch.links import publish_destination

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)


class TaskKilled(SystemExit):
    """Ends the pass.

    Not Airflow's ``AirflowTaskTerminated``: that fails the task without a retry, even when its worker was shut down and a retry
    would resume the run. If a user has set the task's state, that state stays.
    """

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)


class CancelsOnKill:
    """Mixin for operators whose jobs may be cancelled when the task is killed; ``cancel_jobs`` is the operator's own."""

    _pass_state: str = "over"  # "running", then "ending" once the task has been killed
    _task_instance: Any = None
    hook: Any

    @contextlib.contextmanager
    def one_pass(self, context: Context) -> Iterator[None]:
        """Around everything that one pass of the task does: a kill ends it, and errors are mapped to Airflow's."""
        self._pass_state = "running"
        self._task_instance = context["ti"]
        try:
            with as_airflow_errors(self.hook):
                publish_destination(self._task_instance, self)
                yield
        except TaskKilled:
            self._pass_state = "ending"
            self._cancel("killed")
            raise
        finally:
            self._pass_state = "over"

    def on_kill(self) -> None:
        """Called by Airflow: during a pass on SIGTERM, and after a pass that exceeded ``execution_timeout``."""
        match self._pass_state:
            case "running":
                raise TaskKilled
            case "over":
                self._cancel("timeout" if isinstance(sys.exc_info()[1], AirflowTaskTimeout) else "killed")

    def cancel_jobs(self, why: str) -> None:
        """Cancel running jobs, if the options say so.

        :param why: ``killed``, or ``timeout`` for an ``execution_timeout``.
        """

    def _cancel(self, why: str) -> None:
        if why == "killed" and not self._has_ended():
            return
        try:
            self.cancel_jobs(why)
        except GeminiBatchError as error:  # the task has ended, so there is no caller to raise to
            log.warning("%s Jobs that are still running may continue and be billed.", error)

    def _has_ended(self) -> bool:
        """Whether the task has ended for good. If Airflow does not say, its jobs keep running: they can be collected later."""
        try:
            ended = task_has_ended(self._task_instance)
        except Exception as error:
            log.warning(
                "Airflow did not say whether the killed task has ended (%r). Its jobs keep running and may be billed.", error
            )
            return False
        if not ended:
            log.info("The task was cleared, or its worker was shut down. Its jobs keep running, and its next try waits for them.")
        return ended
