"""One call at a time: the right to write the scores of one name, or to ask one judge about one run.

<destination>/scores/_claims/names/<name>/, …/judges/<question>/
  00001.json                           created exclusively, deleted when the call ends
  00001-1795766400123.json             written again and again while the call works; the name says when, in milliseconds

A claim that has not been renewed for its lease belongs to a process that is gone: the next call takes over with the next number,
created exclusively too. A call that was paused for so long finds the higher number before it writes, and stops.
"""

from __future__ import annotations

import contextlib
import logging
import random
import re
import threading
import time
import uuid
from collections.abc import Callable
from types import TracebackType

import msgspec

from airflow_gemini_batch.engine.errors import CorruptRunError, UnsettledError, WaitTimeoutError
from airflow_gemini_batch.engine.run.layout import read_json
from airflow_gemini_batch.engine.run.storage import Location

log = logging.getLogger(__name__)

#: Seconds without a renewal after which a claim is void, at most. Long enough for a pause of a busy machine.
LONGEST_LEASE = 60.0


#: A claim, or a renewal of one.
_NAME = re.compile(r"(\d{5,})(?:-(\d+))?\.json")


class _Claimed(msgspec.Struct, frozen=True):
    """
    :param token: of the call.
    :param at: seconds since the epoch.
    """

    token: str
    at: float


class Claim:
    """A context manager that waits until the right is this call's, and keeps it.

    :param folder: of this right.
    :param what: is claimed, for messages.
    :param lease: seconds without a renewal after which others may take over.
    :param timeout: seconds to wait for another call. Raises WaitTimeoutError after that.
    """

    def __init__(
        self,
        folder: Location,
        what: str,
        *,
        lease: float,
        timeout: float,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder, self._what = folder, what
        self._lease, self._timeout = min(lease, LONGEST_LEASE), timeout
        self._sleep, self._clock = sleep, clock
        self._token = uuid.uuid4().hex
        self._number, self._renewed_at, self._lost = 0, 0.0, False
        self._ended = threading.Event()
        self._renewing: threading.Thread | None = None

    def __enter__(self) -> Claim:
        self._acquire()
        self._renewing = threading.Thread(target=self._renew, name="claim-on-scores", daemon=True)
        self._renewing.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        if self._renewing is not None:
            self._renewing.join()
        if self._is_own():
            self._remove(self._number)

    def require(self) -> None:
        """Raise UnsettledError when another call has taken over."""
        if not self._is_own():
            raise UnsettledError(
                f"Another call has taken over {self._what}: this one was paused for more than {self._lease:.0f} s. What it has "
                "written is kept. Call again when the other one has ended."
            )

    def _acquire(self) -> None:
        until, told = self._clock() + self._timeout, False
        while True:
            claims = self._claims()
            is_held = any(map(self._is_live, claims.values()))
            if not is_held and self._create(max(claims, default=0) + 1):
                for number in claims:
                    self._remove(number)
                return
            if is_held and not told:
                log.info("Another call is at %s; waiting for it.", self._what)
                told = True
            if self._clock() > until:
                raise WaitTimeoutError(
                    f"Another call has been at {self._what} for the timeout of {self._timeout:.0f} s. "
                    "Call again when it has ended."
                )
            self._sleep(min(1.0, self._lease / 10) * random.uniform(0.5, 1.0))

    def _create(self, number: int) -> bool:
        """Whether this call has the right now. Of two that see no live claim, each looks once more after its own create, so at
        least one of them sees the other and withdraws."""
        at = self._clock()
        if not self._file(number).create(msgspec.json.encode(_Claimed(self._token, at))):
            return False
        if any(self._is_live(renewed_at) for other, renewed_at in self._claims().items() if other != number):
            self._file(number).delete()
            return False
        self._number, self._renewed_at = number, at
        return True

    def _claims(self) -> dict[int, float]:
        """When each claim was renewed, or made, in seconds since the epoch; 0 where that cannot be read."""
        claims: set[int] = set()
        renewed: dict[int, float] = {}
        for file in self._folder.children():
            if (match := _NAME.fullmatch(file.name)) is not None:
                number = int(match[1])
                if match[2] is None:
                    claims.add(number)
                else:
                    renewed[number] = max(renewed.get(number, 0.0), int(match[2]) / 1000)
        return {number: renewed[number] if number in renewed else self._read(number).at for number in sorted(claims)}

    def _read(self, number: int) -> _Claimed:
        try:
            return read_json(self._file(number), _Claimed) or _NOBODY
        except CorruptRunError:  # torn: written on a disk without links, by a process that was killed
            return _NOBODY

    def _is_live(self, renewed_at: float) -> bool:
        return self._clock() - renewed_at <= self._lease

    def _is_own(self) -> bool:
        """Whether this call still has the right: it was not paused for a lease, and nobody has taken over."""
        if self._clock() - self._renewed_at > self._lease:
            self._lost = True
        if not self._lost:
            self._lost = max(self._claims(), default=0) != self._number or self._read(self._number).token != self._token
        return not self._lost

    def _file(self, number: int, suffix: str = "") -> Location:
        return self._folder / f"{number:05}{suffix}.json"

    def _remove(self, number: int) -> None:
        """The claim last: renewals without it mean nothing."""
        for file in self._folder.children():
            if (match := _NAME.fullmatch(file.name)) is not None and int(match[1]) == number and match[2] is not None:
                file.delete()
        self._file(number).delete()

    def _renew(self) -> None:
        earlier: Location | None = None
        while not self._ended.wait(self._lease / 5):
            with contextlib.suppress(Exception):  # the storage is away: the next renewal, or ``require``, will tell
                at = self._clock()
                if not self._is_own():
                    return
                renewal = self._file(self._number, f"-{int(at * 1000)}")
                renewal.write(b"{}")
                self._renewed_at = at
                if earlier is not None:
                    earlier.delete()
                earlier = renewal


#: Who has a claim that cannot be read.
_NOBODY = _Claimed("", 0.0)
