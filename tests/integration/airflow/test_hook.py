"""The button "Test connection"."""

from __future__ import annotations

from typing import Any

from airflow_gemini_batch import GeminiHook
from airflow_gemini_batch.emulator import Emulator


def test_a_good_connection_is_told_by_one_listing(connect: Any, emulator: Emulator) -> None:
    assert GeminiHook().test_connection() == (True, "The key is good; it sees no batch job yet.")
    assert [(call["method"], call["route"], call["count"]) for call in emulator.calls()] == [("GET", "/v1beta/batches", 1)]


def test_the_api_version_of_the_connection_is_used(connect: Any, emulator: Emulator) -> None:
    connect(extra={"api_version": "v1"})

    GeminiHook().test_connection()

    assert [call["route"] for call in emulator.calls()] == ["/v1/batches"]


def test_a_wrong_key_is_told_without_showing_it(connect: Any) -> None:
    connect(password="invalid-key-of-someone")

    good, told = GeminiHook().test_connection()

    assert not good
    assert "API key not valid" in told
    assert "invalid-key-of-someone" not in told


def test_a_missing_connection_is_told(connect: Any) -> None:
    good, told = GeminiHook("nowhere").test_connection()

    assert not good
    assert "There is no Airflow connection 'nowhere'" in told


def test_a_client_lives_as_long_as_the_hook(connect: Any) -> None:
    hook = GeminiHook()

    with hook.get_conn() as client:
        assert list(client.list_jobs()) == []
        assert hook.client is client
