"""The answers of a shard's output that become rows of the results table, in batches.

Lines are read a few blocks ahead, in threads; they decide in their order.
"""

from __future__ import annotations

import logging
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain

import numpy as np

from airflow_gemini_batch.engine.printable import printable
from airflow_gemini_batch.engine.reasons import REASON_BY_FINISH
from airflow_gemini_batch.engine.response.answer_blocks import Reads, read_block
from airflow_gemini_batch.engine.response.answer_columns import Answers
from airflow_gemini_batch.engine.response.extras import Extras
from airflow_gemini_batch.engine.response.joining import Join
from airflow_gemini_batch.engine.response.lines import Block, OutputLines
from airflow_gemini_batch.engine.run.shard_inputs import Inputs
from airflow_gemini_batch.engine.threads import in_order

log = logging.getLogger(__name__)

#: A batch ends before the row that would take it past one of these.
_BATCH_ROWS = 4096
_BATCH_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Found:
    """Answers that decide about rows: of each, the number of its row, the place where its line begins, and what it says."""

    numbers: list[int]
    starts: list[int]
    answers: Answers

    @classmethod
    def of(cls, pieces: Sequence[Found]) -> Found:
        """All of them, in the order of the rows, in which a job nearly always answers."""
        numbers = list(chain.from_iterable(piece.numbers for piece in pieces))
        starts = list(chain.from_iterable(piece.starts for piece in pieces))
        found = cls(numbers, starts, Answers.joined([piece.answers for piece in pieces]))
        return found if numbers == sorted(numbers) else found.take(sorted(range(len(numbers)), key=numbers.__getitem__))

    def take(self, places: Sequence[int]) -> Found:
        numbers, starts = [self.numbers[place] for place in places], [self.starts[place] for place in places]
        return Found(numbers, starts, self.answers.take(places))

    def slice(self, start: int, stop: int) -> Found:
        return Found(self.numbers[start:stop], self.starts[start:stop], self.answers.slice(start, stop))

    def without(self, places: Container[int]) -> Found:
        return self.take([place for place in range(len(self.numbers)) if place not in places])


def found_answers(output: OutputLines, join: Join, inputs: Inputs, extras: Extras) -> Iterator[Found]:
    """The answers that decide about a row, some megabytes at a time."""
    unknown: set[str | None] = set()
    pieces: list[Found] = []
    rows = size = 0
    read = partial(read_block, vectors=extras.vectors, texts=extras.texts)
    for reads in in_order(output.blocks(), read, alone=_is_large):
        found = _decided(reads, join)
        unknown.update(found.answers["finish_reason"].to_pylist())
        weights = found.answers.sizes() + inputs.row_bytes_of(found.numbers)
        start = 0
        while start < len(weights):
            bytes_after = size + np.cumsum(weights[start:])
            count = min(_BATCH_ROWS - rows, int(np.searchsorted(bytes_after, _BATCH_BYTES, side="right")))
            if count == 0 and pieces:
                batch = Found.of(pieces)
                pieces, rows, size = [], 0, 0  # before the batch is used: it is a copy of them
                yield batch
                continue
            count = max(count, 1)  # one answer may be larger than a batch
            count = min(count, len(weights) - start)
            pieces.append(found.slice(start, start + count))
            rows, size, start = rows + count, int(bytes_after[count - 1]), start + count
    if pieces:
        yield Found.of(pieces)
    for finish_reason in sorted(reason for reason in unknown if reason is not None and reason not in REASON_BY_FINISH):
        # The service adds finish reasons over time. The answer has been paid for, and the column shows how it ended.
        log.warning("Unknown finish reason %s: answers with content count as results.", printable(finish_reason))


def _is_large(block: Block) -> bool:
    """A block is a megabyte, and the rest of its last line."""
    return len(block) > 0 and block.ends[-1] - block.begins[-1] > _BATCH_BYTES


def _decided(reads: Reads, join: Join) -> Found:
    """The answers of a block that decide about a row."""
    if len(reads.answers) == len(reads.lines) and (known := join.all_answered(reads.keys())) is not None:
        return Found(known, reads.starts, reads.answers)
    numbers, starts, places = [], [], []
    place = 0
    for start, read in zip(reads.starts, reads.lines, strict=True):
        if not isinstance(read, str):
            join.decide(read, start)
            continue
        number = join.answered(read, start)
        if number is not None:
            numbers.append(number)
            starts.append(start)
            places.append(place)
        place += 1
    return Found(numbers, starts, reads.answers if len(places) == place else reads.answers.take(places))
