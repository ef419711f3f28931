"""The signals that stop the demo. A light module: the command line imports it without loading Airflow."""

from __future__ import annotations

import signal

#: Sent by Ctrl-C, by a supervisor, and by a terminal that is closed.
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
