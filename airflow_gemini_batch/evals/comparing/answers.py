"""The answers of some keys, looked up in both runs: each table is read once more, some rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from airflow_gemini_batch.engine.arrow import columns
from airflow_gemini_batch.engine.run.storage import Location
from airflow_gemini_batch.evals.comparing.examples import Chosen
from airflow_gemini_batch.evals.comparing.sides import Side, column_names
from airflow_gemini_batch.evals.comparison import Answer, Example
from airflow_gemini_batch.evals.labels import Labels
from airflow_gemini_batch.evals.runs import batches_of

#: Characters of an answer and of another text that are kept.
_LONGEST_ANSWER, _LONGEST_TEXT = 2_000, 1_000

#: The carried column of the expected value, unless a scorer names another.
_EXPECTED = "expected"


@dataclass
class _Answers:
    """Of one run: the rows of each key by repeat, and what each scorer said of them."""

    rows: dict[str, dict[int, dict[str, Any]]] = field(default_factory=dict)
    scores: dict[tuple[str, str], dict[int, tuple[float, str | None]]] = field(default_factory=dict)

    def answer(self, one: Chosen, mean: float) -> Answer:
        """The answer whose score is nearest to the key's mean; of several the first."""
        scores = self.scores.get((one.key, one.scorer), {})
        repeat = min(scores, key=lambda repeat: (abs(scores[repeat][0] - mean), repeat), default=0)
        row = self.rows.get(one.key, {}).get(repeat, {})
        text, explanation = row.get("text"), scores[repeat][1] if repeat in scores else None
        return Answer(
            score=mean,
            text=None if text is None else text[:_LONGEST_ANSWER],
            explanation=None if explanation is None else explanation[:_LONGEST_TEXT],
            finish_reason=row.get("finish_reason"),
            repeats=max(1, len(scores)),
            cut=max(0, len(text or "") - _LONGEST_ANSWER),
        )


@dataclass(frozen=True)
class LabelsTable:
    """A table of labels that has not been read; the fields are arguments of ``score``."""

    source: Any
    key: str
    locate: Callable[[str], Location]

    def of(self, keys: Sequence[str], columns: Collection[str]) -> dict[str, dict[str, Any]]:
        """The labels of some keys, of the columns that the table has."""
        with Labels(self.source, self.key, self.locate, columns) as labels:
            return dict(zip(keys, labels.find(keys), strict=True))


def examples_of(
    chosen: Sequence[Chosen], baseline: Side, candidate: Side, expected: Mapping[str, str], labels: LabelsTable | None
) -> tuple[Example, ...]:
    """:param expected: scorer -> the column of what it expects, carried or of the labels."""
    if not chosen:
        return ()
    keys = sorted({one.key for one in chosen})
    first, second = (_answers(side, columns.strings(keys)) for side in (baseline, candidate))
    wanted = {one.scorer: expected.get(one.scorer, _EXPECTED) for one in chosen}
    labelled = {} if labels is None else labels.of(keys, set(wanted.values()))
    found = []
    for one in chosen:
        carried = {**_carried(candidate, second, one.key), **_carried(baseline, first, one.key)}
        column = wanted[one.scorer]
        found.append(
            Example(
                key=one.key,
                scorer=one.scorer,
                change=one.change,
                difference=one.difference,
                baseline=first.answer(one, one.baseline),
                candidate=second.answer(one, one.candidate),
                expected=carried.get(column, _text(labelled.get(one.key, {}).get(column))),
                carried=carried,
            )
        )
    return tuple(found)


def _carried(side: Side, answers: _Answers, key: str) -> dict[str, str]:
    rows = answers.rows.get(key, {})
    row = rows[min(rows)] if rows else {}
    return {name: text for name in side.carried if (text := _text(row.get(name))) is not None}


def _text(value: Any) -> str | None:
    if value is None:
        return None
    return (value if isinstance(value, str) else str(value))[:_LONGEST_TEXT]


def _answers(side: Side, keys: pa.Array) -> _Answers:
    found = _Answers()
    for part in side.run.parts("results"):
        names = column_names(part)
        wanted = [name for name in ("text", "finish_reason", *side.carried) if name in names]
        for row in _rows(part, (*side.run.row_columns, *wanted), keys):
            found.rows.setdefault(row["key"], {})[row["repeat"] if side.run.repeats else 0] = row
    for part in side.score_parts():
        for row in _rows(part, ("key", "repeat", "scorer", "score", "explanation"), keys):
            if row["score"] is not None:
                of_scorer = found.scores.setdefault((row["key"], row["scorer"]), {})
                of_scorer[row["repeat"]] = (row["score"], row["explanation"])
    return found


def _rows(part: Location, names: Sequence[str], keys: pa.Array) -> Iterator[dict[str, Any]]:
    for batch in batches_of(part, list(dict.fromkeys(names))):
        chosen = pc.is_in(batch.column("key"), value_set=keys)
        if chosen.true_count:
            yield from batch.filter(chosen).to_pylist()
