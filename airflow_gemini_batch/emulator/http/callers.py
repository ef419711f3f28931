"""What a call says about its caller: the project of its API key, the API version and the base URL."""

from __future__ import annotations

from starlette.requests import Request

from airflow_gemini_batch.emulator.http import refusals
from airflow_gemini_batch.emulator.options import DEFAULT_PROJECT
from airflow_gemini_batch.emulator.service import Service

API_VERSIONS = ("v1", "v1beta", "v1alpha")


def project_of(request: Request, service: Service) -> str:
    """The project of the call's API key. Raises the service's refusal for a missing or invalid key."""
    key = request.headers.get("x-goog-api-key") or request.query_params.get("key") or _bearer(request)
    if not key:
        raise refusals.key_missing()
    if service.projects:
        if key not in service.projects:
            raise refusals.key_invalid()
        return service.projects[key]
    if key.startswith("invalid"):
        raise refusals.key_invalid()
    return DEFAULT_PROJECT


def _bearer(request: Request) -> str | None:
    """The API key of an OpenAI client."""
    kind, _, key = request.headers.get("authorization", "").partition(" ")
    return key if kind.lower() == "bearer" and "/openai/" in request.url.path else None


def version_of(request: Request) -> str:
    """The API version in the call's path."""
    return next((part for part in request.url.path.split("/") if part in API_VERSIONS), "v1beta")


def base_url_of(request: Request) -> str:
    """The base URL at which this caller reaches the emulator. URLs in answers begin with it."""
    scheme = request.headers.get("x-forwarded-proto", request.url.scheme).split(",")[0].strip()
    host = request.headers.get("x-forwarded-host") or request.headers.get("host") or request.url.netloc
    return f"{scheme}://{host.split(',')[0].strip()}"
