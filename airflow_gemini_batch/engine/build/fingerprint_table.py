"""Which row of a table asked for something first: a hash table of fingerprints for tables of any length.

In memory are 4 bytes for each slot, which is 5 to 11 bytes for each distinct request. The fingerprints themselves are in a file,
and are compared whenever two rows seem equal: the answer is exact. A block of rows is looked up in a few passes of numpy.
"""

from __future__ import annotations

import os
import tempfile
from typing import Any

import numpy as np

from airflow_gemini_batch.engine.errors import DestinationError

#: Halves of a fingerprint that are kept. A collision of 128 bits of SHA-256 is not found by chance or by force.
_WORDS = 2
_BYTES = 8 * _WORDS

_EMPTY = -1
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
        self._slots = np.full(slots, _EMPTY, np.int32)
        self._file = tempfile.TemporaryFile(prefix="gemini-batch-fingerprints-", buffering=0)  # noqa: SIM115 - see close()
        self._known: Any = np.zeros((0, _WORDS), np.uint64)
        self._rows = self._taken = 0

    def close(self) -> None:
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
        self._slots[self._places[new_with_request]] = numbers[new_with_request]
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
        self._places = places = (words[:, 0] & np.uint64(mask)).astype(np.int64)
        at = places[rows]
        step = 0
        while len(rows):
            held = self._slots[at]
            is_empty = held == _EMPTY
            if is_empty.any():
                # The first row of the block that meets a slot takes it; what others find there is its place in the block.
                slots, firsts = np.unique(at[is_empty], return_index=True)
                self._slots[slots] = -2 - rows[is_empty][firsts]
                held = self._slots[at]
            differs = (self._words_of(held, words) != words[rows]).any(axis=1)
            others = ~differs & (held != -2 - rows)
            found[rows[others]] = held[others]
            places[rows] = at
            step += 1
            rows, at = rows[differs], (at[differs] + step) & mask
        return found

    def _words_of(self, held: Any, words: Any) -> Any:
        of_block = held < _EMPTY
        known = np.empty((len(held), _WORDS), np.uint64)
        known[of_block] = words[-2 - held[of_block]]
        known[~of_block] = self._known[held[~of_block]]
        return known

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
            os.ftruncate(self._file.fileno(), 2 * self._rows * _BYTES)
            self._known = np.memmap(self._file, np.uint64, "r", shape=(2 * self._rows, _WORDS))

    def _reserve(self, rows: int) -> None:
        """Grow so that this many more rows fit."""
        slots = len(self._slots)
        while self._taken + rows > _MAX_LOAD * slots:
            slots *= 2
        if slots == len(self._slots):
            return
        held = self._slots
        self._slots = np.full(slots, _EMPTY, np.int32)
        mask = slots - 1
        for start in range(0, len(held), _BLOCK):
            numbers = held[start : start + _BLOCK]
            numbers = numbers[numbers != _EMPTY]
            places = (self._known[numbers, 0] & np.uint64(mask)).astype(np.int64)
            step = 0
            while len(numbers):
                is_free = self._slots[places] == _EMPTY
                self._slots[places[is_free]] = numbers[is_free]
                left = self._slots[places] != numbers
                step += 1
                numbers, places = numbers[left], (places[left] + step) & mask
