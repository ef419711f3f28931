"""An Airflow connection becomes an endpoint, and its key is never shown."""

from __future__ import annotations

import asyncio
import json
from collections import UserDict
from typing import Any

import pytest

from airflow_gemini_batch.engine.errors import ApiKeyError, InputError
from airflow_gemini_batch.engine.gemini.client import DEFAULT_REQUEST_TIMEOUT, Endpoint
from airflow_gemini_batch.engine.project_limits import ProjectLimits
from airflow_gemini_batch.hooks.gemini import EXTRA_FIELDS, GeminiHook, base_url
from airflow_gemini_batch.provider_info import get_provider_info
from airflow_gemini_batch.webhooks.settings import WebhookSettings

KEY = "AIzaCanaryKeyThatMustNotLeak0123456789"


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Any:
    def connect(**fields: Any) -> GeminiHook:
        monkeypatch.setenv("AIRFLOW_CONN_GEMINI_TEST", json.dumps({"conn_type": "gemini", **fields}))
        return GeminiHook("gemini_test")

    return connect


@pytest.mark.parametrize(
    ("host", "port", "schema", "url"),
    [
        (None, None, None, None),
        ("", 8080, "http", None),
        ("https://gateway.example/gemini/", None, None, "https://gateway.example/gemini"),
        ("gateway.example", None, None, "https://gateway.example"),
        ("gateway.example/gemini", 8443, None, "https://gateway.example:8443/gemini"),
        ("localhost", 8080, "http", "http://localhost:8080"),
        ("http://127.0.0.1:9000", 8080, "https", "http://127.0.0.1:9000"),
        ("[::1]", 8080, "http", "http://[::1]:8080"),
    ],
)
def test_the_base_url_of_a_connection(host: str | None, port: int | None, schema: str | None, url: str | None) -> None:
    assert base_url(host, port, schema) == url


def test_a_connection_from_the_environment_is_an_endpoint(connect: Any) -> None:
    hook = connect(password=KEY, host="http://localhost:1234", extra={"api_version": "v1", "request_timeout": "7.5"})

    assert hook.endpoint == Endpoint(api_key=KEY, base_url="http://localhost:1234", api_version="v1", request_timeout=7.5)
    assert asyncio.run(hook.aendpoint()) == hook.endpoint


def test_a_connection_with_a_password_only_has_the_defaults(connect: Any) -> None:
    hook = connect(password=KEY, extra={"api_version": None, "request_timeout": None})

    assert hook.endpoint == Endpoint(api_key=KEY, request_timeout=DEFAULT_REQUEST_TIMEOUT)


@pytest.mark.parametrize("variable", ["GOOGLE_API_KEY", "GEMINI_API_KEY"])
def test_without_a_password_the_key_is_read_from_the_environment(
    variable: str, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, KEY)

    assert connect().endpoint.key() == KEY


def test_the_error_for_a_missing_key_names_the_connection(connect: Any) -> None:
    with pytest.raises(ApiKeyError, match="Connection 'gemini_test': No Gemini API key"):
        connect().endpoint  # noqa: B018


@pytest.mark.parametrize("how", ["sync", "async"])
def test_the_error_for_a_missing_connection_says_how_to_create_it(how: str) -> None:
    hook = GeminiHook("nowhere")

    with pytest.raises(InputError) as missing:
        hook.endpoint if how == "sync" else asyncio.run(hook.aendpoint())

    assert "Airflow has no connection 'nowhere'" in str(missing.value)
    assert "airflow connections add nowhere --conn-type gemini" in str(missing.value)
    assert "AIRFLOW_CONN_NOWHERE=" in str(missing.value)


@pytest.mark.parametrize("seconds", ["soon", 0, -1, float("inf")])
def test_an_invalid_request_timeout_is_refused(seconds: Any, connect: Any) -> None:
    with pytest.raises(InputError, match=r"Connection 'gemini_test': extra field request_timeout is"):
        connect(password=KEY, extra={"request_timeout": seconds}).endpoint  # noqa: B018


@pytest.mark.parametrize("extra", ["[1, 2]", '"whsec_secret"', "{not json"])
def test_an_extra_that_is_not_an_object_is_refused_and_not_shown(extra: str, connect: Any) -> None:
    with pytest.raises(InputError, match="Extra must be a JSON object") as refused:
        connect(password=KEY, extra=extra).endpoint  # noqa: B018

    assert extra not in str(refused.value)


def test_limits_are_those_of_all_runs_that_share_the_folder(connect: Any) -> None:
    hook = connect(password=KEY, extra={"limits_folder": "s3://lake/limits", "max_active_jobs": 4})

    assert hook.endpoint.limits == ProjectLimits("s3://lake/limits", max_active_jobs=4)


def test_a_limit_that_is_not_allowed_is_named_with_its_connection(connect: Any) -> None:
    hook = connect(password=KEY, extra={"limits_folder": "s3://lake/limits", "max_active_jobs": 0})

    with pytest.raises(InputError, match=r"Connection '\w+': max_active_jobs is 0; expected a whole number from 1"):
        _ = hook.endpoint


@pytest.mark.parametrize("field", ["api_version", "webhook_uri"])
def test_an_extra_field_that_is_not_text_is_refused(field: str, connect: Any) -> None:
    with pytest.raises(InputError, match=rf"Connection 'gemini_test': extra field {field} is 1; expected text"):
        connect(password=KEY, extra={field: 1}).endpoint  # noqa: B018


def test_unknown_extra_fields_are_named_in_one_warning_with_the_closest_known_one(
    connect: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    hook = connect(password=KEY, extra={"timeout": 5, "colour": "a value", "api_version": "v1"})

    assert hook.endpoint.request_timeout == DEFAULT_REQUEST_TIMEOUT
    asyncio.run(hook.aendpoint())
    asyncio.run(hook.awebhook_settings())

    [warning] = _warnings(capsys)
    assert "Connection 'gemini_test'" in warning
    assert "'timeout' (did you mean 'request_timeout'?), 'colour'. Known fields: api_version, " in warning
    assert "a value" not in warning


def test_known_extra_fields_cause_no_warning(connect: Any, capsys: pytest.CaptureFixture[str]) -> None:
    connect(password=KEY, extra=dict.fromkeys(EXTRA_FIELDS)).endpoint  # noqa: B018

    assert _warnings(capsys) == []


def _warnings(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The warnings in Airflow's log, which goes to the standard streams."""
    out, err = capsys.readouterr()
    return [line for line in f"{out}\n{err}".splitlines() if "warning" in line.lower()]


class _RecordedReads(UserDict[str, Any]):
    """An extra that remembers which fields were asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        self.names.add(key)
        return super().get(key, default)


def test_the_known_extra_fields_are_those_that_are_read(connect: Any) -> None:
    from airflow.sdk import Connection

    extra = _RecordedReads()

    GeminiHook("gemini_test")._endpoint(Connection(conn_id="gemini_test", conn_type="gemini", password=KEY), extra)  # type: ignore[arg-type]
    WebhookSettings.of_extra(extra)

    assert extra.names == set(EXTRA_FIELDS)


def test_the_connection_form_has_known_extra_fields_only() -> None:
    [form] = get_provider_info()["connection-types"]

    assert set(form["conn-fields"]) <= set(EXTRA_FIELDS)


def test_the_key_is_masked_and_shown_nowhere(connect: Any) -> None:
    from airflow.sdk._shared.secrets_masker import redact

    hook = connect(password=KEY)

    assert KEY not in f"{hook.endpoint!r} {hook!r} {vars(hook)!r}"
    assert redact(f"the key is {KEY}") == "the key is ***"
