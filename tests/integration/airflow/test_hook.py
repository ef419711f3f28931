"""The hook against the emulator: "Test connection", listings and caches."""

from __future__ import annotations

from typing import Any

from airflow_gemini_batch import GeminiHook
from airflow_gemini_batch.emulator import Emulator


def test_a_valid_connection_is_tested_with_one_request(connect: Any, emulator: Emulator) -> None:
    assert GeminiHook().test_connection() == (True, "Connected. The key can list batch jobs.")
    assert [(call["method"], call["route"], call["count"]) for call in emulator.calls()] == [("GET", "/v1beta/batches", 1)]


def test_the_api_version_of_the_connection_is_used(connect: Any, emulator: Emulator) -> None:
    connect(extra={"api_version": "v1"})

    GeminiHook().test_connection()

    assert [call["route"] for call in emulator.calls()] == ["/v1/batches"]


def test_a_wrong_key_is_reported_without_showing_it(connect: Any) -> None:
    connect(password="invalid-key-of-someone")

    is_good, message = GeminiHook().test_connection()

    assert not is_good
    assert "API key not valid" in message
    assert "invalid-key-of-someone" not in message


def test_a_missing_connection_is_reported(connect: Any) -> None:
    is_good, message = GeminiHook("nowhere").test_connection()

    assert not is_good
    assert "Airflow has no connection 'nowhere'" in message


def test_the_hook_keeps_one_client(connect: Any) -> None:
    hook = GeminiHook()

    with hook.get_conn() as client:
        assert list(client.list_jobs()) == []
        assert hook.client is client
