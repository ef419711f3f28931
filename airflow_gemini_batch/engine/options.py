"""How a run is carried through: every option with its unit, default and reason, checked when it is set.

What is asked (source, request, model, ...) is arguments of the operators and of ``run_batch``; all else is here. Two kinds of
options reach the requests: the two shard limits decide where the table is cut, and ``schema_field`` how a schema is written, so a
run with another ``schema_field`` is another run.

The module is light on purpose: Airflow parses DAG files all the time, and each of them imports it.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, TypeAlias

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.rates import EXPECTED as EXPECTED_PRICES
from airflow_gemini_batch.engine.rates import Rates, read_prices
from airflow_gemini_batch.engine.reasons import FINISH_REASONS, Reason

Transport: TypeAlias = Literal["file", "inline", "auto"]
SchemaField: TypeAlias = Literal["response_json_schema", "response_schema"]
MediaTo: TypeAlias = Literal["column", "files"]

#: What the service takes for one input file (Batch API page: 2 GB).
SERVICE_MAX_BYTES = 2_000_000_000


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """How a run is carried through.

    Durations typed ``timedelta`` may also be given as seconds. Raises InputError, which names the field, the value and what
    is allowed; inside a DAG file that is an import error of the DAG.
    """

    max_shard_bytes: int = 1_900_000_000
    """Maximum size of one request file in bytes; each file becomes one job. Default: somewhat below the service's limit of
    2,000,000,000, because it is not documented how the service counts."""

    max_shard_requests: int = 50_000
    """Maximum number of requests per job. The service documents no limit. Default: small enough that a job that expires or is
    lost costs little, and that the index of its keys, which landing holds in memory, stays below 10 MB."""

    schema_field: SchemaField = "response_json_schema"
    """The field of ``generation_config`` in which a ``response_schema`` is sent: ``response_json_schema`` as JSON Schema, or
    ``response_schema`` as Google's own Schema, which can express less; what it cannot express is refused. ``parsed`` and its
    validation are the same for both. Default: ``response_json_schema``. Try the other one if the service ignores the schema."""

    transport: Transport = "file"
    """How requests reach the service: ``file`` uploads them; ``inline`` puts them into the create call, which takes less than
    20 MB; ``auto`` is inline for shards up to 2 MB. Default: file, because the answers of inline jobs come inside the job
    itself and make each check of it heavy."""

    max_active_jobs: int | None = 20
    """Maximum number of active jobs of this run, across all tasks that submit for it; None: only the service's own limit. Those
    of all runs together are limited in the connection. Default: 20 of the 100 that the service allows per project, so that other
    runs can submit too."""

    poll_interval: float = 30.0
    """Seconds between two checks of the jobs, at least 0.01. Default: 30, because jobs take minutes to hours; all waiting tasks
    of one connection share one request."""

    timeout: timedelta = timedelta(hours=48)
    """How long one try (or one call of ``run_batch``) waits for its jobs, from its own start, before it fails without a retry.
    The jobs keep running, and a cleared task or a second call waits for them again. It is not the limit of one HTTP request,
    which is the connection's ``request_timeout``. Default: 48 hours, when the service expires a job."""

    collect_timeout: timedelta = timedelta(hours=12)
    """How long to keep requesting an output that the service does not return, or does not name, from when its job was first
    seen to have ended. May outlast ``timeout``. Default: 12 hours, well within the 48 that the service keeps an output."""

    cancel_on_timeout: bool = False
    """Whether jobs still running are cancelled at ``timeout``, or at Airflow's own ``execution_timeout``. Default: False, because
    what they have done so far is billed either way."""

    cancel_on_kill: bool | None = None
    """Whether jobs are cancelled when a user ends the task (marks it or its run as failed, success or skipped), when the DAG is
    deleted, or when the DAG run times out. A task that is cleared or retried, or whose worker is shut down, keeps its jobs.
    Default (None): True for ``GeminiBatchOperator``, False for ``GeminiBatchSensor``, whose task did not create the job."""

    resubmit_stuck_after: timedelta | None = None
    """A job whose state and counts have not changed for this long is cancelled, and its unanswered rows are resubmitted. Default
    (None): never, because queueing for many hours is normal."""

    resubmit_lost: bool = False
    """Whether the rows of a job or output that the service no longer finds are resubmitted, and paid for again. Default: False,
    which raises an error instead: the job may be visible to another key only, and may still be running."""

    listing_lag: float = 60.0
    """Seconds after which the service's listing shows every job that has been created. After an interrupted create, no second one
    is sent before that time. Default: 60, many times what has been observed."""

    claim_lease: float = 360.0
    """Seconds that one try may take from claiming a shard to the end of its create request, at least 3; a third of it is the
    timeout of that request. Other tries wait this long before they take over. Default: 360, because the service reads a whole
    2 GB input file before it answers."""

    reuse_max_age: timedelta | None = None
    """Answers of earlier runs (``reuse``) that were given longer ago than this are not taken. Default (None): any age."""

    max_redrives: int = 1
    """How often a row that failed for a transient reason is resubmitted within the run; 0: never. Attempts that this package
    cancelled do not count. Default: 1; each resubmission is paid for."""

    redrive_reasons: Collection[str] = frozenset()
    """Dead-letter reasons (such as ``INVALID_OUTPUT``) or finish reasons (such as ``MALFORMED_FUNCTION_CALL``) whose rows are
    resubmitted too, within ``max_redrives``. Default: none, so only rows with ``retryable``; the others usually fail again, and
    each resubmission is paid for."""

    redrive_max_output_tokens: int | None = None
    """``max_output_tokens`` of resubmitted requests; setting it makes TRUNCATED rows worth resubmitting. Default (None): as
    before, and TRUNCATED rows are not resubmitted."""

    max_dead_letter_ratio: float | None = None
    """Dead letters per row, from 0 to 1; above it the run fails, after both tables and the summary have been written. Default
    (None): it fails if requests were made and none of them has a result, which is never what was wanted. 1.0 never fails."""

    keep_response: bool = True
    """Whether ``results`` keeps each raw response. Default: True; without it the results are a fraction of the size."""

    media_to: MediaTo = "column"
    """Where images and other media of the answers go: into the ``media`` ``column`` of the results, or into ``files`` under
    ``results_media/`` with their URIs in the column. Default: column."""

    prices: Mapping[str, Rates | str] = dataclasses.field(default_factory=dict)
    """Rates by model, where genai-prices has none or you pay others: ``{"gemini-3.5-flash": {"input": 0.75, "output": 4.5}}``, in
    USD per million tokens at batch rates, or ``"half"`` of the standard rates. docs/costs.md lists the kinds. A run keeps
    the rates that it was built with. Default: none."""

    def __post_init__(self) -> None:
        for name, (read, expected) in _RULES.items():
            value = getattr(self, name)
            try:
                object.__setattr__(self, name, read(value))
            except (TypeError, ValueError, OverflowError):
                raise InputError(f"options: {name} is {value!r}; expected {expected}.") from None

    @classmethod
    def of(cls, options: BatchOptions | Mapping[str, Any] | None) -> BatchOptions:
        """The options that an operator was given: the object itself, a mapping of fields, or None for all defaults."""
        if options is None:
            return cls()
        if isinstance(options, cls):
            return options
        if not isinstance(options, Mapping):
            raise InputError(f"options is {options!r}; expected BatchOptions or a dict of its fields.")
        known = [field.name for field in dataclasses.fields(cls)]
        for name in options:
            if name not in known:
                close = difflib.get_close_matches(str(name), known, n=1)
                hint = f" Did you mean {close[0]!r}?" if close else ""
                raise InputError(f"options has no field {name!r}.{hint} Fields: {', '.join(known)}.")
        return cls(**options)

    @classmethod
    def of_texts(cls, texts: Mapping[str, str]) -> BatchOptions:
        """Options from the command line: each value as JSON (``3``, ``true``, ``null``; durations in seconds), else as text."""
        return cls.of({name: _value_of_text(text) for name, text in texts.items()})

    def serialize(self) -> dict[str, Any]:
        """For Airflow, which shows it with a task's rendered templates."""
        return self.as_dict()

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, durations in seconds, which ``of`` takes back."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: _plain(value) for name, value in values.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value.total_seconds()
    return sorted(value) if isinstance(value, frozenset) else value


def _value_of_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


#: Reads a value and returns it in the field's type; raises TypeError or ValueError for one that is not allowed.
_Read: TypeAlias = Callable[[Any], Any]


def _whole(least: int, most: int | None = None) -> _Read:
    def read(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or value < least or (most is not None and value > most):
            raise ValueError
        return value

    return read


def _number(least: float, most: float = math.inf) -> _Read:
    def read(value: Any) -> float:
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not least <= value <= most or math.isinf(value):
            raise ValueError
        return float(value)

    return read


def _duration(value: Any) -> timedelta:
    """Zero or more; a number is seconds."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = timedelta(seconds=value)
    if not isinstance(value, timedelta) or value < timedelta(0):
        raise ValueError
    return value


def _some_time(value: Any) -> timedelta:
    duration = _duration(value)
    if not duration:
        raise ValueError
    return duration


def _names(known: Collection[str]) -> _Read:
    """A set of known names; one name, or several with commas between them, may be given as text."""

    def read(value: Any) -> frozenset[str]:
        if isinstance(value, str):
            value = [name.strip() for name in value.split(",") if name.strip()]
        names = frozenset(name.value if isinstance(name, Reason) else name for name in value)
        if not names <= set(known):
            raise ValueError
        return names

    return read


def _switch(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _one_of(*choices: str) -> _Read:
    def read(value: Any) -> str:
        if not isinstance(value, str) or value not in choices:
            raise ValueError
        return value

    return read


def _optional(read: _Read) -> _Read:
    return lambda value: None if value is None else read(value)


#: Rows with one of these have been sent, so they can be resubmitted.
_DEAD_LETTER_REASONS = tuple(reason.value for reason in Reason if reason is not Reason.INVALID_INPUT)

#: Field -> how its value is read, and what is allowed, in words that complete "expected ...".
_RULES: dict[str, tuple[_Read, str]] = {
    "max_shard_bytes": (
        _whole(1, SERVICE_MAX_BYTES),
        f"a whole number from 1 to {SERVICE_MAX_BYTES:,}, which is what the service takes in one input file",
    ),
    "max_shard_requests": (_whole(1), "a whole number from 1"),
    "schema_field": (_one_of("response_json_schema", "response_schema"), "'response_json_schema' or 'response_schema'"),
    "transport": (_one_of("file", "inline", "auto"), "'file', 'inline' or 'auto'"),
    "max_active_jobs": (_optional(_whole(1)), "a whole number from 1, or None for no limit"),
    "poll_interval": (_number(0.01), "seconds, at least 0.01"),
    "timeout": (_some_time, "a timedelta, or seconds, above zero"),
    "collect_timeout": (_duration, "a timedelta, or seconds, zero or more"),
    "cancel_on_timeout": (_switch, "True or False"),
    "cancel_on_kill": (_optional(_switch), "True, False or None"),
    "resubmit_stuck_after": (_optional(_some_time), "a timedelta, or seconds, above zero, or None"),
    "resubmit_lost": (_switch, "True or False"),
    "listing_lag": (_number(0.0), "seconds, 0 or more"),
    "claim_lease": (_number(3.0), "seconds, at least 3"),
    "reuse_max_age": (_optional(_some_time), "a timedelta, or seconds, above zero, or None"),
    "max_redrives": (_whole(0), "a whole number from 0"),
    "redrive_reasons": (
        _names((*_DEAD_LETTER_REASONS, *FINISH_REASONS)),
        f"a set of dead-letter reasons ({', '.join(_DEAD_LETTER_REASONS)}) or finish reasons ({', '.join(FINISH_REASONS)})",
    ),
    "redrive_max_output_tokens": (_optional(_whole(1)), "a whole number from 1, or None"),
    "max_dead_letter_ratio": (_optional(_number(0.0, 1.0)), "a number from 0 to 1, or None"),
    "keep_response": (_switch, "True or False"),
    "media_to": (_one_of("column", "files"), "'column' or 'files'"),
    "prices": (read_prices, EXPECTED_PRICES),
}
