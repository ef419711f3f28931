"""The source of a run: rows ``k0``, ``k1``, …, whose values all follow from their numbers."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Collection
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

#: On the second day the rows with this remainder by a hundred ask something else: 1 % of them.
_CHANGED = 37
#: On the second day the carried columns have the values of rows that come so much later.
_LATER = 1000

#: A row repeats the request of an earlier one where its mark has one of these remainders by five.
_REPEATS = (0, 1)

#: Of the rows with this remainder by seven, the raw requests have a field that the service refuses.
_REFUSED = 3

#: Columns that are carried, one of each kind of type: the value of a row follows from its number.
CARRIED: dict[str, tuple[pa.DataType, Callable[[int], Any]]] = {
    "body": (pa.string(), lambda row: body_of(row)),
    "flag": (pa.bool_(), lambda row: row % 3 == 0),
    "small": (pa.int8(), lambda row: row % 100),
    "unsigned": (pa.uint64(), lambda row: 2**63 + row),
    "single": (pa.float32(), lambda row: row / 4),
    "double": (pa.float64(), lambda row: None if row % 5 == 0 else row / 7),
    "money": (pa.decimal128(20, 4), lambda row: Decimal(row) / 4),
    "day": (pa.date32(), lambda row: dt.date(2026, 1, 1) + dt.timedelta(days=row)),
    "clock": (pa.time64("us"), lambda row: dt.time(row % 24, row % 60, row % 59)),
    "moment": (pa.timestamp("us"), lambda row: dt.datetime(2026, 1, 1) + dt.timedelta(seconds=row)),
    "zoned": (pa.timestamp("us", "UTC"), lambda row: dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc) + dt.timedelta(hours=row)),
    "bytes": (pa.binary(), lambda row: row.to_bytes(4, "big")),
    "kind": (pa.dictionary(pa.int32(), pa.string()), lambda row: f"kind {row % 4}"),
    "numbers": (pa.list_(pa.int64()), lambda row: list(range(row % 4))),
    "pair": (pa.struct([("left", pa.int32()), ("right", pa.string())]), lambda row: {"left": row, "right": str(row)}),
    "lookup": (pa.map_(pa.string(), pa.int64()), lambda row: [("row", row)]),
}


def write_source(path: str, rows: int, *, repeats: bool = False, day: int = 1) -> None:
    """Write a Parquet file of rows, each with a text of its own, which the answer repeats.

    :param repeats: whether some rows have the text of an earlier row instead (``first_asked``).
    :param day: 2: the same keys; all carried columns have other values, but only 1 % of the rows another text.
    """
    asked = [first_asked(row) if repeats else row for row in range(rows)]
    values = range(rows)
    if day == 2:
        asked = [row + _LATER if row % 100 == _CHANGED else row for row in asked]
        values = range(_LATER, _LATER + rows)
    columns = {name: pa.array(map(value, values), kind) for name, (kind, value) in CARRIED.items()}
    columns["body"] = pa.array(map(body_of, asked))
    keys = pa.array([f"k{row}" for row in range(rows)])
    pq.write_table(pa.table({"id": keys, "request": [_raw_request(row) for row in asked], **columns}), path)


def _raw_request(row: int) -> str:
    request = {"contents": [{"parts": [{"text": f"Repeat: {body_of(row)}"}]}]}
    return json.dumps({**request, "temperature": 1} if row % 7 == _REFUSED else request)


def body_of(row: int) -> str:
    """The text of a row. No other row has it, and it cannot be guessed from the rows next to it."""
    return f"row {row} mark {_mark(row):08x}"


def first_asked(row: int) -> int:
    """The first row with the request of this one, in a table with repeats: itself, for about 60 % of the rows."""
    while row and _mark(row) % 5 in _REPEATS:
        row = _mark(row) // 5 % row
    return row


def payers(rows: int) -> list[str]:
    """The keys of the rows whose request others repeat, in a table of so many rows."""
    return sorted({f"k{first_asked(row)}" for row in range(rows) if first_asked(row) != row})


def requests_of(source: pa.Table, *, raw: bool, answered: Collection[str] = ()) -> int:
    """How many requests of a source differ, and are to be paid: the service takes them, and no earlier run has the answer.

    :param raw: whether the run takes them from the column ``request``.
    :param answered: texts that an earlier run has answers for.
    """
    if not raw:
        return len(set(source["body"].to_pylist()).difference(answered))
    return sum("temperature" not in request for request in source["request"].unique().to_pylist())


def _mark(row: int) -> int:
    return row * 2654435761 % 2**32
