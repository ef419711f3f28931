"""What the operators share: the connection, and the way of waiting.

Nothing heavy is imported while a DAG file is parsed, which Airflow does continually; the engine is imported where a task runs.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from airflow.sdk import BaseOperator

from airflow_gemini_batch import _metrics
from airflow_gemini_batch.hooks.gemini import GeminiHook
from airflow_gemini_batch.operators._arguments import check_arguments
from airflow_gemini_batch.operators._cancellation import CancelsOnKill
from airflow_gemini_batch.operators._outcome import measured_despite_dead_letters
from airflow_gemini_batch.triggers.batch import GeminiBatchTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.definitions.mappedoperator import OperatorPartial
    from typing_extensions import Unpack

    from airflow_gemini_batch.engine.gemini.client import GeminiClient
    from airflow_gemini_batch.engine.run.layout import Run
    from airflow_gemini_batch.operators._airflow_arguments import BaseOperatorArguments

#: How long after the trigger's own deadline Airflow waits before it fails the task by itself.
BACKSTOP = timedelta(minutes=5)


class GeminiOperator(CancelsOnKill, BaseOperator):
    """An operator with a Gemini connection.

    :param gemini_conn_id: The connection's id. Default: ``gemini_default``.
    """

    template_fields: Sequence[str] = ("gemini_conn_id",)
    #: URI of the run, of the operators that work on a whole one. Any: it may be an XComArg until Airflow has rendered it.
    destination: Any
    ui_color = "#e8f0fe"

    #: Arguments that are checked when the DAG is parsed, also those given to ``partial`` or by ``default_args``.
    checked: ClassVar[tuple[str, ...]] = ()

    def __init__(self, *, gemini_conn_id: str = GeminiHook.default_conn_name, **kwargs: Unpack[BaseOperatorArguments]) -> None:
        super().__init__(**kwargs)
        self.gemini_conn_id = gemini_conn_id

    @classmethod
    def partial(cls, **arguments: Any) -> OperatorPartial:
        """As in Airflow; the arguments in ``checked`` are checked here, not only when the mapped task runs."""
        made: OperatorPartial = super().partial(**arguments)
        check_arguments({name: made.kwargs[name] for name in cls.checked if name in made.kwargs})
        return made

    @property
    def map_label(self) -> str:
        """What tells a mapped task instance from the others, for ``map_index_template="{{ task.map_label }}"``."""
        return self.task_id

    @cached_property
    def hook(self) -> GeminiHook:
        return GeminiHook(self.gemini_conn_id)

    @contextlib.contextmanager
    def one_pass(self, context: Context) -> Iterator[None]:
        with super().one_pass(context), measured_despite_dead_letters(context, lambda: self.run_here):
            yield

    @property
    def standing(self) -> str:
        """How far the run at the destination is, in one sentence; empty where nothing can be read. For texts (see ``texts``)."""
        from airflow_gemini_batch.engine.report.board import read_board

        try:
            board = read_board(self.run_here)
        except Exception as error:  # it stands in messages about other errors
            self.log.debug("Nothing can be said about %s: %r", self.destination, error)
            return ""
        return "" if board is None else board.in_words()

    @property
    def run_here(self) -> Run:
        """The run at the destination, of the operators that have one. It may be given as the run's summary."""
        from airflow_gemini_batch._locations import locate, run_uri_of
        from airflow_gemini_batch.engine.run.layout import Run

        return Run(locate(run_uri_of(self.destination, "destination")), locate)

    def connect(self) -> GeminiClient:
        """A client for one pass of the task, to be closed after it."""
        from airflow_gemini_batch.engine.gemini.client import GeminiClient

        return GeminiClient(self.hook.endpoint, on_answer=_metrics.answered)

    def wait_in_triggerer(
        self, *, jobs: Sequence[str], poll_interval: float, deadline: float, until: float | None = None, **trigger: Any
    ) -> NoReturn:
        """Release the worker slot until ``execute_complete`` is called. The arguments are those of ``GeminiBatchTrigger``."""
        until = deadline if until is None else until
        self.defer(
            trigger=GeminiBatchTrigger(
                gemini_conn_id=self.gemini_conn_id,
                jobs=jobs,
                poll_interval=poll_interval,
                deadline=deadline,
                until=until,
                **trigger,
            ),
            method_name="execute_complete",
            timeout=timedelta(seconds=max(0.0, until - time.time())) + BACKSTOP,
        )


class ShardStep(GeminiOperator):
    """A step for one shard, usually mapped over all shards.

    Mapped with ``partial().expand()``, it runs for the shards that have arrived even if others have failed: what has been paid
    for is collected while the service still has it. ``GeminiBatchFinishOperator`` names the shards that are missing.
    """

    job: Any

    @property
    def map_label(self) -> str:
        return label_of(self.job)

    @classmethod
    def partial(cls, **arguments: Any) -> OperatorPartial:
        # Airflow's own default would mark the step of every shard as upstream_failed when one shard fails.
        return super().partial(**{"trigger_rule": "all_done_min_one_success", **arguments})


def label_of(reference: Any) -> str:
    """The shard that a reference names."""
    if not isinstance(reference, Mapping):
        return ""
    attempt = reference.get("attempt")
    return f"shard {reference.get('shard')}" + (f", attempt {attempt}" if attempt else "")


def owner_of(context: Context) -> str:
    """The task instance without its try number, so that a retry finds the run that the first try began."""
    ti = context["ti"]
    return f"{ti.dag_id}/{ti.run_id}/{ti.task_id}/{ti.map_index}"
