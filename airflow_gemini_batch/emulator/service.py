"""Shared by all parts of the emulator: options, clock, store, journal and fault rules."""

from __future__ import annotations

import secrets
import string
from pathlib import Path

from airflow_gemini_batch.emulator.clock import Clock
from airflow_gemini_batch.emulator.faults.rules import FaultRules
from airflow_gemini_batch.emulator.journal import Journal
from airflow_gemini_batch.emulator.options import Options
from airflow_gemini_batch.emulator.store import Store


class Service:
    """One emulated service with its state folder."""

    def __init__(self, folder: Path, options: Options) -> None:
        self.options = options
        self.store = Store(folder)
        offset = int(self.store.setting("clock_offset_ns", "0"))
        self.clock = Clock(offset, lambda offset_ns: self.store.set_setting("clock_offset_ns", str(offset_ns)))
        self.journal = Journal(self.store, self.clock)
        self.rules = FaultRules(self.store)
        self.projects = options.projects_by_key()
        """Project by API key; empty if every key is accepted."""

    def close(self) -> None:
        self.store.close()


def new_id(length: int) -> str:
    """A random id of lower-case letters and digits."""
    return "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(length))
