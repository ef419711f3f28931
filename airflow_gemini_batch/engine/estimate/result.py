"""An estimate: what is to be sent, and between which figures its tokens and its cost will lie."""

from __future__ import annotations

from typing import Any

import msgspec

from airflow_gemini_batch.engine.costs.total import Basis, in_dollars


class Range(msgspec.Struct, frozen=True):
    """
    :param low, high: the truth lies between them in about 95 of 100 cases; from bytes alone they are bounds. ``high`` is None
        where nothing bounds it.
    :param middle: the best guess; None where there is none.
    :param basis: what they rest on, in words.
    """

    low: float
    middle: float | None
    high: float | None
    basis: str


class Estimate(msgspec.Struct, frozen=True):
    """What a run of a table would send and cost.

    :param rows: of the table, each as often as it is sent. Those that are not sent cost nothing: ``invalid`` cannot become a
        request, ``deduplicated`` share another row's, and ``reused`` were answered by an earlier run.
    :param requests: to be paid for.
    :param input_tokens, output_tokens: ``thoughts_tokens`` and ``image_tokens`` are parts of the output.
    :param usd: at batch rates; None where no price is known, and ``notes`` say why.
    :param price: where the rates come from.
    :param failed_share: of the trial's draws, those whose usage is not known; None without a trial.
    :param notes: what a reader must know.
    """

    model: str
    source: str
    rows: int
    requests: int
    invalid: int
    deduplicated: int
    reused: int
    input_tokens: Range
    output_tokens: Range
    thoughts_tokens: Range
    image_tokens: Range
    usd: Range | None
    price: Basis
    failed_share: float | None = None
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values; ``text`` says it in a sentence."""
        plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        return {"text": str(self), **plain}

    def __str__(self) -> str:
        return f"{self.requests:,} of {self.rows:,} rows are sent to {self.model}: {in_words(self.usd)}"


def in_words(usd: Range | None) -> str:
    """``$8.10 to $12.40, probably $10.20 (a trial of 50 rows)``"""
    if usd is None:
        return "the cost is not known"
    high = "an unknown high end" if usd.high is None else in_dollars(usd.high)
    middle = "" if usd.middle is None else f", probably {in_dollars(usd.middle)}"
    return f"{in_dollars(usd.low)} to {high}{middle} ({usd.basis})"
