"""What ``dedupe``, ``reuse`` and ``max_cost_usd`` do to a bill: requests by the emulator's journal, dollars by the run's summary.

    python benchmarks/bill.py [--rows 10000]

The table is a day of support tickets: 40 % of the subjects repeat an earlier one. In the next day's table 1 % of the rows differ.
Last, the same table with a limit: a trial of 50 rows, an estimate, a run that may cost half of its high end, and one that may
cost all of it.
"""

from __future__ import annotations

import argparse
import logging
import random
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa

from airflow_gemini_batch import BudgetError, Endpoint, GenerateRequest, Summary, estimate, run_batch
from airflow_gemini_batch.emulator import Emulator

MODEL = "gemini-3.6-flash"
REQUEST = GenerateRequest(prompt="Which product is this ticket about? Answer with one word. Ticket: ${subject}")


def tickets(rows: int, seed: int) -> list[str]:
    """Subjects of about 60 characters, 40 % of them equal to an earlier one."""
    dice = random.Random(seed)
    distinct = [f"Ticket {number}: {' '.join(dice.choices(WORDS, k=8))}" for number in range(rows * 6 // 10)]
    subjects = distinct + dice.choices(distinct, k=rows - len(distinct))
    dice.shuffle(subjects)
    return subjects


WORDS = [
    "printer",
    "does",
    "not",
    "start",
    "after",
    "update",
    "blue",
    "light",
    "login",
    "fails",
    "since",
    "monday",
    "refund",
    "late",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000)
    rows = parser.parse_args().rows
    logging.disable(logging.WARNING)
    monday = tickets(rows, seed=1)
    tuesday = [f"New: {subject}" if number % 100 == 0 else subject for number, subject in enumerate(monday)]
    with (
        tempfile.TemporaryDirectory() as folder,
        Emulator(Path(folder) / "service", pending_seconds=0, running_seconds=0) as emulator,
    ):

        def run(name: str, subjects: list[str], **arguments: Any) -> tuple[Summary, int]:
            before = _paid(emulator)
            summary = run_batch(
                _table(subjects),
                REQUEST,
                model=MODEL,
                destination=str(Path(folder) / name),
                key="id",
                **arguments,
                options={"poll_interval": 0.2, "listing_lag": 1.0},
                endpoint=Endpoint(api_key="any-key", base_url=emulator.url),
            )
            return summary, _paid(emulator) - before

        print(f"{'':34}{'rows':>8}{'requests':>10}{'cost':>11}")
        for what, subjects, dedupe, reuse in (
            ("dedupe=False", monday, False, None),
            ("dedupe=True (default)", monday, True, None),
            ("the next day, without reuse", tuesday, True, None),
            ("the next day, reuse=the day before", tuesday, True, "dedupe=True (default)"),
        ):
            earlier = None if reuse is None else str(Path(folder) / reuse)
            summary, paid = run(what, subjects, dedupe=dedupe, reuse=earlier)
            assert summary.results == len(subjects)
            _print(what, summary, paid)

        _print("a trial, sample=50", *run("trial", monday, sample=50))
        trial = str(Path(folder) / "trial")
        found = estimate(_table(monday), REQUEST, model=MODEL, key="id", trial=trial, reuse=trial)
        print(found)
        assert found.usd is not None
        assert found.usd.high is not None
        before = _paid(emulator)
        try:
            run("above", monday, reuse=trial, max_cost_usd=found.usd.high / 2)
        except BudgetError as error:
            print(f"max_cost_usd={found.usd.high / 2:.2f}: {_paid(emulator) - before} requests paid. {error}")
        _print(f"max_cost_usd={found.usd.high:.2f}", *run("whole", monday, reuse=trial, max_cost_usd=found.usd.high))


def _table(subjects: list[str]) -> pa.Table:
    return pa.table({"id": [str(number) for number in range(len(subjects))], "subject": subjects})


def _print(what: str, summary: Summary, paid: int) -> None:
    cost = "unknown" if summary.cost.usd is None else f"${summary.cost.usd:.4f}"
    print(f"{what:34}{summary.rows:>8,}{paid:>10,}{cost:>11}")


def _paid(emulator: Emulator) -> int:
    return sum(entry["requests"] for entry in emulator.journal("create"))


if __name__ == "__main__":
    main()
