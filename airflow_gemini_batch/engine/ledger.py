"""What has been submitted, per shard and attempt: small files, each written once, each whole or absent.

    <id>.intent-<n>.json   someone is about to create a job; claimed exclusively, so two tries never both create
    <id>.job.json          the job that serves this shard and attempt
    <id>.end.json          how that job ended

A fact is never rewritten, so no crash can take back what was known. An intent without a job means: a job may exist.
"Cannot be read" raises CorruptRunError and is never "is not there".
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import socket
import time
import uuid

import msgspec

from airflow_gemini_batch.engine.errors import CorruptRunError
from airflow_gemini_batch.engine.jobs import Job, is_job_name
from airflow_gemini_batch.engine.runs import Manifest, Run, Shard, ShardAttempt, read_json
from airflow_gemini_batch.engine.storage import Location

#: In front of the token in a job's display name and in an input file's name: tells ours from everyone else's.
TOKEN_PREFIX = "gb-"
_DISPLAY_NAME = re.compile(rf"{TOKEN_PREFIX}([0-9a-f]{{32}})(?![0-9a-z])")


class Intent(msgspec.Struct, frozen=True):
    """Someone is about to create a job.

    :param generation: counts the claims for one shard and attempt from 1; only the highest counts.
    :param claimed_at: seconds since the epoch, by the claimant's clock.
    :param claimant: host, process and a random part: tells one try from another, also on one machine.
    """

    token: str
    generation: int
    claimed_at: float
    claimant: str


class Submitted(msgspec.Struct, frozen=True):
    """The job that serves a shard and attempt. ``adopted``: an earlier try had created it."""

    token: str
    job: str
    input_file: str | None
    recorded_at: float
    adopted: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Ledger:
    """The ledger of one run."""

    run: Run

    def intent(self, part: ShardAttempt) -> Intent | None:
        """The latest claim, or None when nobody has been about to create."""
        latest: Intent | None = None
        prefix = f"{part}.intent-"
        for file in self.run.ledger_folder.children():
            if file.name.startswith(prefix):
                intent = read_json(file, Intent)
                if intent is not None and (latest is None or intent.generation > latest.generation):
                    latest = intent
        return latest

    def claim(self, part: ShardAttempt, token: str, generation: int) -> Intent | None:
        """Become the one who creates. None when someone else was faster. Exclusive where the storage can be (see ``storage``)."""
        claimant = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        intent = Intent(token, generation, time.time(), claimant)
        return intent if self._intent_file(part, generation).create(msgspec.json.encode(intent)) else None

    def withdraw(self, part: ShardAttempt, intent: Intent) -> None:
        """Take a claim back after a definite refusal: no job came of it, and nobody needs to look for one."""
        self._intent_file(part, intent.generation).delete()

    def submitted(self, part: ShardAttempt) -> Submitted | None:
        record = read_json(self._job_file(part), Submitted)
        if record is not None and not is_job_name(record.job):
            raise CorruptRunError(f"{self._job_file(part)} names {record.job!r}, which is no batch job. Look at it.")
        return record

    def record(self, part: ShardAttempt, token: str, job: Job, *, adopted: bool) -> Submitted:
        """Write down the job. When another try has recorded one in the meantime, that one is returned: it counts."""
        record = Submitted(token, job.name, job.input_file, time.time(), adopted)
        if self._job_file(part).create(msgspec.json.encode(record)):
            return record
        return self.submitted(part) or record

    def ended(self, part: ShardAttempt) -> Job | None:
        """How the job ended, or None while nobody has seen it end."""
        return read_json(self._end_file(part), Job)

    def record_end(self, part: ShardAttempt, job: Job) -> None:
        self._end_file(part).create(msgspec.json.encode(job))

    def _intent_file(self, part: ShardAttempt, generation: int) -> Location:
        return self.run.ledger_folder / f"{part}.intent-{generation}.json"

    def _job_file(self, part: ShardAttempt) -> Location:
        return self.run.ledger_folder / f"{part}.job.json"

    def _end_file(self, part: ShardAttempt) -> Location:
        return self.run.ledger_folder / f"{part}.end.json"


def token_of(manifest: Manifest, shard: Shard) -> str:
    """The identity of the one job that a shard and attempt may have: 32 hex digits, the same for every try of every task."""
    parts = [manifest.run_id, manifest.model, shard.sha256, shard.number, shard.attempt]
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:32]


def display_name(token: str, shard: Shard) -> str:
    """What the job is called at the service: the token for us, the rest for people."""
    return f"{TOKEN_PREFIX}{token} shard {shard.number} attempt {shard.attempt}"


def input_file_name(token: str) -> str:
    """At most 40 of a-z, 0-9 and ``-`` after ``files/`` (Files API)."""
    return f"files/{TOKEN_PREFIX}{token}"


def token_of_display_name(name: str) -> str | None:
    """The token, or None for a job that is not ours: anybody may have chosen that name."""
    match = _DISPLAY_NAME.match(name)
    return match[1] if match else None
