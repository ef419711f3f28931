"""Which HTTP library is given to google-genai."""

from __future__ import annotations

import pytest

from airflow_gemini_batch.engine.gemini.sdk import HTTP_CLIENT_VARIABLE, http_library


@pytest.mark.parametrize("chosen", [None, "", "auto", "httpx", " HTTPX ", "something else"])
def test_httpx_is_used_unless_the_environment_names_the_other(chosen: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(HTTP_CLIENT_VARIABLE, raising=False)
    if chosen is not None:
        monkeypatch.setenv(HTTP_CLIENT_VARIABLE, chosen)

    assert http_library().__name__ == "httpx"


@pytest.mark.parametrize("chosen", ["httpx2", " HTTPX2\n", "Httpx2"])
def test_case_and_white_space_do_not_matter(chosen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("httpx2")
    monkeypatch.setenv(HTTP_CLIENT_VARIABLE, chosen)

    assert http_library().__name__ == "httpx2"
