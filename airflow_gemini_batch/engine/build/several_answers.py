"""Several answers to one request, for repeats: which records of an index are the same answer, and which of them are kept.

A run that has taken an answer from another one has it in its own index too. Counted twice, it would pass for two answers of the
model. So answers are told apart by the service's ``response_id``; where there is none, by the time at which they were given,
which takes two of one run for the same.
"""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from airflow_gemini_batch.engine.build.earlier_runs import EarlierRun

_BATCH_ROWS = 1 << 16


class Identities:
    """A number for each answer of a run, for the records of its index: equal numbers mean the same answer.

    :param folder: a new one on the local disk: 8 bytes are kept there for each row of the results.
    """

    def __init__(self, run: EarlierRun, folder: Path) -> None:
        self._run = run
        self._folder = folder
        self._parts: dict[str, Any] = {}
        folder.mkdir()

    def of(self, batch: pa.RecordBatch, answered_at: Any) -> Any:
        """uint64 for each record."""
        part = batch.column("part")
        names = part.dictionary.to_pylist()
        numbers, rows = part.indices.to_numpy(), batch.column("row").to_numpy()
        found = np.zeros(batch.num_rows, np.uint64)
        for number in np.unique(numbers).tolist():
            of_part = numbers == number
            found[of_part] = self._of_part(names[number])[rows[of_part]]
        return np.where(found == 0, answered_at.astype(np.uint64), found)

    def _of_part(self, name: str) -> Any:
        """For each row of a part; 0 where it has no id."""
        if name not in self._parts:
            file = self._folder / str(len(self._parts))
            with file.open("wb") as out, self._run.part(name).open() as content, pq.ParquetFile(content) as parquet:
                for batch in parquet.iter_batches(batch_size=_BATCH_ROWS, columns=["response_id"]):
                    ids = [0 if one is None else _hash(one) for one in batch.column(0).to_pylist()]
                    out.write(np.array(ids, np.uint64).tobytes())
            self._parts[name] = np.memmap(file, np.uint64, "r") if file.stat().st_size else np.zeros(0, np.uint64)
        return self._parts[name]


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") or 1


def first_of_each(records: Any) -> Any:
    """The first record of each fingerprint, of records that are sorted by it."""
    return records[_begins(records)]


def first_answers(records: Any, most: int) -> Any:
    """The first records of each fingerprint that are different answers.

    :param records: sorted by fingerprint, and so that of the same answer the first one counts.
    """
    order = np.lexsort((records["answer"], records["w1"], records["w0"]))
    ordered = records[order]
    is_first = np.ones(len(records), bool)
    is_first[order[1:]] = _begins(ordered)[1:] | (ordered["answer"][1:] != ordered["answer"][:-1])
    records = records[is_first]
    numbers = np.arange(len(records))
    begins = np.maximum.accumulate(np.where(_begins(records), numbers, 0)) if len(records) else numbers
    return records[numbers - begins < most]


def _begins(records: Any) -> Any:
    """Whether a record has another fingerprint than the one before."""
    begins = np.ones(len(records), bool)
    begins[1:] = (records["w0"][1:] != records["w0"][:-1]) | (records["w1"][1:] != records["w1"][:-1])
    return begins
