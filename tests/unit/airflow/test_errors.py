"""Which errors Airflow may retry."""

from __future__ import annotations

import pytest

from airflow_gemini_batch._compat import AirflowFailException
from airflow_gemini_batch._errors import as_airflow_errors
from airflow_gemini_batch.engine import errors

FOR_A_PERSON = [
    errors.InputError("x"),
    errors.DestinationError("x"),
    errors.CorruptRunError("x"),
    errors.BalanceError("x"),
    errors.ShardsFailedError({"00000-0": ValueError("x")}),
    errors.DeadLetterRatioError("x"),
    errors.WaitTimeoutError("x"),
    errors.ApiKeyError("x", code=400),
    errors.NamelessJobError("x"),
    errors.RefusedError("x", code=400),
    errors.NotFoundError("x", code=404),
]
PASSING = [
    errors.OutcomeUnknownError("x", code=503),
    errors.DroppedError("x"),
    errors.QuotaError("x"),
    errors.UnreachableError("x"),
    errors.UnsettledError("x"),
    ValueError("x"),
]


@pytest.mark.parametrize("error", FOR_A_PERSON, ids=lambda error: type(error).__name__)
def test_errors_that_need_a_person_are_not_retried(error: Exception) -> None:
    with pytest.raises(AirflowFailException, match=rf"{type(error).__name__}: .*x") as failed, as_airflow_errors():
        raise error

    assert failed.value.__cause__ is error


@pytest.mark.parametrize("error", PASSING, ids=lambda error: type(error).__name__)
def test_errors_that_pass_by_themselves_may_be_retried(error: Exception) -> None:
    with pytest.raises(type(error)) as failed, as_airflow_errors():
        raise error

    assert failed.value is error


def test_every_error_of_the_engine_is_retryable_or_not() -> None:
    known = {type(error) for error in [*FOR_A_PERSON, *PASSING]} | {errors.GeminiBatchError, errors.ServiceError}

    assert {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)} <= known
