"""Which errors Airflow may retry."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from airflow_gemini_batch._compat import AirflowFailException
from airflow_gemini_batch._errors import as_airflow_errors
from airflow_gemini_batch._locations import locate
from airflow_gemini_batch.engine import errors
from airflow_gemini_batch.hooks.gemini import GeminiHook

FOR_A_PERSON = [
    errors.InputError("x"),
    errors.BudgetError("x"),
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
    FileNotFoundError("The specified bucket x does not exist"),
    PermissionError("Access denied to x"),
    NotADirectoryError("x"),
    IsADirectoryError("x"),
]
PASSING = [
    errors.OutcomeUnknownError("x", code=503),
    errors.DroppedError("x"),
    errors.NoRoomError("x"),
    errors.QuotaError("x"),
    errors.UnreachableError("x"),
    errors.UnsettledError("x"),
    ValueError("x"),
]


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> GeminiHook:
    connection = {"conn_type": "gemini", "password": "AIzaKeyOfTheTests", "host": "http://user:word@proxy.example:8080/gemini"}
    monkeypatch.setenv("AIRFLOW_CONN_OF_THE_TESTS", json.dumps(connection))
    hook = GeminiHook("of_the_tests")
    assert hook.endpoint.base_url
    return hook


@pytest.mark.parametrize("error", FOR_A_PERSON, ids=lambda error: type(error).__name__)
def test_errors_that_need_a_person_are_not_retried(error: Exception) -> None:
    with pytest.raises(AirflowFailException, match=rf"{type(error).__name__}: .*x"), as_airflow_errors():
        raise error


@pytest.mark.parametrize("error", PASSING, ids=lambda error: type(error).__name__)
def test_errors_that_pass_by_themselves_may_be_retried(error: Exception) -> None:
    with pytest.raises(type(error)) as failed, as_airflow_errors():
        raise error

    assert failed.value is error


@pytest.mark.parametrize("error", [TypeError("x"), ValueError("x"), ConnectionResetError("x"), OSError("x")], ids=repr)
def test_other_errors_are_not_changed(error: Exception) -> None:
    with pytest.raises(type(error)) as failed, as_airflow_errors():
        raise error

    assert failed.value is error


@pytest.mark.parametrize("error", [errors.RefusedError("x", code=400), errors.QuotaError("x", retry_after=3.0)], ids=repr)
def test_an_error_of_the_service_is_one_line_with_connection_and_url_and_then_the_same_exception_without_its_cause(
    error: Exception, hook: GeminiHook, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    def fail() -> None:
        try:
            raise ValueError("the cause")
        except ValueError as cause:
            raise error from cause

    with pytest.raises(Exception, match="x") as failed, as_airflow_errors(hook):
        fail()

    [line] = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert line.startswith(f"{type(error).__name__}: x (connection 'of_the_tests', http://proxy.example:8080/gemini)")
    assert "\n" not in line
    assert "resumes where this one stopped" in line
    assert str(failed.value) in line
    assert failed.value.__cause__ is None
    assert failed.value.__suppress_context__
    assert len(failed.traceback) <= 3  # this test, and the context manager
    assert "ValueError: the cause" in caplog.text


def test_an_error_that_is_not_the_services_does_not_name_the_connection(hook: GeminiHook) -> None:
    with pytest.raises(AirflowFailException) as failed, as_airflow_errors(hook):
        raise errors.InputError("x")

    assert str(failed.value) == "InputError: x"


@pytest.mark.parametrize("place", [None, 3, ["s3://bucket"], "", "  "])
def test_a_destination_that_is_not_text_needs_a_person(place: Any) -> None:
    with pytest.raises(AirflowFailException, match=r"InputError: A location is .*expected a path or a URI"), as_airflow_errors():
        locate(place)


def test_every_error_of_the_engine_is_retryable_or_not() -> None:
    known = {type(error) for error in [*FOR_A_PERSON, *PASSING]} | {errors.GeminiBatchError, errors.ServiceError}

    assert {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)} <= known
