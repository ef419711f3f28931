"""Places among the jobs of a project, for shards of any run, in any process: taken before a job is created.

A place is kept until its job has ended at the service; whoever finds no room looks there, at most twice a minute for all runs.
So nothing has to be given back, and a process that dies with a place takes it from the others only until somebody looks.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import msgspec

from airflow_gemini_batch.engine.errors import NoRoomError, QuotaError
from airflow_gemini_batch.engine.gemini.client import GeminiClient
from airflow_gemini_batch.engine.places.state import Answer, Need, Place, State, accepted, given_up, refused, take
from airflow_gemini_batch.engine.places.versions import Versioned
from airflow_gemini_batch.engine.project_limits import ProjectLimits
from airflow_gemini_batch.engine.run.storage import locate
from airflow_gemini_batch.engine.run.tokens import is_for, token_of_display_name

log = logging.getLogger(__name__)

#: Seconds between two comparisons with the service's jobs, over all runs.
_LOOK_EVERY = 30.0


@dataclass(frozen=True, slots=True)
class Places:
    """The places of one project.

    :param grace: seconds for which a place counts although the service lists no job for it: the job may be about to be created.
    :param clock: ``time.time``, to be replaced where time is simulated.
    """

    limits: ProjectLimits
    client: GeminiClient
    grace: float
    clock: Callable[[], float] = field(default=time.time, repr=False)

    @property
    def record(self) -> Versioned[State]:
        return record_of(self.limits)

    def take(self, token: str, need: Need, who: str) -> Taken:
        """Have a place for a job; one that it has already is its own.

        :param who: asks, in words.

        Raises NoRoomError when it has to wait for its turn.
        """
        answer = self._ask(token, need)
        if answer.obstacle is not None and self._look():
            answer = self._ask(token, need)
        if answer.obstacle is not None:
            clears_at = answer.obstacle.clears_at
            wait = None if clears_at is None else max(0.0, clears_at - self.clock()) + random.uniform(1.0, 5.0)
            raise NoRoomError(f"{who} waits for its turn: {answer.obstacle.why} ({self.limits.folder}).", retry_after=wait)
        return Taken(self, token, need, answer.probes)

    def _ask(self, token: str, need: Need) -> Answer:
        return self.record.change(lambda state: take(state, self.limits, token, need, self.clock()))

    def _look(self) -> bool:
        """Free the places whose job has ended, or was never created. Returns whether there were any."""
        now = self.clock()

        def looked(state: State) -> tuple[State, Mapping[str, Place]]:
            if state.looked_at > now - _LOOK_EVERY:
                return state, {}
            return msgspec.structs.replace(state, looked_at=now), state.places

        places = self.record.change(looked)
        ended = self._ended(places) if places else frozenset()
        if not ended:
            return False

        def freed(state: State) -> tuple[State, None]:
            return given_up(state, *(token for token in ended if state.places.get(token) == places[token])), None

        self.record.change(freed)
        log.info("%d of %d places are free again: their jobs have ended, or were not created.", len(ended), len(places))
        return True

    def _ended(self, places: Mapping[str, Place]) -> frozenset[str]:
        """Which of the places have no active job. The listing begins with the newest, so it is rarely read to its end."""
        began = self.clock()
        left, ended = set(places), set()
        for job in self.client.list_jobs():
            token = token_of_display_name(job.display_name)
            if token not in left:
                token = next((other for other in left if is_for(job, other)), None) if token is None else None
            if token is None:
                continue
            left.discard(token)
            if job.is_terminal:
                ended.add(token)
            if not left:
                break
        return frozenset(ended | {token for token in left if places[token].since < began - self.grace})


@dataclass(frozen=True, slots=True)
class Taken:
    """A place that a job has.

    :param probes: whether the service has refused the model lately, so that what it takes says something.
    """

    places: Places
    token: str
    need: Need
    probes: bool

    def refused(self, error: Exception) -> None:
        """No job was created. After a 429 nobody asks for more than is in flight now, for some time."""
        now = self.places.clock()
        if isinstance(error, QuotaError):
            after = error.retry_after
            self.places.record.change(lambda state: (refused(state, self.token, self.need, after, now), None))
        else:
            self.places.record.change(lambda state: (given_up(state, self.token), None))

    def accepted(self) -> None:
        """The job was created."""
        if self.probes:
            self.places.record.change(lambda state: (accepted(state, self.need, self.places.clock()), None))


def record_of(limits: ProjectLimits) -> Versioned[State]:
    """What is known about the project's places, in the folder that the limits name."""
    return Versioned(locate(limits.folder), State())
