"""The facts of a ledger, for readers who want all of them at once.

What passes and the end of a run have left in ``known.json`` is not opened. The other files are, many at the same time: a run in
mapped steps has no passes. A reader that asks again passes a ``FactCache`` and opens only what is new.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeAlias

import msgspec

from airflow_gemini_batch.engine.run.layout import Manifest, Run, ShardAttempt
from airflow_gemini_batch.engine.run.ledger import Landed, Redrive, Submitted
from airflow_gemini_batch.engine.run.many_files import files_at_once
from airflow_gemini_batch.engine.run.snapshot import Snapshot

Fact: TypeAlias = Landed | Redrive | Submitted

#: The facts that a reader has opened before, by run id, name of the file and the time when it was written.
FactCache: TypeAlias = dict[tuple[str, str, float | None], Fact]

_KINDS: dict[str, type[Fact]] = {"landed": Landed, "redrive": Redrive, "job": Submitted}
_FILE = re.compile(rf"(\d{{5,}})-(\d+)\.({'|'.join(_KINDS)})\.json")


def read_facts(
    run: Run, manifest: Manifest, times: Mapping[str, float | None], cache: FactCache
) -> tuple[Snapshot, dict[str, Landed]]:
    """A snapshot that has jobs and resubmissions at hand, and the counts of the landed shards by shard and attempt.

    :param times: the files of the ledger, and when each was written.
    :param cache: what is opened now is added. A file that is torn, or was deleted since the listing, is left out.
    """
    snapshot = Snapshot(run, manifest, list(times))
    landed = snapshot.known_landed()
    wanted = [file for file in filter(None, map(_FILE.fullmatch, times)) if _is_wanted(file, snapshot)]
    absent = [file[0] for file in wanted if (manifest.run_id, file[0], times[file[0]]) not in cache]
    opened = files_at_once(run.destination, absent, lambda name: _read(run, name))
    for name, fact in zip(absent, opened, strict=True):
        if fact is not None:
            cache[manifest.run_id, name, times[name]] = fact
    for file in wanted:
        part = _part_of(file)
        match cache.get((manifest.run_id, file[0], times[file[0]])):
            case Landed() as counts:
                landed[str(part)] = counts
            case Redrive(shards):
                snapshot.remember_redrive(part, shards)
            case Submitted() as record:
                snapshot.remember_job(part, record.job)
    return snapshot, landed


def _is_wanted(file: re.Match[str], snapshot: Snapshot) -> bool:
    part = _part_of(file)
    if file[3] == "job" and snapshot.has(part, "landed"):  # its counts name the job
        return False
    return not snapshot.knows(part, file[3])


def _part_of(file: re.Match[str]) -> ShardAttempt:
    return ShardAttempt(int(file[1]), int(file[2]))


def _read(run: Run, name: str) -> Fact | None:
    try:
        return msgspec.json.decode((run.ledger_folder / name).read(), type=_KINDS[name.split(".")[1]])
    except (FileNotFoundError, msgspec.MsgspecError):
        return None
