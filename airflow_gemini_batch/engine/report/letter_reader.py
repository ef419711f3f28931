"""The dead letters of a run, as a person looks at them: which there are, what is most frequent, and which were discarded.

Reads only, some letters at a time. Letters of rows that were answered by another row's request (``paid_by``) follow those that
their requests were made for. A part that is being written is passed over.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from airflow_gemini_batch.engine.finish.messages import MessageCounter, Messages
from airflow_gemini_batch.engine.finish.redrive import dead_letter_batches
from airflow_gemini_batch.engine.finish.selection import Selection, copies_of
from airflow_gemini_batch.engine.run.discards import Discards
from airflow_gemini_batch.engine.run.layout import Run, Shard
from airflow_gemini_batch.engine.run.repeats import REPEAT, wire_keys_of
from airflow_gemini_batch.engine.run.snapshot import Snapshot

#: What is read of a letter that is not shown whole.
COLUMNS = ("key", "reason", "code", "status", "message", "retryable", "paid_by", "attempt")


class LetterReader:
    """The selected dead letters of a run that was built."""

    def __init__(self, run: Run, selection: Selection) -> None:
        """Raises DestinationError when the destination holds no run."""
        self._run = run
        self._manifest = run.built()
        self._selection = selection
        names = [file.name for file in run.ledger_folder.children()]
        self._shards = Snapshot(run, self._manifest, names).shards()
        self._discards = Discards(run, self._manifest.run_id, names)

    def letters(self, *, whole: bool = False) -> Iterator[dict[str, Any]]:
        """One letter at a time, with ``discarded``.

        :param whole: with all columns of the table; otherwise those in ``COLUMNS``, and ``repeat`` where there are repeats.
        """
        for rows, discarded in self._batches(None if whole else self._columns(COLUMNS)):
            for letter, is_discarded in zip(rows.to_pylist(), discarded, strict=True):
                yield {**letter, "discarded": is_discarded}

    def count(self) -> LetterCounts:
        """All selected letters, whatever the limit."""
        counts, messages = LetterCounts(), MessageCounter()
        for rows, discarded in self._batches(self._columns(("key", "reason", "message", "paid_by"))):
            counts.letters += rows.num_rows
            counts.discarded += sum(discarded)
            counts.reasons.update(rows.column("reason").to_pylist())
            messages.add(rows)
        counts.messages = messages.most_frequent()
        return counts

    def _columns(self, names: Sequence[str]) -> list[str]:
        repeat = [] if self._manifest.repeats == 1 else [REPEAT.name]
        return list(dict.fromkeys([*names[:1], *repeat, *names[1:], *self._selection.columns(self._manifest.repeats)]))

    def _batches(self, columns: list[str] | None) -> Iterator[tuple[pa.RecordBatch, list[bool]]]:
        repeats = self._manifest.repeats
        for shard in self._shards:
            discarded = self._discards.of(shard.id)
            with contextlib.suppress(FileNotFoundError, pa.ArrowInvalid):
                for batch in self._parts(shard, columns):
                    rows = batch.filter(self._selection.of_batch(batch, repeats))
                    payers = rows.column("paid_by").to_pylist()
                    names = wire_keys_of(rows, repeats).to_pylist()
                    yield rows, [(payer or name) in discarded for payer, name in zip(payers, names, strict=True)]

    def _parts(self, shard: Shard, columns: list[str] | None) -> Iterator[pa.RecordBatch]:
        yield from dead_letter_batches(self._run, shard, columns)
        if self._manifest.duplicates_sha256 is not None:
            yield from copies_of(self._run, shard, columns)


class LetterCounts:
    """What is said about the selected letters together.

    :ivar messages: reason -> its most frequent messages.
    """

    def __init__(self) -> None:
        self.letters = self.discarded = 0
        self.reasons: Counter[str] = Counter()
        self.messages: Messages = {}

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        messages = {
            reason: [{"message": one.message, "rows": one.rows} for one in several] for reason, several in self.messages.items()
        }
        return {
            "count": self.letters,
            "discarded": self.discarded,
            "reasons": dict(self.reasons.most_common()),
            "messages": messages,
        }
