"""What several answers to each row say together: unbiased estimates, exact in integers until the last division."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from airflow_gemini_batch.engine.errors import InputError


def pass_at_k(answers: Iterable[Sequence[bool]], k: int) -> float:
    """The share of keys that at least one of k answers passes: the mean of ``1 - C(n - c, k) / C(n, k)``.

    :param answers: for each key, whether each of its n answers passed.
    :param k: from 1 to the fewest answers that a key has. Raises InputError otherwise, or without keys.
    """
    return _mean([1 - math.comb(n - c, k) / math.comb(n, k) for c, n in _counted(answers, k)])


def pass_k(answers: Iterable[Sequence[bool]], k: int) -> float:
    """The share of keys that all of k answers pass: the mean of ``C(c, k) / C(n, k)``. Arguments as of ``pass_at_k``."""
    return _mean([math.comb(c, k) / math.comb(n, k) for c, n in _counted(answers, k)])


def majority(answers: Iterable[Sequence[bool]]) -> float:
    """The share of keys that most of their answers pass; a tie counts one half. Raises InputError without keys or answers."""
    return _mean([0.5 if 2 * c == n else float(2 * c > n) for c, n in _counted(answers, 1)])


def _counted(answers: Iterable[Sequence[bool]], k: int) -> list[tuple[int, int]]:
    """(passed, answers) of each key."""
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise InputError(f"k is {k!r}; expected a whole number from 1.")
    counted = [(sum(map(bool, of_key)), len(of_key)) for of_key in answers]
    if not counted:
        raise InputError("There are no answers. Give those of one key at least.")
    if (fewest := min(n for _, n in counted)) < k:
        raise InputError(f"A key has {fewest} answers, fewer than k = {k}. Use a smaller k, or ask for more repeats.")
    return counted


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)
