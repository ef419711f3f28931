"""Tables of Python objects: a value that Arrow cannot hold concerns its own row, and a column nobody reads concerns no one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from airflow_gemini_batch.engine.arrow.texts import texts
from airflow_gemini_batch.engine.arrow.values import NoText
from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.source.keys import check_key_column
from airflow_gemini_batch.engine.source.open import open_source
from airflow_gemini_batch.engine.source.records import as_source

CUT = "cut emoji \ud83d"


def frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series([row[name] for row in rows], dtype=object) for name in rows[0]})


def returned(rows: list[dict[str, Any]]) -> Any:
    return as_source(rows, by="f()")


forms = pytest.mark.parametrize("form", [frame, list, returned])


def column(source: Any, name: str) -> pa.Array:
    [batch] = open_source(source).batches([name])
    return batch.column(0)


@forms
@pytest.mark.parametrize(
    "nest",
    [
        lambda text: text,
        lambda text: [text],
        lambda text: {"a": [{"b": text}]},
        lambda text: (text, text),
        lambda text: [None, text, ""],
    ],
)
def test_a_lone_surrogate_concerns_its_own_row_alone(form: Callable[[Any], Any], nest: Callable[[str], Any]) -> None:
    rows = [{"t": nest("fine \U0001f600")}, {"t": nest(CUT)}, {"t": None}]

    before, cut, null = texts(column(form(rows), "t"))

    assert isinstance(before, str)
    assert isinstance(cut, NoText)
    assert "half of a surrogate pair" in cut.reason
    assert null is None


def test_lone_surrogates_in_arrays_of_pandas() -> None:
    series = pd.Series(["fine", CUT, "fine"], dtype=object).map(lambda text: np.array([text], dtype=object))

    assert [isinstance(text, NoText) for text in texts(column(pd.DataFrame({"t": series}), "t"))] == [False, True, False]


def test_prompts_with_a_lone_surrogate_are_a_column() -> None:
    fine, cut = texts(column(as_source(["fine", CUT], by="f()"), "prompt"))

    assert (fine, type(cut)) == ("fine", NoText)


class Odd:
    def __arrow_array__(self, type: Any = None) -> Any:
        raise RuntimeError("odd")


UNREADABLE = [[1, "x"], ["x", {"y": 1}], [2**70, 1], [object(), None], [Odd(), Odd()], [{CUT: 1}, None]]


@forms
@pytest.mark.parametrize("values", UNREADABLE, ids=range(len(UNREADABLE)))
def test_a_column_that_cannot_be_read_matters_only_when_it_is_read(form: Callable[[Any], Any], values: list[Any]) -> None:
    source = open_source(form([{"bad": value, "good": f"t{number}"} for number, value in enumerate(values)]))

    [batch] = source.batches(["good"])

    assert batch.column(0).to_pylist() == ["t0", "t1"]
    assert source.fingerprint()
    assert sum(batch.num_rows for batch in source.batches([])) == 2
    with pytest.raises(InputError, match=r"The column 'bad' of the .* has values of different types or of an unknown type"):
        list(source.batches(["good", "bad"]))


def test_rows_are_counted_though_no_column_can_be_read() -> None:
    assert sum(batch.num_rows for batch in open_source([{"a": 1}, {"a": "x"}]).batches([])) == 2
    assert sum(batch.num_rows for batch in open_source([{}, {}]).batches([])) == 2


@pytest.mark.parametrize(("index", "named"), [("id", "index 'id' of"), (None, "The index of")])
def test_a_key_that_is_the_index_is_advised(index: str | None, named: str) -> None:
    table = pd.DataFrame({"text": ["a"]}, index=pd.Index(["k"], name=index))

    with pytest.raises(
        InputError, match=rf"key names a column .*'id'.*{named} the DataFrame is not a column: pass df.reset_index"
    ):
        check_key_column("id", open_source(table).schema)


def test_an_index_that_counts_the_rows_is_not_mentioned() -> None:
    with pytest.raises(InputError, match=r"It has: 'text'\.$"):
        check_key_column("id", open_source(pd.DataFrame({"text": ["a"]})).schema)
