"""No job is created that could outlast the cache it relies on."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import pytest
from google import genai

from airflow_gemini_batch.emulator import Emulator
from airflow_gemini_batch.engine.errors import InputError, RefusedError
from airflow_gemini_batch.engine.finish.summary import Summary
from airflow_gemini_batch.engine.gemini.caches import Cache, Caches, why_unfit
from airflow_gemini_batch.engine.gemini.client import Endpoint
from airflow_gemini_batch.engine.specs import GenerateRequest
from tests.integration.engine.conftest import MODEL, creates

pytestmark = pytest.mark.integration

NOON = dt.datetime(2026, 1, 1, 12, tzinfo=dt.timezone.utc)
HOUR = dt.timedelta(hours=1)


#: 1,250 tokens of the emulator. The service refuses less than 1,024 for this model.
LONG = "long " * 1000


@pytest.fixture
def caches(endpoint: Endpoint) -> Caches:
    return Caches(endpoint)


def asking(name: str) -> GenerateRequest:
    return GenerateRequest(prompt="Repeat: ${body}", config={"cached_content": name})


def test_a_cache_is_kept_for_fifty_hours_by_default(caches: Caches) -> None:
    name = caches.create(model=MODEL, contents=LONG, system_instruction="Be brief.", display_name="handbook")

    cache = caches.get(name)

    assert (cache.name, cache.model) == (name, MODEL)
    assert cache.expires is not None
    assert abs(cache.expires - dt.datetime.now(dt.timezone.utc) - 50 * HOUR) < dt.timedelta(minutes=1)


@pytest.mark.parametrize("ttl", [dt.timedelta(hours=23, minutes=59), dt.timedelta(0), -HOUR])
def test_a_ttl_shorter_than_a_job_may_take_is_refused(caches: Caches, ttl: dt.timedelta) -> None:
    with pytest.raises(InputError, match="expected at least 1 day"):
        caches.create(model=MODEL, contents="long", ttl=ttl)


def test_a_cache_without_content_is_refused(caches: Caches) -> None:
    with pytest.raises(InputError, match="nothing to cache"):
        caches.create(model=MODEL)


@pytest.mark.parametrize(
    ("cache", "problem"),
    [
        (Cache("cachedContents/1", "m", NOON + 24 * HOUR), None),
        (Cache("cachedContents/1", "m", None), None),
        (
            Cache("cachedContents/1", "m", NOON + 23 * HOUR),
            "expires at 2026-01-02 11:00 UTC, but a job may take until 2026-01-02 12:00",
        ),
        (Cache("cachedContents/1", "other", NOON + 99 * HOUR), "a cache of other, but the run uses models/m"),
    ],
)
def test_what_a_job_can_rely_on(cache: Cache, problem: str | None) -> None:
    found = why_unfit(cache, "models/m", now=NOON.timestamp())

    assert found is None if problem is None else problem in (found or "")


def test_a_cache_that_is_too_small_is_refused_in_the_services_words(caches: Caches) -> None:
    with pytest.raises(RefusedError, match=r"too small\. total_token_count=25, min_total_token_count=1024"):
        caches.create(model=MODEL, contents="long " * 20)


def test_a_run_with_a_lasting_cache_finishes(caches: Caches, go: Callable[..., Summary]) -> None:
    name = caches.create(model=MODEL, contents=LONG)

    assert go(request=asking(name)).results == 12


def test_a_run_whose_cache_expires_too_soon_resumes_once_it_is_extended(
    caches: Caches, endpoint: Endpoint, go: Callable[..., Summary], emulator: Emulator
) -> None:
    name = caches.create(model=MODEL, contents=LONG)
    with genai.Client(api_key=endpoint.api_key, vertexai=False, http_options=endpoint.http_options()) as sdk:
        sdk.caches.update(name=name, config={"ttl": "3600s"})
    with pytest.raises(InputError, match=r"which expires at .* No job was created"):
        go(request=asking(name))
    assert creates(emulator) == []

    caches.extend(name)

    assert go(request=asking(name)).results == 12


def test_a_run_whose_cache_was_deleted_creates_no_job(caches: Caches, go: Callable[..., Summary], emulator: Emulator) -> None:
    name = caches.create(model=MODEL, contents=LONG)
    caches.delete(name)
    caches.delete(name)

    with pytest.raises(InputError, match="which does not exist"):
        go(request=asking(name))
    with pytest.raises(RefusedError):
        caches.get(name)
    assert creates(emulator) == []


def test_caches_are_listed_until_they_expire(caches: Caches, endpoint: Endpoint, emulator: Emulator) -> None:
    names = [caches.create(model=MODEL, contents=f"{LONG}{number}") for number in range(3)]
    with genai.Client(api_key=endpoint.api_key, vertexai=False, http_options=endpoint.http_options()) as sdk:
        assert [cache.name for cache in sdk.caches.list(config={"page_size": 2})] == names

        emulator.advance(51 * 3600)

        assert list(sdk.caches.list()) == []
