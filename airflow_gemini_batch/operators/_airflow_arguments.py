"""The arguments that every Airflow task takes, for type checkers alone.

Airflow's operators end in ``**kwargs: Any``, with which a misspelt argument is found when the DAG is parsed, but by no type
checker. The operators here unpack these dicts instead. A test compares the names with Airflow's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypedDict

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence
    from datetime import datetime, timedelta

    from airflow.sdk import DAG, ObjectStoragePath, TaskGroup, XComArg
    from typing_extensions import Required

    from airflow_gemini_batch.engine.options import BatchOptions
    from airflow_gemini_batch.engine.specs import RequestSpec


class _BaseOperatorArguments(TypedDict, total=False):
    """Of Airflow's ``BaseOperator``, but ``trigger_rule``. Any stands where the type is private in Airflow."""

    task_id: Required[str]
    owner: str
    email: str | Sequence[str] | None
    email_on_retry: bool
    email_on_failure: bool
    retries: int | None
    retry_delay: timedelta | float
    retry_exponential_backoff: float
    max_retry_delay: timedelta | float | None
    retry_policy: Any
    start_date: datetime | None
    end_date: datetime | None
    depends_on_past: bool
    ignore_first_depends_on_past: bool
    wait_for_past_depends_before_skipping: bool
    wait_for_downstream: bool
    dag: DAG | None
    params: Any
    default_args: dict[str, Any] | None
    priority_weight: int
    weight_rule: Any
    queue: str
    pool: str | None
    pool_slots: int
    sla: timedelta | None
    execution_timeout: timedelta | None
    on_execute_callback: Any
    on_failure_callback: Any
    on_success_callback: Any
    on_retry_callback: Any
    on_skipped_callback: Any
    pre_execute: Any
    post_execute: Any
    resources: dict[str, Any] | None
    run_as_user: str | None
    map_index_template: str | None
    max_active_tis_per_dag: int | None
    max_active_tis_per_dagrun: int | None
    executor: str | None
    executor_config: dict[str, Any] | None
    do_xcom_push: bool
    multiple_outputs: bool
    inlets: Any
    outlets: Any
    task_group: TaskGroup | None
    doc: str | None
    doc_md: str | None
    doc_json: str | None
    doc_yaml: str | None
    doc_rst: str | None
    task_display_name: str | None
    logger_name: str | None
    allow_nested_operators: bool
    render_template_as_native_obj: bool | None


class BaseOperatorArguments(_BaseOperatorArguments, total=False):
    """Of Airflow's ``BaseOperator``."""

    trigger_rule: str


class FinishArguments(_BaseOperatorArguments, total=False):
    """Of an operator with a Gemini connection that has a ``trigger_rule`` of its own."""

    gemini_conn_id: str


class GeminiOperatorArguments(BaseOperatorArguments, total=False):
    """Of every other operator with a Gemini connection."""

    gemini_conn_id: str


class TableArguments(GeminiOperatorArguments, total=False):
    """Of every operator that makes a run of a table."""

    source: Required[Any]
    request: Required[RequestSpec | Mapping[str, Any] | XComArg]
    model: Required[str | XComArg]
    destination: Required[str | os.PathLike[str] | ObjectStoragePath | XComArg]
    key: str | XComArg | None
    carry: Sequence[str]
    dedupe: bool
    reuse: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | XComArg | None
    labels: Mapping[str, str] | XComArg | None
    sample: int | None
    repeats: int
    max_cost_usd: float | str | XComArg | None
    if_exists: Literal["resume", "replace"]
    options: BatchOptions | Mapping[str, Any] | None


class SensorArguments(GeminiOperatorArguments, total=False):
    """Of a sensor with a Gemini connection, but ``timeout`` and ``poke_interval``, which are options here."""

    soft_fail: bool
    mode: str
    exponential_backoff: bool
    max_wait: timedelta | float | None
    silent_fail: bool
    never_fail: bool
