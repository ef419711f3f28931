"""How many dead letters of a run are discarded. That is counted when it is asked for, from the ledger: ``summary.json`` does not
say it, since a discard changes nothing of the run that was summed up."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

import pyarrow as pa

from airflow_gemini_batch.engine.errors import GeminiBatchError
from airflow_gemini_batch.engine.finish.redrive import dead_letter_batches
from airflow_gemini_batch.engine.run.discards import Discards
from airflow_gemini_batch.engine.run.layout import Run, Shard
from airflow_gemini_batch.engine.run.many_files import files_at_once
from airflow_gemini_batch.engine.run.repeats import key_columns, wire_keys_of
from airflow_gemini_batch.engine.run.snapshot import Snapshot

log = logging.getLogger(__name__)


def discarded_rows(run: Run, snapshot: Snapshot, shards: Sequence[Shard], names: Iterable[str]) -> int:
    """The dead letters that are discarded, those that share their requests included. A file that is torn leaves a gap.

    :param names: the files of the ledger.
    """
    discards = Discards(run, snapshot.manifest.run_id, names)
    parts = [shard for shard in shards if str(shard.id) in discards.parts]
    return sum(files_at_once(run.destination, parts, lambda shard: _count(run, snapshot, discards, shard)))


def _count(run: Run, snapshot: Snapshot, discards: Discards, shard: Shard) -> int:
    try:
        letters = discards.of(shard.id)
        if snapshot.redrive(shard.id):  # perhaps some of these were resubmitted, in spite of the discard
            letters = {key: letters[key] for key in _keys_of(run, snapshot, shard) & letters.keys()}
    except (GeminiBatchError, FileNotFoundError, pa.ArrowInvalid) as error:
        log.warning("The discarded dead letters of shard %s of %s are not counted: %s", shard.id, run.destination, error)
        return 0
    return sum(letters.values())


def _keys_of(run: Run, snapshot: Snapshot, shard: Shard) -> set[str]:
    """The wire keys of the dead letters that are in a part now."""
    repeats = snapshot.manifest.repeats
    batches = dead_letter_batches(run, shard, key_columns(repeats))
    return {key for rows in batches for key in wire_keys_of(rows, repeats).to_pylist()}
