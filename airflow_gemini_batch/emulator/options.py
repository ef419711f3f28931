"""Options of the emulator. The defaults are the service's limits, and short job times."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

#: An option's environment variable is this prefix and the option's name in upper case.
ENVIRONMENT_PREFIX = "GEMINI_EMULATOR_"


@dataclass(frozen=True, slots=True)
class Options:
    """Options of the emulator. Each field is a keyword of `Emulator`, a flag of the command and an environment variable.

    All times are measured by the emulator's clock, which tests can move.
    """

    keys: tuple[str, ...] = ()
    """API keys to accept, as `KEY` or `KEY=PROJECT`. Default: every key that does not begin with `invalid`."""

    pending_seconds: float = 1.0
    """How long a job stays PENDING. Default: 1 second."""

    running_seconds: float = 2.0
    """How long a job stays RUNNING. Default: 2 seconds."""

    max_active_jobs: int = 100
    """Limit of jobs per project that are neither finished nor deleted. Default: 100, as on Google's rate limits page."""

    overflow: Literal["refuse", "rest"] = "refuse"
    """What happens above `max_active_jobs`: `refuse` answers the create with 429 (default); `rest` accepts the job, which
    then stays PENDING until another job ends."""

    max_enqueued_tokens: int | None = None
    """Limit of tokens per model in all active jobs of a project. Default: no limit, because the service's limit depends on the
    tier."""

    max_inline_bytes: int = 20 * 1024 * 1024
    """A create request of this many bytes or more is refused. Default: 20 MiB, as at the service."""

    max_file_bytes: int = 2 * 1024**3
    """Largest file, in bytes. Default: 2 GiB, as at the service."""

    max_storage_bytes: int = 20 * 1024**3
    """Limit for all files of a project, in bytes, generated ones included. Default: 20 GiB, as at the service."""

    file_hours: float = 48.0
    """Hours until a file expires. Default: 48, as at the service."""

    job_hours: float = 48.0
    """Hours after which an unfinished job becomes EXPIRED. Default: 48, as at the service."""

    processing_seconds: float = 1.0
    """How long an uploaded video stays PROCESSING. Other files are ACTIVE at once. Default: 1 second."""

    taken_name: Literal["finalize", "start"] = "finalize"
    """When an upload is refused whose file name is in use: after all bytes (`finalize`, the default, as observed), or at the
    `start`."""

    webhook_targets: Literal["loopback", "any"] = "loopback"
    """Where webhooks are sent: only to loopback addresses (default), or to `any` address. The default prevents an emulator from
    notifying the receivers of the real service."""

    webhook_retry_seconds: float = 5.0
    """Seconds until a failed webhook is retried, doubled after each attempt, for at most a day. Default: 5 seconds."""

    models: tuple[str, ...] = ()
    """Names of models that the emulator knows beside the service's own, such as `gemini-9-preview`. A name with `embedding` in it
    embeds, any other generates. Default: none; all other names are answered with 404."""

    control_hosts: tuple[str, ...] = ()
    """Host names under which the control API answers besides loopback ones, such as `emulator` in a container network. Default:
    none."""

    def __post_init__(self) -> None:
        for entry in self.keys:
            if "," in entry:
                raise ValueError("keys: an API key has no comma; give each key as an entry of its own")
        # Names are accepted as clients write them.
        object.__setattr__(self, "models", tuple(name.removeprefix("models/") for name in self.models))

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Options:
        """Options from environment variables; the others have their defaults. Raises ValueError for text that is not a number."""
        found = {
            field.name: _parsed(field.name, environment[ENVIRONMENT_PREFIX + field.name.upper()])
            for field in fields(cls)
            if ENVIRONMENT_PREFIX + field.name.upper() in environment
        }
        return cls(**found)

    def projects_by_key(self) -> dict[str, str]:
        """Project by API key; empty if every key is accepted."""
        pairs = (entry.partition("=") for entry in self.keys)
        return {key: project or DEFAULT_PROJECT for key, _, project in pairs}


#: The project of keys without a project. They share its jobs and files.
DEFAULT_PROJECT = "default"

_NUMBERS: dict[str, type[int] | type[float]] = {
    "pending_seconds": float,
    "running_seconds": float,
    "max_active_jobs": int,
    "max_enqueued_tokens": int,
    "max_inline_bytes": int,
    "max_file_bytes": int,
    "max_storage_bytes": int,
    "file_hours": float,
    "job_hours": float,
    "processing_seconds": float,
    "webhook_retry_seconds": float,
}


def _parsed(name: str, text: str) -> Any:
    if name in ("keys", "models", "control_hosts"):
        return tuple(part.strip() for part in text.split(",") if part.strip())
    return _NUMBERS.get(name, str)(text)


def default_state_dir(environment: Mapping[str, str] = os.environ) -> Path:
    """`GEMINI_EMULATOR_STATE`, or `.gemini-emulator` in the current folder."""
    return Path(environment.get(ENVIRONMENT_PREFIX + "STATE", ".gemini-emulator"))
