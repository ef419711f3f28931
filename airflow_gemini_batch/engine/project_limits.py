"""Limits of a Google project, shared by all runs that name the same folder."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_gemini_batch.engine.errors import InputError

#: Field of a connection's extra -> field here.
LIMITS_FIELDS = {
    "limits_folder": "folder",
    "max_active_jobs": "max_active_jobs",
    "max_enqueued_tokens": "max_enqueued_tokens",
    "max_usd_per_10_minutes": "max_usd_per_10_minutes",
}


@dataclass(frozen=True, slots=True)
class ProjectLimits:
    """What all runs that name the same folder may have in flight together.

    Nothing is sent above a limit. A shard waits for a free slot; slots go to the DAG (outside Airflow: the run) with the fewest
    jobs. Above a level that the service has refused with 429, one job at a time is tried.

    :param folder: URI or path that all workers can write, such as ``s3://lake/gemini-limits``; one for each Google project.
    :param max_active_jobs: jobs that have not ended. Default: 100, which the service documents for a project; None: no limit.
    :param max_enqueued_tokens: input tokens of a model in active jobs, about a quarter of the requests' bytes: one number for
        every model, or model -> number. Default: None, learned from refusals. The service's limit is 3 million to 1 billion by
        model and tier (page of rate limits). A shard above it is sent when no other job of the model is active.
    :param max_usd_per_10_minutes: what jobs created within ten minutes may be expected to cost together, in USD. Default: None.
        The service's limit is 10, 50 or 200 USD by tier; it does not say whether batches count.

    Raises InputError for a value that is not allowed.
    """

    folder: str
    max_active_jobs: int | None = 100
    max_enqueued_tokens: int | Mapping[str, int] | None = None
    max_usd_per_10_minutes: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.folder, (str, os.PathLike)) or not os.fspath(self.folder).strip():
            raise InputError(f"The folder of limits is {self.folder!r}; expected a path or URI, such as s3://lake/gemini-limits.")
        object.__setattr__(self, "folder", os.fspath(self.folder).strip())
        if self.max_active_jobs is not None and not _is_whole(self.max_active_jobs):
            raise InputError(f"max_active_jobs is {self.max_active_jobs!r}; expected a whole number from 1, or None.")
        tokens = self.max_enqueued_tokens
        by_model = tokens if isinstance(tokens, Mapping) else {} if tokens is None else {"": tokens}
        if not all(isinstance(model, str) and _is_whole(limit) for model, limit in by_model.items()):
            raise InputError(
                f"max_enqueued_tokens is {tokens!r}; expected a whole number from 1, models with such numbers, or None."
            )
        usd = self.max_usd_per_10_minutes
        if usd is not None and (isinstance(usd, bool) or not isinstance(usd, (int, float)) or not 0 < usd < math.inf):
            raise InputError(f"max_usd_per_10_minutes is {usd!r}; expected an amount above 0 in USD, or None.")

    @classmethod
    def of_extra(cls, extra: Mapping[str, Any]) -> ProjectLimits | None:
        """The limits in a connection's extra; None where it names no folder. Numbers may be given as text, as forms do.

        Raises InputError for a value that is not allowed, and for limits without a folder.
        """
        given = {field: extra[name] for name, field in LIMITS_FIELDS.items() if extra.get(name) not in (None, "")}
        if "folder" in given:
            return cls(**{field: value if field == "folder" else _number_of(value) for field, value in given.items()})
        if given:
            names = [name for name, field in LIMITS_FIELDS.items() if field in given]
            raise InputError(f"{', '.join(names)}: limits of a connection need limits_folder, which its runs share.")
        return None

    def enqueued_tokens_of(self, model: str) -> int | None:
        """The limit of a model, named with or without ``models/``."""
        limit = self.max_enqueued_tokens
        if isinstance(limit, Mapping):
            name = model.removeprefix("models/")
            return next((tokens for other, tokens in limit.items() if other.removeprefix("models/") == name), None)
        return limit


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _number_of(value: Any) -> Any:
    """A number that is given as text; anything else as it is."""
    if not isinstance(value, str):
        return value
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value
