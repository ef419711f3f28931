"""Shared by all parts of the emulator: options, clock, store, journal and fault rules."""

from __future__ import annotations

import secrets
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

from airflow_gemini_batch.emulator.clock import Clock
from airflow_gemini_batch.emulator.faults.rules import FaultRules
from airflow_gemini_batch.emulator.journal import Journal
from airflow_gemini_batch.emulator.options import Options
from airflow_gemini_batch.emulator.proto_json import Json
from airflow_gemini_batch.emulator.store import Store

#: From a GenerateContentRequest to the text of its answer, or a value that is written as JSON. None: the emulator's own answer.
AnswerFunction = Callable[[Json], Any]


class Service:
    """One emulated service with its state folder."""

    def __init__(self, folder: Path, options: Options, answers: AnswerFunction | None = None) -> None:
        self.options = options
        self.answers = answers
        self.store = Store(folder)
        offset = int(self.store.setting("clock_offset_ns", "0"))
        self.clock = Clock(offset, lambda offset_ns: self.store.set_setting("clock_offset_ns", str(offset_ns)))
        self.journal = Journal(self.store, self.clock)
        self.rules = FaultRules(self.store)
        self.projects = options.projects_by_key()
        """Project by API key; empty if every key is accepted."""

    def own_answer(self, request: Json) -> Any:
        """What the caller's function says; None where there is none."""
        return None if self.answers is None else self.answers(request)

    def close(self) -> None:
        self.store.close()


def new_id(length: int) -> str:
    """A random id of lower-case letters and digits."""
    return "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(length))
