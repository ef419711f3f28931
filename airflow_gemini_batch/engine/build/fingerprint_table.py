"""Which row of a table asked for something first: a hash table of fingerprints for tables of any length.

In memory are 5 bytes for each slot, which is 7 to 14 bytes for each distinct request: a number, and a byte of the fingerprint,
which tells most rows apart. The fingerprints themselves are in a file, and are compared whenever two rows seem equal: the
answer is exact. Rows are looked up in a few passes of numpy, so it pays to add thousands at a time.
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

_EMPTY = -1
_NOBODY = np.iinfo(np.int32).min
_MAX_LOAD = 0.75
_FIRST_SLOTS = 1 << 16
#: Rows that are put into a grown table at a time.
_BLOCK = 1 << 16
#: Row numbers are 32 bits wide.
MAX_ROWS = np.iinfo(np.int32).max


class FingerprintTable:
    """Numbers the rows that are the first with their fingerprint. Close it when the table has been read.

    A slot of the table holds -1, or the number of a row, or, while a block is read, -2 minus the place of a row in the block.
    """

    def __init__(self, slots: int = _FIRST_SLOTS) -> None:
        """:param slots: a power of two."""
        self._slots, self._marks = np.full(slots, _EMPTY, np.int32), np.zeros(slots, np.uint8)
        self._file = tempfile.TemporaryFile(prefix="gemini-batch-fingerprints-", buffering=0)  # noqa: SIM115 - see close()
        self._known: Any = np.zeros((0, _WORDS), np.uint64)
        self._rows = self._taken = 0

    def close(self) -> None:
        """Give back all memory, and the file."""
        self._slots, self._marks = np.zeros(0, np.int32), np.zeros(0, np.uint8)
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
        found = self._find(words, np.flatnonzero(has_request))
        is_new = found == _EMPTY
        numbers = self._rows + np.cumsum(is_new) - 1
        new_with_request = np.flatnonzero(is_new & has_request)
        places = self._places[new_with_request]
        self._slots[places], self._marks[places] = numbers[new_with_request], self._marks_of[new_with_request]
        self._remember(words[is_new])
        self._taken += len(new_with_request)
        in_block = found < _EMPTY
        payers = np.where(is_new, numbers, found)
        payers[in_block] = numbers[-2 - found[in_block]]
        return is_new, payers

    def _find(self, words: Any, rows: Any) -> Any:
        """For each row what its slot held: a number, a place in this block, or -1 if the slot is its own now."""
        found = np.full(len(words), _EMPTY, np.int64)
        mask = len(self._slots) - 1
        self._places = places = _first_slots(words, mask)
        self._marks_of = _marks(words)
        at = places[rows]
        step = 0
        while len(rows):
            held = self._slots[at]
            own = (-2 - rows).astype(np.int32)
            is_empty = held == _EMPTY
            if is_empty.any():
                # The first row of the block that meets a slot takes it; what others find there is its place in the block.
                slots = at[is_empty]
                self._slots[slots] = _NOBODY
                np.maximum.at(self._slots, slots, own[is_empty])
                held[is_empty] = self._slots[slots]
            is_own = held == own
            places[rows[is_own]] = at[is_own]
            others, is_equal = self._equal(words, rows, at, held, ~is_own)
            found[rows[others[is_equal]]] = held[others[is_equal]]
            left = others[~is_equal]
            step += 1
            rows, at = rows[left], (at[left] + step) & mask
        return found

    def _equal(self, words: Any, rows: Any, at: Any, held: Any, chosen: Any) -> tuple[Any, Any]:
        """The places of the chosen rows, and for each whether its fingerprint is that of what its slot holds."""
        others = chosen.nonzero()[0]
        row, held = rows[others], held[others]
        is_equal = np.zeros(len(others), bool)
        in_block = (held < _EMPTY).nonzero()[0]
        is_equal[in_block] = _same(words.take(-2 - held[in_block], axis=0), words.take(row[in_block], axis=0))
        in_file = ((held >= 0) & (self._marks[at[others]] == self._marks_of[row])).nonzero()[0]
        if len(in_file):
            is_equal[in_file] = _same(self._known.take(held[in_file], axis=0), words.take(row[in_file], axis=0))
        return others, is_equal

    def _remember(self, words: Any) -> None:
        try:
            # Written, not mapped: a full disk is an error here, and would be a crash there.
            os.pwrite(self._file.fileno(), words.tobytes(), self._rows * _BYTES)
        except OSError as error:
            raise DestinationError(
                f"Cannot keep the fingerprints of the requests in {tempfile.gettempdir()}: {error.strerror}. {_BYTES} bytes for "
                "each distinct request are needed there; free space, set TMPDIR, or pass dedupe=False."
            ) from error
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
        slots = len(self._slots)
        while self._taken + rows > _MAX_LOAD * slots:
            slots *= 2
        if slots == len(self._slots):
            return
        is_held = np.zeros(self._rows, bool)
        for start in range(0, len(self._slots), _BLOCK):
            numbers = self._slots[start : start + _BLOCK]
            is_held[numbers[numbers != _EMPTY]] = True
        del self._slots, self._marks  # the new ones must not need memory beside the old ones
        self._slots, self._marks = np.full(slots, _EMPTY, np.int32), np.zeros(slots, np.uint8)
        mask = slots - 1
        for start in range(0, self._rows, _BLOCK):  # in the order of the file
            held = np.flatnonzero(is_held[start : start + _BLOCK])
            numbers = (start + held).astype(np.int32)
            # Read, not mapped: what a process has looked at in a mapping counts as its memory.
            block = os.pread(self._file.fileno(), _BLOCK * _BYTES, start * _BYTES)
            words = np.frombuffer(block, np.uint64).reshape(-1, _WORDS).take(held, axis=0)
            marks, places = _marks(words), _first_slots(words, mask)
            step = 0
            while len(numbers):
                is_free = self._slots[places] == _EMPTY
                self._slots[places[is_free]] = numbers[is_free]
                is_put = self._slots[places] == numbers
                self._marks[places[is_put]] = marks[is_put]
                left = ~is_put
                step += 1
                numbers, marks, places = numbers[left], marks[left], (places[left] + step) & mask


def _first_slots(words: Any, mask: int) -> Any:
    return (words[:, 0] & np.uint64(mask)).astype(np.int64)


def _marks(words: Any) -> Any:
    """Of each fingerprint one byte, of another word than that which chooses the slot."""
    return (words[:, 1] >> np.uint64(56)).astype(np.uint8)


def _same(some: Any, others: Any) -> Any:
    return (some[:, 0] == others[:, 0]) & (some[:, 1] == others[:, 1])
