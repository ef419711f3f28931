"""How often a call that may be repeated is repeated, and after which delays.

One object holds the numbers, so that tests and the crash harness can make the delays short without changing what is repeated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import tenacity
from google.genai import types

from airflow_gemini_batch.engine.errors import DroppedError, ServiceError

#: So many bytes in a few attempts are progress: less from a connection that breaks again and again would take for ever.
_WORTHWHILE_BYTES = 256 * 1024

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Retries:
    """Attempts, and delays that double from one to the next and are jittered.

    :param attempts: requests per call, the first one included. Four take about seven seconds, which covers a restart of a proxy;
        longer outages are waited out by the caller, who can save its state meanwhile.
    :param first_delay: seconds before the second attempt.
    :param longest_delay: seconds, the upper limit of each delay.
    """

    attempts: int = 4
    first_delay: float = 1.0
    longest_delay: float = 15.0

    def of_the_sdk(self) -> types.HttpRetryOptions:
        """For the SDK's own retries: 408, 429, 5xx, connect errors and timeouts."""
        return types.HttpRetryOptions(
            attempts=self.attempts, initial_delay=self.first_delay, max_delay=self.longest_delay, jitter=self.first_delay
        )

    def repeat(self, call: Callable[[], _T], *, over: tuple[type[ServiceError], ...] = (DroppedError,)) -> _T:
        """Call until it succeeds, fails with another error, or the attempts are used up; then raise the last error.

        :param over: the failures that are repeated. Default: the one that the SDK's own retries leave out.
        """
        attempts = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(over),
            wait=tenacity.wait_random_exponential(multiplier=self.first_delay / 2, max=self.longest_delay),
            stop=tenacity.stop_after_attempt(self.attempts),
            reraise=True,
        )
        return attempts(call)

    def resume(self, call: Callable[[], _T], *, progress: Callable[[], int], over: tuple[type[ServiceError], ...]) -> _T:
        """As ``repeat``, for a transfer that continues where it broke: as long as it comes further, it gets new attempts.

        :param progress: the bytes that have arrived.
        """
        while True:
            before = progress()
            try:
                return self.repeat(call, over=over)
            except over:
                if progress() - before < _WORTHWHILE_BYTES:
                    raise
