"""What the operators have in common: the connection, and what is asked of the service for each row.

Nothing heavy is imported while a DAG file is parsed, which Airflow does all the time: the engine is imported where a task runs.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from airflow.sdk import BaseOperator

from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.specs import EmbedRequest, GenerateRequest, RequestSpec
from airflow_gemini_batch.hooks.gemini import GeminiHook
from airflow_gemini_batch.operators._cancellation import CancelsOnKill
from airflow_gemini_batch.triggers.batch import GeminiBatchTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_gemini_batch.engine.build.building import Question
    from airflow_gemini_batch.engine.gemini.client import GeminiClient
    from airflow_gemini_batch.engine.run.layout import Run

#: Longer than the turnaround of the service, which ends what has not been done after 48 hours.
DEFAULT_TIMEOUT = timedelta(hours=48)

#: Seconds. Jobs take minutes to hours, and Airflow itself stumbles over deferrals that end within its scheduler's loop.
DEFAULT_POLL_INTERVAL = 30.0

#: The service keeps an output for about two days, so there is time left for a person after this.
DEFAULT_COLLECT_TIMEOUT = timedelta(hours=12)

#: How much longer than the trigger's own deadline Airflow waits before it fails the task by itself.
BACKSTOP = timedelta(minutes=5)


class GeminiOperator(CancelsOnKill, BaseOperator):
    """An operator with a Gemini connection.

    :param gemini_conn_id: The connection's id. Default: ``gemini_default``.
    """

    template_fields: Sequence[str] = ("gemini_conn_id",)
    ui_color = "#e8f0fe"

    def __init__(self, *, gemini_conn_id: str = GeminiHook.default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.gemini_conn_id = gemini_conn_id

    @cached_property
    def hook(self) -> GeminiHook:
        return GeminiHook(self.gemini_conn_id)

    def connect(self) -> GeminiClient:
        """A client for one leg of the task, to be closed after it."""
        from airflow_gemini_batch.engine.gemini.client import GeminiClient

        return GeminiClient(self.hook.endpoint)

    def wait_in_triggerer(
        self, *, jobs: Sequence[str], poll_interval: float, deadline: float, until: float | None = None, **trigger: Any
    ) -> NoReturn:
        """Give the worker slot back until ``execute_complete`` has something to do; the arguments are the trigger's."""
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
    """A step for one shard, usually mapped over all.

    Mapped with ``partial().expand()``, it goes on with the shards that have come so far although others have failed: what has
    been paid for is collected while the service still has it. ``GeminiBatchFinishOperator`` tells which shards are missing.
    """

    @classmethod
    def partial(cls, **arguments: Any) -> Any:
        # Airflow's own default would mark the step of every shard as upstream_failed when one shard fails.
        return super().partial(**{"trigger_rule": "all_done_min_one_success", **arguments})


class AskingOperator(GeminiOperator):
    """An operator that makes a run out of a table.

    Jinja is rendered in ``prompt`` and ``system_instruction`` of a ``GenerateRequest`` and in ``text`` of an ``EmbedRequest``,
    for what belongs to the DAG run; there, ``${column}`` stands for what belongs to the row. What is in the rows is never
    rendered.
    """

    #: ``prompt`` and ``system_instruction`` live in the request; the properties below show them to Airflow as fields of the
    #: operator, so that it renders them, and shows them rendered, as it does all others. ``text`` is shown as ``prompt``.
    template_fields: Sequence[str] = (
        "source",
        "model",
        "destination",
        "key",
        "prompt",
        "system_instruction",
        *GeminiOperator.template_fields,
    )

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
        if_exists: Literal["resume", "replace"] = "resume",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if isinstance(carry, str):
            raise ValueError(f"carry is the text {carry!r}; expected a list of column names, such as [{carry!r}].")
        self.source = source
        self.request = request
        self.model = model
        self.destination = destination
        self.key = key
        self.carry = carry
        self.max_shard_bytes = max_shard_bytes
        self.max_shard_requests = max_shard_requests
        self.if_exists = if_exists

    @property
    def prompt(self) -> Any:
        """The request's prompt, or the text of an ``EmbedRequest``, where it has one."""
        if isinstance(self.request, EmbedRequest):
            return self.request.text
        return self.request.prompt if isinstance(self.request, GenerateRequest) else None

    @prompt.setter
    def prompt(self, rendered: Any) -> None:
        self._replace_in_request(**{"text" if isinstance(self.request, EmbedRequest) else "prompt": rendered})

    @property
    def system_instruction(self) -> Any:
        """The request's system instruction, where it has one."""
        return self.request.system_instruction if isinstance(self.request, GenerateRequest) else None

    @system_instruction.setter
    def system_instruction(self, rendered: Any) -> None:
        self._replace_in_request(system_instruction=rendered)

    @property
    def run_here(self) -> Run:
        """The run at the destination."""
        from airflow_gemini_batch._locations import locate
        from airflow_gemini_batch.engine.run.layout import Run

        return Run(locate(self.destination), locate)

    @property
    def question(self) -> Question:
        """What is asked, in the engine's words."""
        from airflow_gemini_batch._locations import locate, plain_source
        from airflow_gemini_batch.engine.build.building import Question

        return Question(
            source=plain_source(self.source),
            request=self.request,
            model=self.model,
            key=self.key,
            carry=tuple(self.carry),
            locate=locate,
        )

    @property
    def shard_options(self) -> BatchOptions:
        limits = {"max_shard_bytes": self.max_shard_bytes, "max_shard_requests": self.max_shard_requests}
        return BatchOptions.of({name: limit for name, limit in limits.items() if limit is not None})

    def _replace_in_request(self, **texts: Any) -> None:
        # A copy: the DAG's own request may be shared by several tasks.
        self.request = dataclasses.replace(self.request, **texts)  # type: ignore[type-var]


def owner_of(context: Context) -> str:
    """Who asks: the task instance without its try, so that a retry finds the run that the first try began."""
    ti = context["ti"]
    return f"{ti.dag_id}/{ti.run_id}/{ti.task_id}/{ti.map_index}"
