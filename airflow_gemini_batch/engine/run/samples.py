"""A run of a sample: which rows were drawn from the table, and what their requests used.

_run/sample.json          written before the manifest
_run/sample_usage.json    written when the run is finished
"""

from __future__ import annotations

import msgspec

from airflow_gemini_batch.engine.costs.sampling import Population
from airflow_gemini_batch.engine.costs.usage import Usage
from airflow_gemini_batch.engine.run.layout import Run, read_json
from airflow_gemini_batch.engine.run.storage import Location


class DrawnRow(msgspec.Struct, frozen=True):
    """
    :param size: bytes of the row's line in the requests file.
    :param times: how often the row was drawn. It is sent once and counts that often.
    """

    key: str
    request_sha256: str
    size: int
    times: int


class Sample(msgspec.Struct, frozen=True):
    """What was drawn.

    :param draws: how many were asked for.
    :param population: the requests that it was drawn from: those that would be paid for with the same arguments.
    :param rows: of the whole table; ``invalid`` of them cannot become a request.
    :param complete: the population is so small that each request was taken, once.
    """

    draws: int
    seed: int
    population: Population
    rows: int
    invalid: int
    complete: bool
    drawn: tuple[DrawnRow, ...]

    def probability(self, row: DrawnRow) -> float:
        """Of the row, in each draw."""
        return 1 / self.population.requests if self.complete else float(self.population.probability(row.size))


class UsageOfRow(msgspec.Struct, frozen=True):
    """
    :param usages: of each request that was sent for the row, which is more than one where it was resubmitted; None where it is
        not known.
    """

    usages: tuple[Usage | None, ...]
    thoughts: int = 0


def sample_file(run: Run) -> Location:
    return run.destination / "_run" / "sample.json"


def usage_file(run: Run) -> Location:
    return run.destination / "_run" / "sample_usage.json"


def read_sample(run: Run) -> Sample | None:
    """None where the run is not one of a sample."""
    return read_json(sample_file(run), Sample)


def read_usages(run: Run) -> dict[str, UsageOfRow] | None:
    """By key; None where the run is not finished, or not one of a sample."""
    return read_json(usage_file(run), dict[str, UsageOfRow])
