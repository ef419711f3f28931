"""Which row of a table asked for something first: a hash table of fingerprints for tables of any length.

In memory is a byte for each slot, which is 1.3 to 2.7 bytes for each distinct request: a part of the fingerprint, which tells
most rows apart. The numbers of the rows and the fingerprints themselves are in files, and are compared whenever two rows seem
equal: the answer is exact. Rows are looked up in a few passes of numpy, so it pays to add thousands at a time.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from typing import Any

import numpy as np

from airflow_gemini_batch.engine.errors import DestinationError

#: Halves of a fingerprint that are kept. A collision of 128 bits of SHA-256 is not found by chance or by force.
_WORDS = 2
_BYTES = 8 * _WORDS

#: What a slot's file has of a row: its number, or, while its block is looked up, -1 minus its place in the block.
_NUMBER = np.dtype(np.int32)
_NOBODY = np.iinfo(_NUMBER).min
#: The mark of a slot that holds no row.
_EMPTY = 0
_MAX_LOAD = 0.75
_FIRST_SLOTS = 1 << 16
#: Rows that are put into a grown table at a time, and rows whose slots are looked for at a time.
_BLOCK = 1 << 16
_MANY = 1 << 24
#: Row numbers are 32 bits wide.
MAX_ROWS = np.iinfo(_NUMBER).max

#: Bytes of disk for each distinct request, at most: the fingerprint, and the slots that are free.
_MOST_DISK = _BYTES + round(2 * _NUMBER.itemsize / _MAX_LOAD)


class FingerprintTable:
    """Numbers the rows that are the first with their fingerprint. Close it when the table has been read."""

    def __init__(self, slots: int = _FIRST_SLOTS) -> None:
        """:param slots: a power of two."""
        self._marks, self._slots = np.zeros(slots, np.uint8), _slots_in_a_file(slots)
        self._file = tempfile.TemporaryFile(prefix="gemini-batch-fingerprints-", buffering=0)  # noqa: SIM115 - see close()
        self._known: Any = np.zeros((0, _WORDS), np.uint64)
        self._rows = self._taken = 0

    def close(self) -> None:
        """Give back all memory, and the files."""
        self._marks, self._slots = np.zeros(0, np.uint8), np.zeros(0, _NUMBER)
        self._known = np.zeros((0, _WORDS), np.uint64)
        self._file.close()

    def add(self, fingerprints: Any, has_request: Any) -> tuple[Any, Any]:
        """Look up the next rows, and remember those that are new.

        :param fingerprints: uint64, at least two for each row: the first words of the fingerprint.
        :param has_request: bool for each row; a row without a request is always a new one.

        Returns bools, whether each row is new, and int64: the number among all new rows of the first one with that fingerprint.
        """
        words = np.ascontiguousarray(fingerprints[:, :_WORDS])
        self._reserve(len(words))
        found, places = self._find(words, np.flatnonzero(has_request))
        is_new = found == _NOBODY
        numbers = self._rows + np.cumsum(is_new) - 1
        new_with_request = np.flatnonzero(is_new & has_request)
        self._slots[places[new_with_request]] = numbers[new_with_request]
        self._remember(words[is_new])
        self._taken += len(new_with_request)
        in_block = ~is_new & (found < 0)
        payers = np.where(is_new, numbers, found)
        payers[in_block] = numbers[-1 - found[in_block]]
        return is_new, payers

    def _find(self, words: Any, rows: Any) -> tuple[Any, Any]:
        """For each row what its slot held, or ``_NOBODY`` if the slot is its own now; and the slot.

        :param rows: which of them have a request.
        """
        found = np.full(len(words), _NOBODY, np.int64)
        mask = len(self._marks) - 1
        places, marks = _first_slots(words, mask), _marks(words)
        at = places[rows]
        step = 0
        while len(rows):
            is_empty = self._marks[at] == _EMPTY
            if is_empty.any():
                self._claim(at[is_empty], rows[is_empty], marks)
            # Only where the mark is the same is the slot's file looked at.
            alike = (self._marks[at] == marks[rows]).nonzero()[0]
            row, slot = rows[alike], at[alike]
            held = self._slots[slot]
            is_own = held == -1 - row
            places[row[is_own]] = slot[is_own]
            is_equal = self._equal(words, row, held) & ~is_own
            found[row[is_equal]] = held[is_equal]
            is_left = np.ones(len(rows), bool)
            is_left[alike[is_own | is_equal]] = False
            step += 1
            rows, at = rows[is_left], (at[is_left] + step) & mask
        return found, places

    def _claim(self, slots: Any, rows: Any, marks: Any) -> None:
        """Of the rows that have met an empty slot, the first in the block takes it."""
        own = (-1 - rows).astype(_NUMBER)
        self._slots[slots] = _NOBODY
        np.maximum.at(self._slots, slots, own)
        is_first = self._slots[slots] == own
        self._marks[slots[is_first]] = marks[rows[is_first]]

    def _equal(self, words: Any, rows: Any, held: Any) -> Any:
        """For each row whether its fingerprint is that of the row which its slot holds."""
        is_equal = np.zeros(len(rows), bool)
        in_block, in_file = (held < 0).nonzero()[0], (held >= 0).nonzero()[0]
        is_equal[in_block] = _same(words.take(-1 - held[in_block], axis=0), words.take(rows[in_block], axis=0))
        if len(in_file):
            is_equal[in_file] = _same(self._known.take(held[in_file], axis=0), words.take(rows[in_file], axis=0))
        return is_equal

    def _remember(self, words: Any) -> None:
        try:
            # Written, not mapped: a full disk is an error here, and would be a crash there.
            os.pwrite(self._file.fileno(), words.tobytes(), self._rows * _BYTES)
        except OSError as error:
            raise _no_room(error) from error
        self._rows += len(words)
        if self._rows > MAX_ROWS:
            raise DestinationError(f"A run holds at most {MAX_ROWS:,} distinct requests; split the table.")
        if self._rows > len(self._known):
            self._map(2 * self._rows)

    def _map(self, rows: int) -> None:
        """Map the file with room for so many rows. The mapping is only read."""
        os.ftruncate(self._file.fileno(), rows * _BYTES)
        mapped = mmap.mmap(self._file.fileno(), rows * _BYTES, prot=mmap.PROT_READ)
        self._known = np.frombuffer(mapped, np.uint64).reshape(rows, _WORDS)

    def _reserve(self, rows: int) -> None:
        """Grow so that this many more rows fit."""
        slots = len(self._marks)
        while self._taken + rows > _MAX_LOAD * slots:
            slots *= 2
        if slots == len(self._marks):
            return
        before, is_taken = self._slots, self._marks != _EMPTY
        self._marks, self._slots = np.zeros(slots, np.uint8), _slots_in_a_file(slots)
        for first in range(0, self._rows, _MANY):
            is_held = _held(before, is_taken, first)
            for start in range(first, min(first + _MANY, self._rows), _BLOCK):  # in the order of the file
                self._put(start, np.flatnonzero(is_held[start - first : start - first + _BLOCK]))

    def _put(self, start: int, held: Any) -> None:
        """Give slots to rows that are known to be different.

        :param held: which rows from ``start`` on.
        """
        numbers = (start + held).astype(_NUMBER)
        block = os.pread(self._file.fileno(), _BLOCK * _BYTES, start * _BYTES)
        words = np.frombuffer(block, np.uint64).reshape(-1, _WORDS).take(held, axis=0)
        mask = len(self._marks) - 1
        marks, places = _marks(words), _first_slots(words, mask)
        step = 0
        while len(numbers):
            is_free = self._marks[places] == _EMPTY
            self._slots[places[is_free]] = numbers[is_free]
            is_put = is_free
            is_put[is_free] = self._slots[places[is_free]] == numbers[is_free]
            self._marks[places[is_put]] = marks[is_put]
            left = ~is_put
            step += 1
            numbers, marks, places = numbers[left], marks[left], (places[left] + step) & mask


def _slots_in_a_file(slots: int) -> Any:
    """Room for the number of a row in each slot. Raises DestinationError when the disk is full."""
    zeros, size = bytes(_BLOCK), slots * _NUMBER.itemsize
    with tempfile.TemporaryFile(prefix="gemini-batch-slots-", buffering=0) as file:
        try:
            for start in range(0, size, _BLOCK):  # written, then mapped: a full disk is an error here, a crash there
                os.pwrite(file.fileno(), zeros[: size - start], start)
        except OSError as error:
            raise _no_room(error) from error
        return np.frombuffer(mmap.mmap(file.fileno(), size), _NUMBER)


def _held(slots: Any, is_taken: Any, first: int) -> Any:
    """Which of the ``_MANY`` rows from ``first`` on have a slot."""
    is_held = np.zeros(_MANY, bool)
    for start in range(0, len(slots), _BLOCK):
        numbers = slots[start : start + _BLOCK][is_taken[start : start + _BLOCK]] - first
        is_held[numbers[(numbers >= 0) & (numbers < _MANY)]] = True
    return is_held


def _no_room(error: OSError) -> DestinationError:
    return DestinationError(
        f"Cannot keep the fingerprints of the requests in {tempfile.gettempdir()}: {error.strerror}. Up to {_MOST_DISK} bytes "
        "for each distinct request are needed there; free space, set TMPDIR, or pass dedupe=False."
    )


def _first_slots(words: Any, mask: int) -> Any:
    return (words[:, 0] & np.uint64(mask)).astype(np.int64)


def _marks(words: Any) -> Any:
    """Of each fingerprint a number from 1 to 255, of another word than that which chooses the slot."""
    return (1 + (words[:, 1] >> np.uint64(32)) % np.uint64(255)).astype(np.uint8)


def _same(some: Any, others: Any) -> Any:
    return (some[:, 0] == others[:, 0]) & (some[:, 1] == others[:, 1])
