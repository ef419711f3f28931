"""The identity of a shard attempt at the service: in its job's display name, and in the name of its input file."""

from __future__ import annotations

import hashlib
import re

import msgspec

from airflow_gemini_batch.engine.gemini.jobs import Job
from airflow_gemini_batch.engine.run.layout import Manifest, Shard

#: In front of the token in a job's display name and in an input file's name: tells ours from everyone else's.
TOKEN_PREFIX = "gb-"

#: Bytes. The service documents 512 characters for the display names of files, and nothing for those of jobs.
_LONGEST_NAME = 512
_LONGEST_OWNER = 250
_DISPLAY_NAME = re.compile(rf"{TOKEN_PREFIX}([0-9a-f]{{32}})(?![0-9a-z])")


def token_of(manifest: Manifest, shard: Shard) -> str:
    """The identity of the one job that a shard and attempt may have: 32 hex digits, the same for every try of every task."""
    parts = [manifest.run_id, manifest.model, shard.sha256, shard.number, shard.attempt]
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:32]


def display_name(token: str, shard: Shard, *, owner: str | None = None, destination: str = "") -> str:
    """What the job is called at the service: the token for this package, the rest for people.

    ``gb-<token> shard 3 attempt 0 of <dag>/<run>/<task>/<map index> in s3://bucket/run``, at most 512 bytes: the beginning of a
    long destination is left out, because its end tells runs apart.

    :param owner: the manifest's; None outside Airflow.
    :param destination: URI of the run. User and password in it are left out; a connection's id stays.
    """
    name = f"{TOKEN_PREFIX}{token} shard {shard.number} attempt {shard.attempt}"
    if owner:
        name += f" of {_end_of(owner, _LONGEST_OWNER)}"
    if destination:
        shown = re.sub(r"//[^/@]*:[^/@]*@", "//", destination)
        name += f" in {_end_of(shown, _LONGEST_NAME - len(name.encode()) - len(' in '))}"
    return name


def _end_of(text: str, most: int) -> str:
    """The text, or its end where it has more than ``most`` bytes."""
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= most:
        return encoded.decode()
    return "..." + encoded[len(encoded) - most + 3 :].decode("utf-8", "ignore")


def input_file_name(token: str) -> str:
    """At most 40 of a-z, 0-9 and ``-`` after ``files/`` (Files API)."""
    return f"files/{TOKEN_PREFIX}{token}"


def is_for(job: Job, token: str) -> bool:
    """Whether a job serves the token, by its display name, or by the name of its input file should the former be lost."""
    return token == token_of_display_name(job.display_name) or job.input_file == input_file_name(token)


def token_of_display_name(name: str) -> str | None:
    """The token, or None for a job of someone else: anybody may have chosen that name."""
    match = _DISPLAY_NAME.match(name.strip())
    return match[1] if match else None
