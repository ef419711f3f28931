"""Discarding dead letters of a finished run: somebody has decided that they are not sent again.

Nothing is deleted and no table is changed; the decision is written to the ledger (see ``run.discards``), and redrives leave these
letters out. A decision is about a request: it covers all rows that share it.

Discards and redrives of one run are ordered, without a lock. A redrive claims its plan, then reads the discards. A discard is
written, then looks for plans. So either the redrive sees the discard, or the discard sees the redrive, and says so with an error.
"""

from __future__ import annotations

import getpass
import logging
from collections import Counter
from collections.abc import Collection, Iterator
from typing import Any

import msgspec
import pyarrow as pa

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.finish.plans import require_finished, require_no_redrive
from airflow_gemini_batch.engine.finish.redrive import dead_letter_batches
from airflow_gemini_batch.engine.finish.selection import Selection, copies_of, names_of, payers_of, require_found
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.run.discards import Decision, Discards, record_discard
from airflow_gemini_batch.engine.run.layout import Manifest, Run, Shard
from airflow_gemini_batch.engine.run.ledger import Ledger
from airflow_gemini_batch.engine.run.repeats import wire_keys_of
from airflow_gemini_batch.engine.run.snapshot import Snapshot
from airflow_gemini_batch.engine.run.storage import Location, locate

log = logging.getLogger(__name__)


class Discarded(msgspec.Struct, frozen=True):
    """What a discard has done.

    :param destination: of the run.
    :param discarded: dead letters that are discarded now and were not before; ``already`` of the selected ones were.
    :param reasons: those that are discarded now, by reason.
    """

    destination: str
    discarded: int
    already: int
    reasons: dict[str, int]

    def as_dict(self) -> dict[str, object]:
        """Plain JSON values."""
        return msgspec.structs.asdict(self)


def discard(
    destination: str,
    *,
    reasons: Collection[str] | None = None,
    keys: Collection[str] | None = None,
    message: str | None = None,
    codes: Collection[int] | None = None,
    retryable: bool | None = None,
    limit: int | None = None,
    by: str | None = None,
    note: str = "",
    storage_options: dict[str, Any] | None = None,
) -> Discarded:
    """Decide that dead letters of a finished run are not sent again.

    Nothing is deleted and both tables stay as they are. The decision is written to the run's ledger: which letters, who, when and
    why. ``redrive`` leaves them out from then on, unless it is told to include them. Rows that share a request are discarded
    together. It may be repeated: letters that are discarded already stay as they were decided.

    :param destination: URI or local path of the run's folder.
    :param reasons: dead letters with one of these reasons or finish reasons, as for ``redrive``. Default, with all other
        selections: any.
    :param keys: dead letters with one of these keys; in a run with ``repeats``, ``key#repeat`` is one of its repeats.
    :param message: dead letters whose message contains this text, whatever the case; between slashes, as in ``/^5\\d\\d/``, it is
        a regular expression (RE2).
    :param codes: dead letters with one of these codes (HTTP status or rpc code).
    :param retryable: dead letters that are retryable, or those that are not.
    :param limit: no more letters than these, the first in the order of the shards. Letters that are discarded already count.
    :param by: who decides. Default: None, the user of this process.
    :param note: why, for those who read it later. Default: empty.
    :param storage_options: passed to the fsspec file system of the destination. Default: none.

    Returns how many dead letters are discarded now, and how many of the selected ones were before. Raises InputError for a
    selection that cannot be meant, for keys that are not dead letters, and for a run that is not finished or is being redriven;
    DestinationError when the folder holds no run.
    """
    selection = Selection.of(reasons, keys, message=message, codes=codes, retryable=retryable, limit=limit)

    def place(uri: str) -> Location:
        return locate(uri, **(storage_options or {}))

    return discard_letters(Run(place(destination), place), selection, by=by, note=note)


def discard_letters(
    run: Run,
    selection: Selection,
    *,
    by: str | None = None,
    note: str = "",
    options: BatchOptions | None = None,
    dry_run: bool = False,
) -> Discarded:
    """As ``discard``. If it is interrupted, some of the letters are discarded, and a repetition discards the others.

    :param options: ``claim_lease`` says when a redrive that was planned and never begun counts as crashed. Default: None, all
        defaults.
    :param dry_run: count only; nothing is written. Default: False.
    """
    options = options or BatchOptions()
    manifest = run.built()
    require_finished(run)
    snapshot = Snapshot(run, manifest)
    plans = require_no_redrive(run, snapshot, options)
    decision = Decision(manifest.run_id, by or user_of_process(), note, selection.as_dict())
    counts = Counter[str]()
    already = 0
    for shard, chosen in _selected(run, manifest, snapshot, selection):
        if not dry_run and chosen.new:
            if snapshot.redrive(shard.id) is None:
                # A run in steps has decided nothing. If its summary was lost, its retryable rows would be resubmitted.
                Ledger(run).record_redrive(shard.id, ())
            chosen.recorded(record_discard(run, shard.id, chosen.new, decision))
        counts.update(chosen.reasons())
        already += chosen.already
    _require_no_later_redrive(run, manifest, options, plans)
    done = Discarded(run.destination.uri, counts.total(), already, dict(sorted(counts.items())))
    if not dry_run:
        log.info("%s: %d dead letters are discarded, %d were before.", run.destination, done.discarded, done.already)
    return done


def user_of_process() -> str:
    """The name of the user, or an empty text where the system has none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container may run under a number without a name
        return ""


class _Chosen:
    """The selected letters of one part.

    :ivar letters: how many were added.
    :ivar new: those that are not discarded, as ``Discard.keys``.
    :ivar already: how many dead letters were discarded before.
    """

    def __init__(self, discarded: dict[str, int]) -> None:
        self._discarded = discarded
        self._reasons: dict[str, str] = {}
        self.new: dict[str, int] = {}
        self.already = self.letters = 0

    def add(self, keys: list[str], reasons: list[str]) -> None:
        self.letters += len(keys)
        for key, reason in zip(keys, reasons, strict=True):
            if key in self._discarded:
                self.already += self._discarded[key]
            else:
                self.new[key] = 1
                self._reasons[key] = reason

    def add_copies(self, batch: pa.RecordBatch) -> None:
        for payer in batch.column("paid_by").to_pylist():
            if payer in self.new:
                self.new[payer] += 1

    def recorded(self, written: dict[str, int]) -> None:
        """Another caller may have discarded some of them at the same instant."""
        self.already += sum(rows for key, rows in self.new.items() if key not in written)
        self.new = written

    def reasons(self) -> Counter[str]:
        counts = Counter[str]()
        for key, rows in self.new.items():
            counts[self._reasons[key]] += rows
        return counts


def _selected(run: Run, manifest: Manifest, snapshot: Snapshot, selection: Selection) -> Iterator[tuple[Shard, _Chosen]]:
    """The selected letters of each part that has any. Raises InputError, before the first of them, for a key that is none."""
    shards, repeats = snapshot.shards(), manifest.repeats
    payers = payers_of(run, shards, selection)
    if selection.keys is not None:
        found = set(payers)
        for shard in shards:
            for rows in _batches(run, shard, selection, repeats):
                found |= names_of(rows, repeats)
        require_found(run, selection, found)
    selection, left = selection.and_keys(payers.values()), selection.limit
    discards = Discards(run, manifest.run_id)
    for shard in shards:
        chosen = _Chosen(discards.of(shard.id))
        for rows in _batches(run, shard, selection, repeats):
            rows = rows.slice(0, None if left is None else left - chosen.letters)
            chosen.add(wire_keys_of(rows, repeats).to_pylist(), rows.column("reason").to_pylist())
        if chosen.new and manifest.duplicates_sha256 is not None:
            for copies in copies_of(run, shard, ["paid_by"]):
                chosen.add_copies(copies)
        left = None if left is None else left - chosen.letters
        if chosen.new or chosen.already:
            yield shard, chosen


def _batches(run: Run, shard: Shard, selection: Selection, repeats: int) -> Iterator[pa.RecordBatch]:
    for batch in dead_letter_batches(run, shard, selection.columns(repeats)):
        yield batch.filter(selection.of_batch(batch, repeats))


def _require_no_later_redrive(run: Run, manifest: Manifest, options: BatchOptions, plans: frozenset[str]) -> None:
    """A redrive that was planned before the discards were written may have read them too early."""
    if require_no_redrive(run, Snapshot(run, manifest), options) != plans:
        raise InputError(
            f"{run.destination} was redriven while its dead letters were being discarded, so some of them may have been "
            "resubmitted. Discard again when that redrive is finished."
        )
    require_finished(run)
