"""What each row of a shard cost, from its answer or its refusal, and what the shard cost in all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone

import msgspec
import numpy as np
import pyarrow as pa

from airflow_gemini_batch.engine.arrow import columns
from airflow_gemini_batch.engine.costs.bill import NO_ANSWER, NO_USAGE, Bill
from airflow_gemini_batch.engine.costs.shard_cost import ShardCost
from airflow_gemini_batch.engine.costs.tariff import Counts
from airflow_gemini_batch.engine.costs.usage import NOTHING, Usage
from airflow_gemini_batch.engine.response.lines import LongLine
from airflow_gemini_batch.engine.response.responses import Answer, Refusal
from airflow_gemini_batch.engine.response.usage import holds_media, queries_in
from airflow_gemini_batch.engine.run.layout import Manifest, Shard

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

    def of_answers(self, answers: Sequence[Answer], tokens: Mapping[str, pa.Array]) -> pa.Array:
        """USD of results; null where it is not known.

        :param tokens: their columns of token counts.
        """
        if not answers:
            return columns.doubles([])
        counts = {name: _zero_where_null(column) for name, column in tokens.items()}
        inputs, cached = counts["prompt_tokens"] + counts["tool_tokens"], counts["cached_tokens"]
        outputs = counts["output_tokens"] + counts["thoughts_tokens"]
        # Nearly all are texts whose counts are in order: they are added together, which takes a tenth of the time.
        texts = np.fromiter(map(self._is_text, answers), bool, len(answers))
        texts &= columns.is_valid(tokens["prompt_tokens"])
        texts &= columns.is_valid(tokens["output_tokens"])
        for column in counts.values():
            texts &= (column >= 0) & (column < _PLAUSIBLE)
        texts &= cached <= inputs
        costs = np.full(len(answers), np.nan)
        together = self._bill.add_texts(inputs[texts], cached[texts], outputs[texts])
        if together is None:
            texts[:] = False
        else:
            costs[texts] = together
        for place in np.flatnonzero(~texts).tolist():
            cost = self._of_answer(answers[place])
            costs[place] = np.nan if cost is None else cost
        return columns.doubles([None if cost != cost else cost for cost in costs.tolist()])

    def _is_text(self, answer: Answer) -> bool:
        return (
            answer.parts is None
            and self._bill.covers(answer.model_version)
            and not (self._looks_for_searches and b"ueries" in answer.response)
            and not (self._looks_for_media and holds_media(answer.response))
        )

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
    """The values of a column made by ``columns.int64s``, which writes zeros there. Arrow's own conversions import pandas."""
    return np.frombuffer(column.buffers()[1], np.int64, len(column))
