"""What can be set when the emulator starts. The defaults are the service's own limits and short job times."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

#: Environment variables are the option's name in capitals behind this prefix.
ENVIRONMENT_PREFIX = "GEMINI_EMULATOR_"


@dataclass(frozen=True, slots=True)
class Options:
    """Each field is a keyword of `Emulator`, a flag of the command and an environment variable."""

    keys: tuple[str, ...] = ()
    """`KEY` or `KEY=PROJECT`; empty: every key is good that does not begin with "invalid"."""

    pending_seconds: float = 1.0
    running_seconds: float = 2.0

    max_active_jobs: int = 100
    """Jobs of one project that are neither finished nor deleted (rate limits page: 100)."""

    overflow: Literal["refuse", "rest"] = "refuse"
    """What happens above `max_active_jobs`: 429 at create, or a job that rests in PENDING until there is room."""

    max_enqueued_tokens: int | None = None
    """Tokens of one model over all active jobs of a project. The service's figure depends on the tier: off by default."""

    max_inline_bytes: int = 20 * 1024 * 1024
    max_file_bytes: int = 2 * 1024**3
    max_storage_bytes: int = 20 * 1024**3

    file_hours: float = 48.0
    job_hours: float = 48.0

    processing_seconds: float = 1.0
    """How long an uploaded video stays in PROCESSING before it may be used; other files are ACTIVE at once."""

    taken_name: Literal["finalize", "start"] = "finalize"
    """When an upload under a taken name is refused: after all bytes (as observed), or at once."""

    webhook_targets: Literal["loopback", "any"] = "loopback"
    """Whom webhooks are sent to: a stand-in must not tell the receivers of the real service that jobs have ended."""

    webhook_retry_seconds: float = 5.0
    """Between the first two tries of a webhook; doubled each time, by the emulator's clock."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Options:
        found = {
            field.name: _parsed(field.name, environment[ENVIRONMENT_PREFIX + field.name.upper()])
            for field in fields(cls)
            if ENVIRONMENT_PREFIX + field.name.upper() in environment
        }
        return cls(**found)

    def projects_by_key(self) -> dict[str, str]:
        pairs = (entry.partition("=") for entry in self.keys)
        return {key: project or DEFAULT_PROJECT for key, _, project in pairs}


#: The project of keys that name none. All of them share its jobs and files.
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
    if name == "keys":
        return tuple(part.strip() for part in text.split(",") if part.strip())
    return _NUMBERS.get(name, str)(text)


def default_state_dir(environment: Mapping[str, str] = os.environ) -> Path:
    return Path(environment.get(ENVIRONMENT_PREFIX + "STATE", ".gemini-emulator"))
