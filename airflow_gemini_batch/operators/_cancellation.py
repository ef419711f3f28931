"""A killed task stops, and then its jobs are cancelled.

Airflow kills a task on a worker with SIGTERM, calls ``on_kill`` inside the signal handler, lets the task go on after it, and
sends SIGKILL five seconds later. Left at that, a task whose jobs have just been cancelled would go on to create the next ones.
So ``on_kill`` only ends the leg; what there is to cancel is cancelled when the leg has unwound, where no lock is held by the
very code that was interrupted.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import sys
from collections.abc import Iterator

from airflow_gemini_batch._compat import AirflowTaskTimeout
from airflow_gemini_batch._errors import as_airflow_errors
from airflow_gemini_batch.engine.errors import GeminiBatchError

log = logging.getLogger(__name__)


class TaskKilled(SystemExit):
    """Ends the leg.

    Not Airflow's ``AirflowTaskTerminated``: that fails the task for good, also where it was not a user who ended it but a worker
    that was shut down, and a retry would go on with the run. Where a user has set the task's state, that state stays.
    """

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)


class CancelsOnKill:
    """What an operator needs to be killed well; ``cancel_jobs`` is its own."""

    _leg: str = "over"  # "running", and "ending" once it has been killed

    @contextlib.contextmanager
    def one_pass(self) -> Iterator[None]:
        """Around all that a leg of the task does: a kill ends it, and Airflow is told which errors a retry may mend."""
        self._leg = "running"
        try:
            with as_airflow_errors():
                yield
        except TaskKilled:
            self._leg = "ending"
            self._cancel("killed")
            raise
        finally:
            self._leg = "over"

    def on_kill(self) -> None:
        """Called by Airflow: in the middle of a leg by SIGTERM, and after one that was longer than ``execution_timeout``."""
        match self._leg:
            case "running":
                raise TaskKilled
            case "over":
                self._cancel("timeout" if isinstance(sys.exc_info()[1], AirflowTaskTimeout) else "killed")

    def cancel_jobs(self, why: str) -> None:
        """Cancel what runs, where the user wants that.

        :param why: ``killed``, or ``timeout`` for an ``execution_timeout``.
        """

    def _cancel(self, why: str) -> None:
        try:
            self.cancel_jobs(why)
        except GeminiBatchError as error:  # nobody is there any more to raise it to
            log.warning("%s What runs may run on and be billed.", error)
