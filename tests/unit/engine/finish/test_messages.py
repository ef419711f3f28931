"""The most frequent messages are counted by reason, in bounded memory."""

from __future__ import annotations

import pyarrow as pa

from airflow_gemini_batch.engine.finish.messages import MessageCount, MessageCounter, in_words


def batch(*rows: tuple[str, str | None]) -> pa.RecordBatch:
    reasons, messages = zip(*rows, strict=True)
    return pa.record_batch({"key": [""] * len(rows), "reason": pa.array(reasons), "message": pa.array(messages, pa.string())})


def test_the_three_most_frequent_messages_of_each_reason_are_kept_in_order() -> None:
    counter = MessageCounter()
    counter.add(batch(("A", "x"), ("A", "y"), ("B", "x"), ("A", "y")))
    counter.add(batch(("A", "z"), ("A", "z"), ("A", "z"), ("A", "w"), ("B", None)))

    found = counter.most_frequent()

    assert found["A"] == (MessageCount("z", 3), MessageCount("y", 2), MessageCount("x", 1))
    assert set(found["B"]) == {MessageCount("x", 1), MessageCount("", 1)}
    assert in_words(found) == "'z' (3), 'y' (2), 'x' (1)"


def test_many_distinct_messages_cost_bounded_memory_and_frequent_ones_are_still_found() -> None:
    counter = MessageCounter()
    for start in range(0, 20_000, 500):
        counter.add(batch(*(("A", f"row {number}") for number in range(start, start + 500)), *[("A", "common")] * 9))

    assert counter.most_frequent()["A"][0] == MessageCount("common", 40 * 9)
    assert sum(map(len, counter._counts.values())) <= 3000


def test_counters_that_are_merged_in_order_say_what_one_counter_says() -> None:
    batches = [batch(("A", "x"), ("B", None)), batch(("A", "y"), ("A", "z")), batch(("A", "z"), ("C", "x"))]
    one, merged = MessageCounter(), MessageCounter()
    for several in batches:
        one.add(several)
        other = MessageCounter()
        other.add(several)
        merged.merge(other)

    assert merged.most_frequent() == one.most_frequent()


def test_merging_keeps_memory_bounded() -> None:
    merged = MessageCounter()
    for start in range(0, 20_000, 500):
        other = MessageCounter()
        other.add(batch(*(("A", f"row {number}") for number in range(start, start + 500)), *[("A", "common")] * 9))
        merged.merge(other)

    assert merged.most_frequent()["A"][0] == MessageCount("common", 40 * 9)
    assert sum(map(len, merged._counts.values())) <= 3000
