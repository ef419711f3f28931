"""Input tokens of a table, from the service's own count of a sample of its requests.

The difference estimator: the guess from bytes is added up over all requests, and corrected by what the counts of the drawn ones
differ from their guesses. So 50 counts know the input to a few percent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import msgspec
import numpy as np

from airflow_gemini_batch.engine.build.rows import Rows
from airflow_gemini_batch.engine.costs.request_size import Sizer
from airflow_gemini_batch.engine.costs.sampling import Draws, Interval, Population, interval_of_total


class _Line(msgspec.Struct):
    request: msgspec.Raw


def drawn_lines(blocks: Iterable[Rows], population: Population, draws: int, seed: int) -> Iterator[tuple[bytes, int]]:
    """The drawn lines of the requests file, each with how often it was drawn."""
    chosen = Draws(population, draws, seed)
    for block in blocks:
        sizes = block.sizes()
        places = np.flatnonzero(sizes > 0)
        times = chosen.of(sizes[places])
        for place in np.flatnonzero(times).tolist():
            yield block.lines[int(places[place])].as_py(), int(times[place])


def counted_input(
    lines: Iterable[tuple[bytes, int]],
    population: Population,
    draws: int,
    guessed: int,
    model: str,
    count: Callable[[bytes], int],
) -> Interval:
    """
    :param guessed: tokens of all requests by ``Sizer``.
    :param count: the tokens of a request, asked of the service.
    """
    size_of = Sizer(model).of_line
    complete = draws >= population.requests
    differences: list[float] = []
    for line, times in lines:
        difference = count(bytes(msgspec.json.decode(line, type=_Line).request)) - size_of(line).middle
        probability = 1 / population.requests if complete else float(population.probability(len(line)))
        differences += [difference / probability] * times
    if not differences:
        return Interval(guessed, guessed, guessed)
    if complete:
        return Interval(*[guessed + float(np.mean(differences))] * 3)
    interval = interval_of_total(np.array(differences)).plus(guessed)
    return Interval(max(interval.low, 0.0), interval.middle, interval.high)
