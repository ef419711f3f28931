"""How often a judge prefers the candidate, when it has seen each pair in both orders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.evals.statistics.differences import difference_of
from airflow_gemini_batch.evals.statistics.tally import Tally

Winner = Literal["candidate", "baseline", "tie"]


@dataclass(frozen=True, slots=True)
class WinRate:
    """
    :param n: keys that were judged in both orders; ``missing`` keys lack an order and are left out.
    :param mean: share of wins, a tie counted as one half; 0.5 means that neither is preferred. None without keys.
    :param low, high: interval at ``level``, of Student's t over the keys; None for fewer than two keys. ``p`` is of "neither".
    :param wins, losses: keys that the candidate wins, and loses, in both orders. ``tied`` are the others.
    :param ties: share of the keys that are tied. A half says that the judge is mostly noise.
    :param first_place_share: of all judgments with a winner, the share that the answer shown first has won: 0.5 without a bias of
        position. None without winners.
    """

    n: int
    missing: int
    mean: float | None
    low: float | None
    high: float | None
    p: float | None
    wins: int
    losses: int
    tied: int
    ties: float | None
    first_place_share: float | None
    level: float

    @property
    def shown(self) -> bool:
        """Whether the interval excludes one half."""
        return self.low is not None and self.high is not None and (self.low > 0.5 or self.high < 0.5)

    def __str__(self) -> str:
        if self.mean is None or self.ties is None:
            return "no key was judged in both orders"
        between = "" if self.low is None or self.high is None else f" ({100 * self.low:.1f} to {100 * self.high:.1f})"
        first = "" if self.first_place_share is None else f", first place won {100 * self.first_place_share:.0f} %"
        return f"the candidate wins {100 * self.mean:.1f} %{between} of {self.n:,} keys, {100 * self.ties:.0f} % ties{first}"


def win_rate(verdicts: Iterable[tuple[Winner | None, Winner | None]], *, level: float = 0.95) -> WinRate:
    """The candidate wins a key only if it wins in both orders; a judge that changes its mind with the order says "tie".

    :param verdicts: for each key who won when the candidate was shown first, and who won when it was shown second: "candidate",
        "baseline", "tie", or None where there is no verdict.

    Raises InputError for any other word.
    """
    seen: Counter[tuple[Winner | None, Winner | None]] = Counter()
    for pair in verdicts:
        first, second = pair
        seen[_checked(first), _checked(second)] += 1
    whole = {pair: count for pair, count in seen.items() if None not in pair}
    wins, losses = whole.get(("candidate", "candidate"), 0), whole.get(("baseline", "baseline"), 0)
    n = sum(whole.values())
    tied = n - wins - losses
    tally = Tally.of([0.5] * wins + [0.0] * tied + [-0.5] * losses)
    found = difference_of(tally, kind="float", level=level, span=0.5)
    low, high = (None, None) if found.low is None or found.high is None else (0.5 + found.low, 0.5 + found.high)
    ahead = sum((pair[0] == "candidate") * count + (pair[1] == "baseline") * count for pair, count in whole.items())
    decided = sum(sum(winner != "tie" for winner in pair) * count for pair, count in whole.items())
    return WinRate(
        n=n,
        missing=sum(seen.values()) - n,
        mean=None if found.mean is None else 0.5 + found.mean,
        low=low,
        high=high,
        p=found.p,
        wins=wins,
        losses=losses,
        tied=tied,
        ties=tied / n if n else None,
        first_place_share=ahead / decided if decided else None,
        level=level,
    )


def _checked(winner: Winner | None) -> Winner | None:
    if winner not in ("candidate", "baseline", "tie", None):
        raise InputError(f"A verdict is {winner!r}; expected 'candidate', 'baseline', 'tie' or None.")
    return winner
