"""Dead letters that somebody has decided not to send again, and the facts that say so.

    ledger/<id>.discard-<n>.json   dead letters of that part; who decided it, when, and why

A discard changes no table: the rows stay dead letters, and the books balance as before. A fact is created exclusively and never
rewritten; the letters of a part that are discarded are those of all its facts together, so two discards at the same instant both
count. A letter is named by its part and its wire key. A row that is resubmitted in spite of a discard, and fails again, is a
letter of another attempt, about which nobody has decided yet.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from airflow_gemini_batch.engine.run.layout import Run, ShardAttempt, read_json
from airflow_gemini_batch.engine.run.storage import Location

_FACT = re.compile(r"(\d{5,}-\d+)\.discard-(\d+)\.json")


class Discard(msgspec.Struct, frozen=True):
    """One decision about dead letters of one part.

    :param run_id: of the run that it was made about: one that replaces that run has nothing to do with it.
    :param keys: wire key of each letter -> how many dead letters share its request: itself, and the rows that it pays for.
    :param at: seconds since the epoch.
    :param by: who decided it: a person, or a task instance.
    :param note: why, in the words of whoever decided it.
    :param selection: what was asked for; ``keys`` is what it was resolved to.
    """

    run_id: str
    keys: dict[str, int]
    at: float
    by: str
    note: str = ""
    selection: dict[str, Any] = {}


class Decision(msgspec.Struct, frozen=True):
    """What is written down of a discard besides the letters themselves."""

    run_id: str
    by: str
    note: str
    selection: dict[str, Any]


class Discards:
    """The letters of a run that were discarded by now: one listing says in which parts, whose facts are opened when asked for."""

    def __init__(self, run: Run, run_id: str, names: Iterable[str] | None = None) -> None:
        """:param names: the files of the ledger, from a caller that has listed it; None: it is listed here."""
        self._run = run
        self._run_id = run_id
        names = [file.name for file in run.ledger_folder.children()] if names is None else names
        #: part -> the numbers of its facts
        self.parts: dict[str, list[int]] = {}
        for match in filter(None, map(_FACT.fullmatch, names)):
            self.parts.setdefault(match[1], []).append(int(match[2]))

    def of(self, part: ShardAttempt) -> dict[str, int]:
        """The letters of a part that are discarded, as ``Discard.keys``. Raises CorruptRunError for a fact that is torn."""
        keys: dict[str, int] = {}
        for number in sorted(self.parts.get(str(part), ())):
            fact = read_json(_fact_file(self._run, part, number), Discard)
            if fact is not None and fact.run_id == self._run_id:
                keys.update(fact.keys)
        return keys


def record_discard(run: Run, part: ShardAttempt, letters: Mapping[str, int], decision: Decision) -> dict[str, int]:
    """Write down which letters of a part are discarded. Those that already are stay as they were decided.

    :param letters: as ``Discard.keys``.

    Returns those that were not discarded before.
    """
    left, number = dict(letters), 1
    while True:
        file = _fact_file(run, part, number)
        there = read_json(file, Discard)
        if there is None:
            if not left:
                return {}
            fact = Discard(decision.run_id, left, time.time(), decision.by, decision.note, decision.selection)
            if file.create(msgspec.json.encode(fact)):
                return left
            continue  # another caller was faster: it may have discarded the same letters
        if there.run_id == decision.run_id:
            left = {key: rows for key, rows in left.items() if key not in there.keys}
        number += 1


def _fact_file(run: Run, part: ShardAttempt, number: int) -> Location:
    """:param number: counts the decisions about a part, from 1."""
    return run.ledger_folder / f"{part}.discard-{number}.json"
