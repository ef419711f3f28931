"""``comparison.json``: two finished runs side by side, paired by key, as ``compare`` wrote it and the report shows it.

One candidate is the document itself; further ones are documents of the same form below ``others``. All p-values in one file are
corrected together. Fields are added at the end with a default, so that files of earlier versions can still be read.

Texts of rows and models are untrusted: whoever shows them must escape them.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from airflow_gemini_batch.evals.scorers import Kind
from airflow_gemini_batch.evals.statistics.differences import Method, Test
from airflow_gemini_batch.evals.statistics.gates import Better, Verdict

COMPARISON_VERSION = 1

#: Both ends of an interval, at the level of the document.
Interval = tuple[float, float]


class ComparedRun(msgspec.Struct, frozen=True):
    """One side.

    :param run: URI of its destination.
    :param request_sha256: fingerprint of what was asked: the specification, not a row's request.
    :param rows: keys times repeats; ``results`` and ``dead_letters`` add up to them.
    :param finish_reasons: rows of the results by finish reason, such as STOP and MAX_TOKENS.
    :param cost_usd: of the run, None where no price is known; ``judge_cost_usd`` what its judges cost, apart from it.
    :param seconds: from its first job's creation to its last job's end; None where the service did not say.
    :param scores: names of the scores that were read.
    """

    run: str
    run_id: str
    model: str
    request_sha256: str
    rows: int
    results: int
    dead_letters: int
    repeats: int = 1
    finish_reasons: dict[str, int] = {}
    cost_usd: float | None = None
    judge_cost_usd: float | None = None
    seconds: float | None = None
    finished_at: str = ""
    scores: str = ""
    labels: dict[str, str] = {}


class KeyCounts(msgspec.Struct, frozen=True):
    """Keys that have an answer, by side.

    :param paired: keys with an answer in both runs; ``only_baseline`` and ``only_candidate`` have one in one of them.
    :param neither: keys of either run that have an answer in none.
    :param absent: by side, keys of the other run that are not in this run's input at all.
    :param reasons: side -> dead-letter reason -> keys without any answer on that side.
    """

    baseline: int
    candidate: int
    paired: int
    only_baseline: int
    only_candidate: int
    neither: int = 0
    absent: dict[str, int] = {}
    reasons: dict[str, dict[str, int]] = {}


class Side(msgspec.Struct, frozen=True):
    """The mean over the keys that one run has a score of; None without any."""

    n: int
    mean: float | None
    stderr: float | None
    ci: Interval | None


class Bounds(msgspec.Struct, frozen=True):
    """The difference whatever the missing answers would have been.

    :param low, high: of the mean difference; ``ci`` from the lower end of the lowest's interval to the
        upper end of the highest's.
    :param as_worst, as_worst_ci: with each missing answer counted at the scorer's worst.
    """

    low: float | None
    high: float | None
    ci: Interval | None
    as_worst: float | None
    as_worst_ci: Interval | None


class GateResult(msgspec.Struct, frozen=True):
    """See ``statistics.gates.Gate``: one-sided bounds against the margin."""

    margin: float
    low: float | None
    high: float | None
    verdict: Verdict
    rows_needed: int | None
    level: float = 0.95


class ScorerComparison(msgspec.Struct, frozen=True):
    """What one scorer says of both runs.

    :param n: keys with a score on both sides; ``repeats`` of each at most.
    :param difference, stderr, ci: candidate minus baseline over these keys.
    :param p: of ``test``; ``p_holm`` corrected over all p-values of the file, equal to ``p`` for the primary scorer.
    :param improved, regressed, same: keys by what is better for this scorer: with ``better`` "lower", a fall is an improvement.
    :param within, between: variance of a key's scores over its repeats, and of keys' true means; None without repeats.
    :param mde: the smallest difference that so many keys would have shown with a power of 80 %.
    :param missing: side -> keys without a score by status or dead-letter reason.
    :param shown: whether the interval excludes 0, corrected for the number of scorers.
    :param words: the finding in one sentence.
    :param bootstrap_ci, sign_flip_p: cross-checks of ``ci`` and ``p``, where ``resamples`` were asked for.
    """

    name: str
    kind: Kind
    n: int
    repeats: int
    baseline: Side
    candidate: Side
    difference: float | None
    stderr: float | None
    ci: Interval | None
    method: Method
    p: float | None
    p_holm: float | None
    test: Test
    improved: int
    regressed: int
    same: int
    within: float | None
    between: float | None
    bounds: Bounds | None
    mde: float | None
    gate: GateResult | None
    better: Better = "higher"
    worst: float | None = None
    best: float | None = None
    primary: bool = False
    shown: bool = False
    missing: dict[str, dict[str, int]] = {}
    words: str = ""
    warnings: tuple[str, ...] = ()
    bootstrap_ci: Interval | None = None
    sign_flip_p: float | None = None


class AmountComparison(msgspec.Struct, frozen=True):
    """Costs, tokens or times of both runs, compared as the ratio of each key's amounts (on logarithms).

    :param name: "cost_usd", "prompt_tokens", "output_tokens", "thoughts_tokens", "total_tokens" or "seconds".
    :param baseline_total, candidate_total: over all rows that are billed.
    :param ratio, ci, p: candidate by baseline, over ``n`` keys; None where ``note`` says why.
    """

    name: str
    baseline_total: float | None
    candidate_total: float | None
    n: int = 0
    baseline_mean: float | None = None
    candidate_mean: float | None = None
    ratio: float | None = None
    ci: Interval | None = None
    p: float | None = None
    note: str = ""


class FieldComparison(msgspec.Struct, frozen=True):
    """One field of structured answers, over the rows that both runs answered.

    :param path: such as ``price`` or ``lines[].sku``.
    :param equal, different: rows; ``only_baseline`` and ``only_candidate`` have a value on one side.
    """

    path: str
    n: int
    equal: int
    different: int
    only_baseline: int
    only_candidate: int


class Slice(msgspec.Struct, frozen=True):
    """The keys that have one value in a carried column.

    :param value: as text; None stands for null. ``rest`` values that are too rare or too many are one slice, with this flag.
    """

    column: str
    value: str | None
    scorer: str
    n: int
    baseline: float | None
    candidate: float | None
    difference: float | None
    ci: Interval | None
    improved: int
    regressed: int
    rest: bool = False
    warnings: tuple[str, ...] = ()


class Answer(msgspec.Struct, frozen=True):
    """One side of an example: its answer, or why there is none. Long texts are cut, which ``cut`` says in characters left out."""

    score: float | None
    text: str | None = None
    reason: str | None = None
    explanation: str | None = None
    finish_reason: str | None = None
    repeats: int = 1
    cut: int = 0


class Example(msgspec.Struct, frozen=True):
    """A key whose score changed much.

    :param change: what is better for the scorer decides; ``difference`` is candidate minus baseline.
    :param carried: carried columns as texts, such as the question and what was expected.
    """

    key: str
    scorer: str
    change: Literal["regressed", "improved"]
    difference: float
    baseline: Answer
    candidate: Answer
    expected: str | None = None
    carried: dict[str, str] = {}


class Changed(msgspec.Struct, frozen=True):
    """What was asked differently: ``what`` is "model", "prompt", "config.temperature", ...; the values as texts."""

    what: str
    baseline: str
    candidate: str


class Comparison(msgspec.Struct, frozen=True):
    """The document, in the order in which it is read.

    :param created: ISO 8601, UTC.
    :param level: of all intervals; ``seed`` and ``resamples`` of what is drawn at random (0: nothing is).
    :param cluster: the carried column whose values group keys that depend on each other; ``clusters`` of them.
    :param words: better or worse, by how much, how sure and at what cost; one sentence a line.
    :param primary: the scorer that decides; None: all of them, corrected for their number.
    :param verdict: of the gate over the scorers that decide; None without a margin.
    :param uri: of the folder that it was written to, with the pairs tables.
    :param fingerprint: of the runs, the scores and the arguments that it was made of.
    :param examples: the worst regressions and the best improvements, each in order; ``examples_left_out`` are in the pairs table.
    """

    created: str
    level: float
    seed: int
    resamples: int
    baseline: ComparedRun
    candidate: ComparedRun
    keys: KeyCounts
    scorers: tuple[ScorerComparison, ...]
    cluster: str | None = None
    clusters: int | None = None
    words: tuple[str, ...] = ()
    primary: str | None = None
    margin: float | None = None
    verdict: Verdict | None = None
    amounts: tuple[AmountComparison, ...] = ()
    fields: tuple[FieldComparison, ...] = ()
    slices: tuple[Slice, ...] = ()
    examples: tuple[Example, ...] = ()
    examples_left_out: int = 0
    changed: tuple[Changed, ...] = ()
    warnings: tuple[str, ...] = ()
    others: tuple[Comparison, ...] = ()
    uri: str = ""
    version: int = COMPARISON_VERSION
    fingerprint: str = ""

    def __getitem__(self, scorer: str) -> ScorerComparison:
        for one in self.scorers:
            if one.name == scorer:
                return one
        raise KeyError(f"no scorer {scorer!r}; there are {', '.join(one.name for one in self.scorers)}")
