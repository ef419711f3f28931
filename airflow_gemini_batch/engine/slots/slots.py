"""Slots for the active jobs of a project, shared by all runs in all processes. One is taken before a job is created.

A slot is held until its job has ended at the service. A shard that finds no free slot compares them with the service's jobs, at
most twice a minute for all runs. So nothing has to be released, and a slot of a process that died is freed by that comparison.
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
from airflow_gemini_batch.engine.project_limits import ProjectLimits
from airflow_gemini_batch.engine.run.storage import locate
from airflow_gemini_batch.engine.run.tokens import input_file_name, token_of_display_name
from airflow_gemini_batch.engine.slots.state import Answer, Demand, Slot, State, accepted, not_created, refused, released, take
from airflow_gemini_batch.engine.slots.versions import Versioned

log = logging.getLogger(__name__)

#: Seconds between two comparisons with the service's jobs, over all runs.
_LOOK_EVERY = 30.0


@dataclass(frozen=True, slots=True)
class Slots:
    """The slots of one project.

    :param grace: seconds for which a slot counts although the service lists no job for it: the job may be about to be created.
    :param clock: ``time.time``, to be replaced where time is simulated.
    """

    limits: ProjectLimits
    client: GeminiClient
    grace: float
    clock: Callable[[], float] = field(default=time.time, repr=False)

    @property
    def record(self) -> Versioned[State]:
        return record_of(self.limits)

    def take(self, token: str, demand: Demand, who: str) -> HeldSlot:
        """Take a slot for a job, or keep the one that it has.

        :param who: what the slot is for, in words for the error.

        Raises NoRoomError when it has to wait for its turn.
        """
        answer = self._ask(token, demand)
        if answer.obstacle is not None and self._free_ended():
            answer = self._ask(token, demand)
        if answer.obstacle is not None:
            clears_at = answer.obstacle.clears_at
            wait = None if clears_at is None else max(0.0, clears_at - self.clock()) + random.uniform(1.0, 5.0)
            raise NoRoomError(f"{who} waits for its turn: {answer.obstacle.why} ({self.limits.folder}).", retry_after=wait)
        return HeldSlot(self, token, demand, answer.probes)

    def _ask(self, token: str, demand: Demand) -> Answer:
        return self.record.change(lambda state: take(state, self.limits, token, demand, self.clock()))

    def _free_ended(self) -> bool:
        """Free the slots whose job has ended, or was never created. Returns whether there were any."""
        now = self.clock()

        def looked(state: State) -> tuple[State, Mapping[str, Slot]]:
            if state.looked_at > now - _LOOK_EVERY:
                return state, {}
            return msgspec.structs.replace(state, looked_at=now), state.slots

        slots = self.record.change(looked)
        ended = self._ended(slots) if slots else frozenset()
        if not ended:
            return False

        def freed(state: State) -> tuple[State, None]:
            return released(state, *(token for token in ended if state.slots.get(token) == slots[token])), None

        self.record.change(freed)
        log.info("%d of %d slots are free again: their jobs have ended, or were not created.", len(ended), len(slots))
        return True

    def _ended(self, slots: Mapping[str, Slot]) -> frozenset[str]:
        """Which of the slots have no active job. The listing begins with the newest, so it is rarely read to its end."""
        began = self.clock()
        left, ended = set(slots), set()
        by_file = {input_file_name(token): token for token in slots}  # in case the display name is lost
        for job in self.client.list_jobs():
            token = token_of_display_name(job.display_name) or by_file.get(job.input_file or "")
            if token not in left:
                continue
            left.remove(token)
            if job.is_terminal:
                ended.add(token)
            if not left:
                break
        return frozenset(ended | {token for token in left if slots[token].since < began - self.grace})


@dataclass(frozen=True, slots=True)
class HeldSlot:
    """A slot that a job has.

    :param probes: whether the service has refused the model lately, so that what it takes says something.
    """

    slots: Slots
    token: str
    demand: Demand
    probes: bool

    def refused(self, error: Exception) -> None:
        """No job was created. After a 429, no run tries more than is in flight now for some time."""
        now = self.slots.clock()
        if isinstance(error, QuotaError):
            after = error.retry_after
            self.slots.record.change(lambda state: (refused(state, self.token, self.demand, after, now), None))
        else:
            self.slots.record.change(lambda state: (not_created(state, self.token), None))

    def accepted(self) -> None:
        """The job was created."""
        if self.probes:
            self.slots.record.change(lambda state: (accepted(state, self.demand, self.slots.clock()), None))


def record_of(limits: ProjectLimits) -> Versioned[State]:
    """What is known about the project's slots, in the folder that the limits name."""
    return Versioned(locate(limits.folder), State())
