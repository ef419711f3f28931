"""What each row of a shard cost, from its answer or its refusal, and what the shard cost in all."""

from __future__ import annotations

from datetime import datetime, timezone

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from airflow_gemini_batch.engine.arrow import columns
from airflow_gemini_batch.engine.costs.bill import NO_ANSWER, NO_USAGE, Bill
from airflow_gemini_batch.engine.costs.shard_cost import ShardCost
from airflow_gemini_batch.engine.costs.tariff import Counts
from airflow_gemini_batch.engine.costs.usage import NOTHING, Usage
from airflow_gemini_batch.engine.response.answer_columns import Answers, responses_of
from airflow_gemini_batch.engine.response.lines import LongLine
from airflow_gemini_batch.engine.response.responses import Answer, Refusal
from airflow_gemini_batch.engine.response.usage import holds_media, queries_in
from airflow_gemini_batch.engine.run.layout import Manifest, Shard
from airflow_gemini_batch.engine.run.tables import TOKEN_COLUMNS

#: Tokens of one request; more are not added together.
_PLAUSIBLE = 2**31


class Billing:
    """The bill of one shard, in the order in which its rows are written."""

    def __init__(self, bill: Bill) -> None:
        self._bill = bill
        tariff = bill.tariff
        self._looks_for_searches = tariff is not None and tariff.has_searches
        self._looks_for_media = tariff is not None and tariff.splits_output

    @classmethod
    def of(cls, manifest: Manifest, shard: Shard, created_at: datetime | None, ended_at: datetime | None) -> Billing:
        """:param created_at, ended_at: of the job, where they are known."""
        created_at = created_at or datetime.fromisoformat(manifest.created_at)
        return cls(Bill(manifest.prices, str(shard.id), created_at.astimezone(timezone.utc), ended_at or created_at))

    def of_answers(self, answers: Answers) -> pa.Array:
        """USD of results; null where it is not known."""
        if not len(answers):
            return columns.doubles([])
        counts = {name: _zero_where_null(answers[name]) for name in TOKEN_COLUMNS}
        inputs, cached = counts["prompt_tokens"] + counts["tool_tokens"], counts["cached_tokens"]
        outputs = counts["output_tokens"] + counts["thoughts_tokens"]
        # Nearly all are texts whose counts are in order: they are added together, which takes a tenth of the time.
        texts = self._are_texts(answers)
        texts &= columns.is_valid(answers["prompt_tokens"])
        texts &= columns.is_valid(answers["output_tokens"])
        for column in counts.values():
            texts &= (column >= 0) & (column < _PLAUSIBLE)
        texts &= cached <= inputs
        costs = np.full(len(answers), np.nan)
        together = self._bill.add_texts(inputs[texts], cached[texts], outputs[texts])
        if together is None:
            texts[:] = False
        else:
            costs[texts] = together
        others = np.flatnonzero(~texts).tolist()
        for place, answer in zip(others, answers.take(others).each() if others else (), strict=True):
            cost = self._of_answer(answer)
            costs[place] = np.nan if cost is None else cost
        return columns.from_numpy_with_nan(costs) if np.isnan(costs).any() else columns.from_numpy(costs)

    def _are_texts(self, answers: Answers) -> npt.NDArray[np.bool_]:
        """Whether each is billed as text alone, and by the prices of the run."""
        texts = np.ones(len(answers), bool)
        texts[list(answers.parts)] = False
        versions = answers["model_version"].to_pylist()
        if not all(map(self._bill.covers, {version for version, is_text in zip(versions, texts, strict=True) if is_text})):
            texts &= np.fromiter(map(self._bill.covers, versions), bool, len(versions))
        if self._looks_for_searches or self._looks_for_media:
            content = answers.together()
            is_asked = (self._looks_for_searches and b"ueries" in content) or (self._looks_for_media and holds_media(content))
            if is_asked:
                texts &= ~np.fromiter(map(self._has_more, responses_of(answers["response"])), bool, len(answers))
        return texts

    def _has_more(self, response: bytes) -> bool:
        """Whether it may report searches, or hold media."""
        return (self._looks_for_searches and b"ueries" in response) or (self._looks_for_media and holds_media(response))

    def _of_answer(self, answer: Answer) -> float | None:
        return self._bill.add(answer.key, self._complete(answer.usage(), answer.response), answer.model_version)

    def of_refusal(self, refusal: Refusal, line: bytes | LongLine | None) -> float | None:
        """USD of a dead letter. A cut, blocked or invalid answer is paid for, a request that was not sent is not."""
        unknown = NO_ANSWER if line is None else NO_USAGE
        usage = self._complete(refusal.usage, line) if isinstance(line, bytes) else refusal.usage
        return self._bill.add(refusal.key, usage, refusal.model_version, unknown=unknown)

    def total(self) -> ShardCost:
        return self._bill.total()

    def _complete(self, usage: Usage | None, raw: bytes) -> Usage | None:
        """The usage with what the counts do not say."""
        if usage is None or usage is NOTHING:
            return usage
        if self._looks_for_searches and (queries := queries_in(raw)):
            usage = msgspec.structs.replace(usage, queries=queries)
        if self._looks_for_media and holds_media(raw) and not any(kind.startswith("output_") for kind in usage.parts or ()):
            usage = msgspec.structs.replace(usage, unsplit=True)
        return usage


def _zero_where_null(column: pa.Array) -> Counts:
    values: Counts = columns.int64_values(column)
    return np.where(columns.is_valid(column), values, 0) if column.null_count else values
