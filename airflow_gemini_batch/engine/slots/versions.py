"""A small record that many processes update atomically, using nothing but exclusive creation of files.

Each update creates the file with the next number from the newest one. If two processes create the same number, one fails, reads
again and retries. So an update is whole or absent, and a process that dies leaves no lock. Where the storage has no exclusive
creation (see ``storage.Location.create``), one of two concurrent updates may be lost.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import msgspec

from airflow_gemini_batch.engine.errors import CorruptRunError, NoRoomError
from airflow_gemini_batch.engine.run.layout import read_json
from airflow_gemini_batch.engine.run.storage import Location

#: Versions that are kept, at least. A process that is paused during more updates than that may overwrite a newer one.
_KEEP = 100

#: Tries, at growing intervals up to ``_LONGEST_PAUSE`` seconds: some minutes in all.
_MOST_TRIES = 200
_LONGEST_PAUSE = 2.0

_NAME = re.compile(r"(\d{10})\.json")

_T = TypeVar("_T", bound=msgspec.Struct)
_R = TypeVar("_R")


@dataclass(frozen=True, slots=True)
class Versioned(Generic[_T]):
    """
    :param folder: of the versions, and of nothing else.
    :param initial: the content before the first change.
    """

    folder: Location
    initial: _T
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)

    def read(self) -> _T:
        return self._newest()[1]

    def change(self, changed: Callable[[_T], tuple[_T, _R]]) -> _R:
        """Replace the content by what ``changed`` makes of it, and return its second value.

        :param changed: is called again when somebody else was faster, so it must do nothing besides. Nothing is written when the
            content stays the same.

        Raises DestinationError when the folder cannot be written, NoRoomError when others are faster all the time.
        """
        for tries in range(_MOST_TRIES):
            number, content = self._newest()
            new, value = changed(content)
            if new == content:
                return value
            if self._file(number + 1).create(msgspec.json.encode(new)):
                if (number + 1) % _KEEP == 0:
                    self._prune(number + 1 - _KEEP)
                return value
            self.sleep(random.uniform(0.2, 1.0) * min(0.02 * 2 ** min(tries, 16), _LONGEST_PAUSE))
        raise NoRoomError(f"{self.folder} was changed by others {_MOST_TRIES} times in a row; run the same again.")

    def _newest(self) -> tuple[int, _T]:
        """The highest number, and the newest content that can be read: a power cut may leave one torn on some file systems."""
        numbers = sorted(self._numbers(), reverse=True)
        for number in numbers:
            try:
                content = read_json(self._file(number), type(self.initial))
            except CorruptRunError:
                continue
            if content is not None:
                return numbers[0], content
        return (numbers[0] if numbers else 0), self.initial

    def _numbers(self) -> list[int]:
        return [int(match[1]) for file in self.folder.children() if (match := _NAME.fullmatch(file.name))]

    def _prune(self, up_to: int) -> None:
        for number in self._numbers():
            if number <= up_to:
                self._file(number).delete()

    def _file(self, number: int) -> Location:
        return self.folder / f"{number:010d}.json"
