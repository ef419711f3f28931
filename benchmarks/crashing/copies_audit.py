"""Check the rows that did not pay themselves: each is what became of the row that paid, and only its own columns differ."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from crashing.source_table import CARRIED

TOKENS = ("prompt_tokens", "output_tokens", "thoughts_tokens", "cached_tokens", "tool_tokens", "total_tokens")
#: What a row has of its own, whoever has paid for it.
OWN = {"key", "repeat", "paid_by", "reused_from", "cost_usd", *CARRIED, *TOKENS}


def copied_rows(table: pa.Table) -> int:
    return len(table) - int(table["paid_by"].null_count)


def wrong_copies(expected: pa.Table, results: pa.Table, dead_letter: pa.Table) -> int:
    """How many copies are wrong, and how many rows have paid although an earlier row of the source has paid for the same.

    :param expected: the source.
    """
    asked = dict(zip(expected["id"].to_pylist(), expected["body"].to_pylist(), strict=True))
    number = {key: row for row, key in enumerate(asked)}
    paid = results.filter(pc.and_(results["paid_by"].is_null(), results["reused_from"].is_null()))["key"].to_pylist()
    paid += dead_letter.filter(dead_letter["paid_by"].is_null())["key"].to_pylist()
    too_many = len(paid) - len({asked.get(key, key) for key in paid})
    return too_many + sum(_wrong_in(table, asked, number) for table in (results, dead_letter))


def _wrong_in(table: pa.Table, asked: dict[str, str], number: dict[str, int]) -> int:
    """The wrong copies of one table. A copy is in the table of the row that paid."""
    copies = table.filter(table["paid_by"].is_valid())
    if not len(copies):
        return 0
    payers = pc.index_in(copies["paid_by"], value_set=table["key"].combine_chunks())
    answers = table.take(pc.fill_null(payers, 0))
    keys, paid_by = copies["key"].to_pylist(), copies["paid_by"].to_pylist()
    right = [
        is_there and asked.get(key) == asked.get(payer) and number.get(payer, len(number)) < number.get(key, -1)
        for key, payer, is_there in zip(keys, paid_by, payers.is_valid().to_pylist(), strict=True)
    ]
    checks = [answers["paid_by"].is_null().to_pylist()]
    checks += [copies[name].is_null().to_pylist() for name in TOKENS if name in copies.column_names]
    checks += [[cost == 0 for cost in copies["cost_usd"].to_pylist()]]
    for name in copies.column_names:
        if name not in OWN:
            pairs = zip(copies[name].to_pylist(), answers[name].to_pylist(), strict=True)
            checks.append([own == answer for own, answer in pairs])
    return sum(not all(row) for row in zip(right, *checks, strict=True))
