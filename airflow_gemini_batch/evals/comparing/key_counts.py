"""How many keys have an answer on which side, and why the others have none."""

from __future__ import annotations

from collections import Counter

from airflow_gemini_batch.evals.comparing.pairing import Pairs
from airflow_gemini_batch.evals.comparing.sides import ABSENT, Reasons
from airflow_gemini_batch.evals.comparing.tallies import SIDES
from airflow_gemini_batch.evals.comparison import KeyCounts


class KeyTally:
    """Counted while the pairs go by."""

    def __init__(self, reasons: Reasons) -> None:
        self._reasons = reasons
        self._answered: Counter[tuple[bool, bool]] = Counter()
        self._codes: dict[str, Counter[int]] = {side: Counter() for side in SIDES}

    def add(self, pairs: Pairs) -> None:
        first, second = (side.answered > 0 for side in (pairs.baseline, pairs.candidate))
        for pair in ((True, True), (True, False), (False, True), (False, False)):
            self._answered[pair] += int(((first == pair[0]) & (second == pair[1])).sum())
        for name, side in zip(SIDES, (pairs.baseline, pairs.candidate), strict=True):
            self._codes[name].update(side.code[side.code > 0].tolist())

    def counts(self) -> KeyCounts:
        answered, names = self._answered, self._reasons.names
        reasons = {side: {names[code]: keys for code, keys in sorted(codes.items())} for side, codes in self._codes.items()}
        return KeyCounts(
            baseline=answered[True, True] + answered[True, False],
            candidate=answered[True, True] + answered[False, True],
            paired=answered[True, True],
            only_baseline=answered[True, False],
            only_candidate=answered[False, True],
            neither=answered[False, False],
            absent={side: found.pop(ABSENT, 0) for side, found in reasons.items()},
            reasons=reasons,
        )
