"""A sample of a table as a run of its own: the rows that are drawn, in input order.

The table is read twice: once for the number and the bytes of its requests, and once more to take the drawn ones. What is drawn
follows from these and the seed alone, so every build of the same table takes the same rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from airflow_gemini_batch.engine.build.duplicates import Duplicates
from airflow_gemini_batch.engine.build.rows import Rows
from airflow_gemini_batch.engine.costs.sampling import Draws, Population
from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.run.samples import DrawnRow, Sample
from airflow_gemini_batch.engine.source.open import Source


def require_repeatable(source: Source) -> None:
    """Raise InputError for a source that cannot be read twice."""
    if not source.is_repeatable:
        raise InputError(
            f"sample needs a source that can be read twice, and {source.description} can be read once. Give files, a "
            "DataFrame or a pyarrow Table."
        )


class Sampler:
    """Draws the rows of one build.

    :param draws: how many; a row may be drawn more than once.
    :param dedupe: whether equal requests are one.

    ``sample`` says what was drawn, once all rows of ``chosen`` have been taken.
    """

    sample: Sample

    def __init__(self, draws: int, seed: int, *, dedupe: bool) -> None:
        self._draws, self._seed, self._dedupe = draws, seed, dedupe

    def chosen(self, rows: Iterator[Rows], again: Callable[[], Iterator[Rows]]) -> Iterator[Rows]:
        """The drawn rows.

        :param rows: the whole table.
        :param again: reads the whole table once more; called first.

        Raises InputError if the two are not the same.
        """
        population = _measured(self._distinct(again()))
        draws = Draws(population, self._draws, self._seed)
        drawn: list[DrawnRow] = []
        count = invalid = 0

        def counted() -> Iterator[Rows]:
            nonlocal count, invalid
            for block in rows:
                count += len(block)
                invalid += len(block) - block.requests
                yield block

        requests = size = 0
        for block in self._distinct(counted()):
            sizes = block.sizes()
            is_sent = sizes > 0
            times = np.zeros(len(block), np.int64)
            times[is_sent] = draws.of(sizes[is_sent])
            requests, size = requests + int(is_sent.sum()), size + int(sizes.sum())
            if times.any():
                taken = block.chosen(times > 0)
                inputs = taken.inputs
                columns = (inputs.column(0).to_pylist(), inputs.column(1).to_pylist(), taken.sizes().tolist())
                drawn += map(DrawnRow, *columns, times[times > 0].tolist())
                yield taken
        if Population(requests, size) != population:
            raise InputError(
                f"The table has changed while a sample of it was drawn: {population.requests} requests of "
                f"{population.bytes} bytes when it was read first, {requests} of {size} then. "
                "A function that makes requests must make the same each time."
            )
        self.sample = Sample(self._draws, self._seed, population, count, invalid, draws.takes_all, tuple(drawn))

    def _distinct(self, rows: Iterator[Rows]) -> Iterator[Rows]:
        if not self._dedupe:
            yield from rows
            return
        with Duplicates(None) as duplicates:
            yield from duplicates.without(rows)


def _measured(rows: Iterator[Rows]) -> Population:
    requests = size = 0
    for block in rows:
        requests += block.requests
        size += int(block.sizes().sum())
    return Population(requests, size)
