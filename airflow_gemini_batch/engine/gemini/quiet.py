"""The libraries below us write an INFO line for each HTTP request and each retry: thousands in a run, and no event of it."""

from __future__ import annotations

import logging

#: httpx: "HTTP Request: GET …"; google-genai: "Retrying …".
_CHATTY = ("httpx", "google_genai")


def quiet_libraries() -> None:
    """Raise the level of these loggers to WARNING, unless somebody has set it: then it stays. No other logger is touched."""
    for name in _CHATTY:
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.WARNING)
