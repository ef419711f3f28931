"""Several p-values that are shown together: Holm's correction."""

from __future__ import annotations

from collections.abc import Sequence

from airflow_gemini_batch.engine.errors import InputError


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """Holm's adjusted p-values (1979), in the order given: the chance of any false alarm stays below the level.

    None (a scorer without a p-value) stays None and is not counted. Raises InputError for a p outside 0 to 1.
    """
    known = [(p, place) for place, p in enumerate(ps) if p is not None]
    if wrong := [p for p, _ in known if not 0 <= p <= 1]:
        raise InputError(f"A p-value is {wrong[0]}; expected a number from 0 to 1.")
    adjusted: list[float | None] = [None] * len(ps)
    largest = 0.0
    for rank, (p, place) in enumerate(sorted(known)):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        adjusted[place] = largest
    return adjusted
