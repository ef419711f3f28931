"""``BatchOptions.prices`` is checked when the DAG is parsed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_gemini_batch import BatchOptions
from airflow_gemini_batch.engine.errors import InputError

GOOD = {
    "models/gemini-3.5-flash": {"input": 1, "input_above_200k": 2, "output": 4.5, "web_search": 14},
    "gemini-3.7-flash": "half",
}


def test_rates_are_kept_as_floats_under_the_plain_name() -> None:
    assert BatchOptions(prices=GOOD).prices == {
        "gemini-3.5-flash": {"input": 1.0, "input_above_200k": 2.0, "output": 4.5, "web_search": 14.0},
        "gemini-3.7-flash": "half",
    }


def test_rates_come_back_from_plain_json() -> None:
    options = BatchOptions(prices=GOOD)

    assert BatchOptions.of(json.loads(json.dumps(options.as_dict()))) == options


def test_rates_may_be_given_on_the_command_line() -> None:
    assert BatchOptions.of_texts({"prices": '{"m": {"input": 1}}'}).prices == {"m": {"input": 1.0}}


@pytest.mark.parametrize(
    ("prices", "why"),
    [
        ("half", "options: prices is 'half'; expected a dict of model names to rates"),
        ({1: {}}, "expected a dict of model names to rates"),
        ({"m": 3}, r"prices\['m'\] is 3; expected a dict such as"),
        ({"m": {"output": 1}}, r"prices\['m'\] has no 'input'"),
        ({"m": {"input": 1, "outptu": 1}}, "has the kind 'outptu'. Did you mean 'output'\\?"),
        ({"m": {"input": 1, 3: 1}}, "has the kind 3"),
        ({"m": {"input": 1, "web_search_above_200k": 1}}, "has the kind 'web_search_above_200k'"),
        ({"m": {"input": 1, "output_above_200k": 1}}, "has 'output_above_200k' without 'output'"),
        ({"m": {"input": -1}}, r"\['input'\] is -1; expected USD per 1,000,000 tokens, 0 or more"),
        ({"m": {"input": True}}, "is True"),
        ({"m": {"input": float("nan")}}, "is nan"),
        ({"m": {"input": 1, "web_search": "14"}}, "expected USD per 1,000 searches"),
    ],
)
def test_a_wrong_rate_is_named(prices: Any, why: str) -> None:
    with pytest.raises(InputError, match=why) as error:
        BatchOptions(prices=prices)

    assert "\n" not in str(error.value)
