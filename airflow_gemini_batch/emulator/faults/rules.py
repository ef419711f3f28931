"""The active fault rules, stored in the database with their counters."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from airflow_gemini_batch.emulator.faults.kinds import (
    Fault,
    FileFault,
    HttpFault,
    JobFault,
    ListingFault,
    RowFault,
    Rule,
    WebhookFault,
    matches_call,
    matches_file,
    matches_job,
    matches_webhook,
    parse_fault,
)
from airflow_gemini_batch.emulator.store import Store

_Kind = TypeVar("_Kind", HttpFault, FileFault, JobFault, WebhookFault)


class FaultRules:
    """The rules in the order in which they were added. For a call, file, job or webhook the first rule that fires is applied.

    Several threads use them, inside and outside of transactions, so the store's lock guards them too.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        stored = store.rows("SELECT id, fault, seen, fired FROM faults ORDER BY id")
        self._rules = [Rule(row["id"], parse_fault(row["fault"]), row["seen"], row["fired"]) for row in stored]

    def rules(self) -> list[Rule]:
        return list(self._rules)

    def add(self, fault: Fault) -> Rule:
        with self._store.transaction():
            rule = Rule(self._store.insert("faults", fault=msgspec.json.encode(fault).decode()), fault)
            self._rules = [*self._rules, rule]
            return rule

    def remove(self, rule_id: int) -> bool:
        with self._store.transaction():
            self._store.run("DELETE FROM faults WHERE id = ?", rule_id)
            left = [rule for rule in self._rules if rule.id != rule_id]
            removed = len(left) < len(self._rules)
            self._rules = left
            return removed

    def clear(self) -> None:
        with self._store.transaction():
            self._store.run("DELETE FROM faults")
            self._rules = []

    def for_call(self, method: str, path: str) -> HttpFault | None:
        return self._first(HttpFault, lambda fault: matches_call(fault, method, path))

    def for_file(self, display_name: str, mime_type: str) -> FileFault | None:
        return self._first(FileFault, lambda fault: matches_file(fault, display_name, mime_type))

    def for_job(self, display_name: str, model: str) -> JobFault:
        return self._first(JobFault, lambda fault: matches_job(fault, display_name, model)) or JobFault()

    def for_rows(self, display_name: str, model: str) -> list[RowFault]:
        """All row faults that fire for a job: several can apply to one output."""
        matching = [
            rule for rule in self._rules if isinstance(rule.fault, RowFault) and matches_job(rule.fault, display_name, model)
        ]
        return [rule.fault for rule in matching if isinstance(rule.fault, RowFault) and self._fires(rule)]

    def for_listing(self, collection: str) -> ListingFault:
        found = (r.fault for r in reversed(self._rules) if isinstance(r.fault, ListingFault) and r.fault.of == collection)
        return next(found, ListingFault())

    def for_webhook(self, event: str, uri: str) -> WebhookFault | None:
        return self._first(WebhookFault, lambda fault: matches_webhook(fault, event, uri))

    def _first(self, kind: type[_Kind], matches: Callable[[_Kind], bool]) -> _Kind | None:
        """The first rule that fires. Rules after it are not evaluated, and do not count the match."""
        for rule in self._rules:
            fault = rule.fault
            if isinstance(fault, kind) and matches(fault) and self._fires(rule):
                return fault
        return None

    def _fires(self, rule: Rule) -> bool:
        with self._store.transaction():
            fires = rule.fires()
            self._store.run("UPDATE faults SET seen = ?, fired = ? WHERE id = ?", rule.seen, rule.fired, rule.id)
            return fires
