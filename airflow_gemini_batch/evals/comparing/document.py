"""The ``Comparison`` of one candidate, from what was tallied."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from airflow_gemini_batch.evals.comparing.answers import LabelsTable, examples_of
from airflow_gemini_batch.evals.comparing.changes import changes
from airflow_gemini_batch.evals.comparing.described import described
from airflow_gemini_batch.evals.comparing.examples import chosen_of
from airflow_gemini_batch.evals.comparing.findings import Rules, verdict_of
from airflow_gemini_batch.evals.comparing.pair import PairedRuns
from airflow_gemini_batch.evals.comparing.words import words_of
from airflow_gemini_batch.evals.comparison import Comparison, KeyCounts, ScorerComparison


@dataclass(frozen=True)
class Frame:
    """What all documents of one file have in common.

    :param uri: of the folder.
    :param expected: scorer -> the column of what it expects, for the examples; ``labels`` may have it.
    """

    created: str
    uri: str
    fingerprint: str
    rules: Rules
    expected: Mapping[str, str]
    labels: LabelsTable | None


def document_of(pair: PairedRuns, scorers: tuple[ScorerComparison, ...], frame: Frame) -> Comparison:
    rules = frame.rules
    runs = (described(pair.baseline), described(pair.candidate))
    amounts = pair.amounts.comparisons(pair.baseline, pair.candidate, runs, rules.level)
    chosen = chosen_of(pair.examples, rules.primary)
    margins = set(rules.margins.values())
    keys = pair.keys.counts()
    return Comparison(
        created=frame.created,
        level=rules.level,
        seed=rules.seed,
        resamples=rules.resamples,
        baseline=runs[0],
        candidate=runs[1],
        keys=keys,
        scorers=scorers,
        cluster=pair.cluster,
        clusters=None if pair.clusters is None else len(pair.clusters),
        words=words_of(scorers, rules.primary, amounts, rules.level),
        primary=rules.primary,
        margin=margins.pop() if len(margins) == 1 else None,
        verdict=verdict_of(scorers, rules.primary),
        amounts=amounts,
        fields=pair.fields.comparisons(),
        slices=tuple(one for tally in pair.slice_tallies for one in tally.slices(rules.level)),
        examples=examples_of(chosen, pair.baseline, pair.candidate, frame.expected, frame.labels),
        examples_left_out=pair.changed_keys - len(chosen),
        changed=changes(*(side.run.run.manifest() for side in (pair.baseline, pair.candidate))),
        warnings=tuple(_warnings(pair, keys)),
        uri=frame.uri,
        fingerprint=frame.fingerprint,
    )


def _warnings(pair: PairedRuns, keys: KeyCounts) -> Iterator[str]:
    for side, count in keys.absent.items():
        if count:
            yield f"{_keys(count)} of the other run {_are(count)} not in the input of the {side}; bounds do not count them."
    for side, reasons in keys.reasons.items():
        if lost := sum(reasons.values()):
            told = ", ".join(
                f"{reason} {count:,}" for reason, count in sorted(reasons.items(), key=lambda one: (-one[1], one[0]))
            )
            yield f"{_keys(lost)} {_have(lost)} no answer in the {side} ({told}); the bounds say what they could change."
    first, second = (side.scores for side in (pair.baseline, pair.candidate))
    if first.fingerprint and second.fingerprint and first.fingerprint != second.fingerprint:
        yield "The runs were not scored with the same scorers and labels; score both again to be sure."


def _keys(count: int) -> str:
    return f"{count:,} key{'s' * (count != 1)}"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _have(count: int) -> str:
    return "has" if count == 1 else "have"
