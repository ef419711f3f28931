"""The whole ledger at one moment, by one listing: what a pass asks before it opens anything.

Which facts a shard has is read off the names of the files. What is in them is opened when it is asked for, and remembered in
``known.json`` for the next pass, which may be another process. So a pass costs the same however many shards have finished.

``known.json`` is a hint: it holds only what cannot change, is believed only for files that the listing shows, and only for the
run that it was written for. Without it, or when it is torn, the files themselves are opened. The counts of landed shards are in
it for those who show a run (see ``report.facts``); a shard that is landed again has the same responses.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from typing import Literal, TypeAlias

import msgspec

from airflow_gemini_batch.engine.errors import CorruptRunError
from airflow_gemini_batch.engine.run.layout import Manifest, Run, Shard, ShardAttempt, read_json
from airflow_gemini_batch.engine.run.ledger import Landed, Ledger, Redrive, Submitted
from airflow_gemini_batch.engine.run.many_files import files_at_once
from airflow_gemini_batch.engine.run.storage import Location

log = logging.getLogger(__name__)

#: What is remembered of a shard and attempt.
Remembered: TypeAlias = Literal["job", "redrive", "landed"]


class Known(msgspec.Struct):
    """What has been read of facts that cannot change.

    :param jobs: shard attempt -> the name of its job, while it has not landed.
    :param redrives: shard attempt -> the shards in which rows of it were resubmitted.
    :param closed: shard attempts of which nothing was resubmitted.
    :param landed: shard attempt -> its counts, once what is resubmitted of it has been decided.
    """

    run_id: str
    jobs: dict[str, str] = {}
    redrives: dict[str, tuple[Shard, ...]] = {}
    closed: set[str] = set()
    landed: dict[str, Landed] = {}


class Snapshot:
    """The ledger of a run as one listing shows it. Facts written since then are not in it."""

    def __init__(self, run: Run, manifest: Manifest, names: Collection[str] | None = None) -> None:
        """
        :param names: the files of the ledger, from a caller that has listed it; None: it is listed here.
        """
        self.run = run
        self.manifest = manifest
        self.ledger = Ledger(run)
        self._facts: dict[str, set[str]] = {}
        if names is None:
            names = [file.name for file in run.ledger_folder.children()]
        for name in names:
            part, _, rest = name.partition(".")
            self._facts.setdefault(part, set()).add(rest.partition("-")[0].partition(".")[0])
        self._known = self._read_known() if self._known_file.name in names else Known(manifest.run_id)
        self._saved = msgspec.json.encode(self._known, order="sorted")

    def has(self, part: ShardAttempt, fact: str) -> bool:
        """Whether a fact is on record, such as ``job``, ``end``, ``landed`` or ``cancel``, by its file's name alone."""
        return fact in self._facts.get(str(part), ())

    def job(self, part: ShardAttempt) -> str | None:
        """The name of its job, or None where none is recorded. Raises CorruptRunError for a torn record."""
        if not self.has(part, "job"):
            return None
        name = self._known.jobs.get(str(part))
        if name is None and (record := self.ledger.submitted(part)) is not None:
            name = self._known.jobs[str(part)] = record.job
        return name

    def redrive(self, part: ShardAttempt) -> tuple[Shard, ...] | None:
        """The shards in which rows of it were resubmitted, or None while that is not decided. Raises CorruptRunError."""
        if not self.has(part, "redrive"):
            return None
        id, known = str(part), self._known
        if id not in known.closed and id not in known.redrives:
            decided = self.ledger.redrive(part)
            if decided is None:  # deleted since the listing
                return None
            self.remember_redrive(part, decided.shards)
        return known.redrives.get(id, ())

    def usd(self, part: ShardAttempt) -> float | None:
        """What a shard that has landed cost; None where that is not known."""
        landed = self._known.landed.get(str(part))
        if landed is None and (landed := self.ledger.landed(part)) is not None:
            self.remember_landed(part, landed)
        cost = None if landed is None else landed.cost
        return cost.usd if cost is not None and (cost.priced or not cost.unpriced) else None

    def known_landed(self) -> dict[str, Landed]:
        """The counts that are known without opening a file, by shard and attempt. Whoever decides something opens the file."""
        return {part: landed for part, landed in self._known.landed.items() if "landed" in self._facts.get(part, ())}

    def read(self, parts: Iterable[ShardAttempt], fact: Remembered) -> None:
        """Open this fact of many shards at once, where it is on record and not known, so that asking for it opens nothing.

        What is torn, or was deleted since the listing, is left to whoever asks for it.
        """
        absent = [part for part in parts if self.has(part, fact) and not self.knows(part, fact)]
        opened = files_at_once(self.run.destination, absent, lambda part: self._opened(part, fact))
        for part, found in zip(absent, opened, strict=True):
            match found:
                case Submitted() as record:
                    self.remember_job(part, record.job)
                case Redrive(shards):
                    self.remember_redrive(part, shards)
                case Landed() as counts:
                    self.remember_landed(part, counts)

    def _opened(self, part: ShardAttempt, fact: Remembered) -> Submitted | Redrive | Landed | None:
        try:
            match fact:
                case "job":
                    return self.ledger.submitted(part)
                case "redrive":
                    return self.ledger.redrive(part)
                case "landed":
                    return self.ledger.landed(part)
        except CorruptRunError:
            return None

    def knows(self, part: ShardAttempt, fact: str) -> bool:
        """Whether a fact (``job``, ``redrive`` or ``landed``) is known without opening a file."""
        id, known = str(part), self._known
        if fact == "redrive":
            return id in known.redrives or id in known.closed
        return id in (known.jobs if fact == "job" else known.landed)

    def remember_landed(self, part: ShardAttempt, landed: Landed) -> None:
        """Keep for the next pass the counts of a shard."""
        self._known.landed[str(part)] = landed

    def remember_job(self, part: ShardAttempt, name: str) -> None:
        """Keep for the next pass which job was recorded in this one."""
        self._known.jobs[str(part)] = name

    def remember_redrive(self, part: ShardAttempt, shards: tuple[Shard, ...]) -> None:
        """Keep for the next pass what was decided in this one, of a shard that has landed."""
        self._known.jobs.pop(str(part), None)
        if shards:
            self._known.redrives[str(part)] = shards
        else:
            self._known.closed.add(str(part))

    def shards(self) -> list[Shard]:
        """Every shard of the run: those of the manifest, and those of resubmitted rows."""
        found: list[Shard] = []
        generation = list(self.manifest.shards)
        while generation:
            found += generation
            self.read((shard.id for shard in generation), "redrive")
            generation = [child for shard in generation for child in self.redrive(shard.id) or ()]
        return found

    def in_flight(self) -> dict[Shard, str]:
        """The shards whose job has not been collected, with its name. A torn record counts as none: submitting repairs it."""
        jobs: dict[Shard, str] = {}
        unlanded = [shard for shard in self.shards() if not self.has(shard.id, "landed")]
        self.read((shard.id for shard in unlanded), "job")
        for shard in unlanded:
            try:
                name = self.job(shard.id)
            except CorruptRunError as torn:
                log.warning("%s", torn)
                continue
            if name is not None:
                jobs[shard] = name
        return jobs

    def without_end(self) -> list[Shard]:
        """The shards with a job whose end has not been recorded."""
        return [shard for shard in self.shards() if self.has(shard.id, "job") and not self.has(shard.id, "end")]

    def claimed(self, *, since: float) -> list[Shard]:
        """The shards for which some try has been about to create a job since then, and that have none yet."""
        pending = [shard for shard in self.shards() if self.has(shard.id, "intent") and not self.has(shard.id, "job")]
        return [shard for shard in pending if (claim := self.ledger.intent(shard.id)) is not None and claim.claimed_at >= since]

    def save(self) -> None:
        """Leave what was read for the next pass, where it is more than before."""
        for id in [id for id in self._known.jobs if "landed" in self._facts.get(id, ())]:
            del self._known.jobs[id]
        content = msgspec.json.encode(self._known, order="sorted")
        if content != self._saved:
            self._known_file.write(content)
            self._saved = content

    def forget(self) -> None:
        """Leave nothing for the next pass: facts that were final have changed."""
        self._known_file.delete()

    @property
    def _known_file(self) -> Location:
        return self.run.ledger_folder / "known.json"

    def _read_known(self) -> Known:
        try:
            known = read_json(self._known_file, Known)
        except CorruptRunError as torn:
            log.warning("%s It is written anew.", torn)
            known = None
        return known if known is not None and known.run_id == self.manifest.run_id else Known(self.manifest.run_id)
