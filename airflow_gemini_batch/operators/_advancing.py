"""Taking a run to its end in one task: what the operators of whole runs share.

The task keeps nothing in its own memory. Each pass asks the engine to advance the run as far as possible, and defers when only
waiting is left; so a pass may be repeated at any point, by a retry, a cleared task or after a crash.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_gemini_batch import _metrics
from airflow_gemini_batch.engine.errors import RefusedError
from airflow_gemini_batch.operators._arguments import amount_of
from airflow_gemini_batch.operators._outcome import announce

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_gemini_batch.engine.gemini.client import GeminiClient
    from airflow_gemini_batch.engine.options import BatchOptions
    from airflow_gemini_batch.engine.run.layout import Run
    from airflow_gemini_batch.operators.base import GeminiOperator as _Operator
else:
    # Airflow's metaclass gives each operator class an __init__, which would hide those of the classes behind a mixin.
    _Operator = object


class AdvancesRun(_Operator):
    """Mixin for an operator whose task ends when its run is finished."""

    options: BatchOptions
    deferrable: bool
    #: In USD; None for no limit; text where it is a template. The engine refuses all else.
    max_cost_usd: Any = None
    #: What was logged before this pass (see ``engine.wait.progress``).
    _marks: Sequence[Any] = ()

    def carry_through(self, run: Run, client: GeminiClient, options: BatchOptions, deadline: float) -> dict[str, Any]:
        """Take the run to its end and return its summary; wait in the worker slot, or defer.

        :param deadline: seconds since the epoch.
        """
        from airflow_gemini_batch.engine.api import drive

        if not self.deferrable:
            return drive(run, client, options, deadline=deadline, max_cost_usd=self.limit_usd).as_dict()
        return self._advance(run, client, options, deadline)

    @property
    def limit_usd(self) -> Any:
        """``max_cost_usd``, rendered."""
        return amount_of(self.max_cost_usd)

    def options_of_pass(self, context: Context) -> BatchOptions:
        """The options to advance the run with, in a pass after a wait."""
        return self.options

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Resume after a wait.

        :param event: The event of ``GeminiBatchTrigger``. It carries what this pass must know about earlier ones.
        """
        from airflow_gemini_batch.engine.api import give_up

        with self.one_pass(context), self.connect() as client:
            match event["why"]:
                case "error":
                    raise RefusedError(event["message"])
                case "timeout":
                    raise give_up(self.run_here, client, self.options)
            options = self.options_of_pass(context)
            # Events of an earlier version have no marks.
            self._marks = event.get("marks", ())
            summary = self._advance(self.run_here, client, options, event["deadline"], event["refusals"], patient=True)
        return self.finished(context, summary)

    def finished(self, context: Context, summary: dict[str, Any]) -> dict[str, Any]:
        """The summary of a finished run, after others have been told of it."""
        announce(context, self.outlets, summary, self.run_here)
        return summary

    def cancel_jobs(self, why: str) -> None:
        """Cancel the run's jobs. Airflow gives a killed task about five seconds for this."""
        from airflow_gemini_batch.engine.run.cancellation import cancel_run

        if self.options.cancel_on_timeout if why == "timeout" else self._cancels_on_kill:
            with self.connect() as client:
                cancel_run(self.run_here, client, why=why)

    @property
    def _cancels_on_kill(self) -> bool:
        # None means True here: this task collects what the cancelled jobs have done and resubmits the rest.
        return self.options.cancel_on_kill is not False

    def _advance(
        self,
        run: Run,
        client: GeminiClient,
        options: BatchOptions,
        deadline: float,
        refusals: int = 0,
        *,
        patient: bool = False,
    ) -> dict[str, Any]:
        """Advance the run as far as possible; return its summary or defer."""
        import msgspec

        from airflow_gemini_batch.engine.advance import advance
        from airflow_gemini_batch.engine.wait.progress import Progress
        from airflow_gemini_batch.engine.wait.unfinished import Waiting

        state = advance(run, client, options, refusals=refusals, patient=patient, max_cost_usd=self.limit_usd)
        if isinstance(state, Waiting) and state.refusals > refusals:
            _metrics.count("refusals", state.refusals - refusals)
        if not isinstance(state, Waiting):
            return state.as_dict()
        progress = Progress(self._marks)
        for line in progress.lines(state.seen, state.standing, now=time.time()):
            self.log.info("%s", line)
        self.wait_in_triggerer(
            jobs=state.jobs,
            late=state.late,
            poll_interval=options.poll_interval,
            deadline=deadline,
            until=state.until(deadline, now=time.time()),
            wake_at=None if state.retry_in is None else time.time() + state.retry_in,
            refusals=state.refusals,
            cancel_on_kill=self._cancels_on_kill,
            destination=run.destination.uri,
            standing=msgspec.to_builtins(state.standing),
            marks=progress.marks,
        )
