"""The webhooks that are registered for a project: looked at before one is made, because the service makes two without a word.

The SDK's webhooks have errors of another family than everything else of it, and repeat a create that failed by themselves. Here
nothing is repeated, and the errors are the engine's. A signing secret is in the answer that made it, and nowhere else.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from google import genai
from google.genai import types

from airflow_gemini_batch.engine.errors import (
    ApiKeyError,
    InputError,
    NotFoundError,
    OutcomeUnknownError,
    QuotaError,
    RefusedError,
    ServiceError,
)
from airflow_gemini_batch.engine.gemini.client import Endpoint
from airflow_gemini_batch.engine.gemini.transport import hooked_client, translated

#: All ends of a job.
BATCH_EVENTS = ("batch.succeeded", "batch.failed", "batch.expired", "batch.cancelled")

#: How long the old secret stays good after a rotation, unless it is revoked at once.
_BEHAVIOR = {True: "revoke_previous_secrets_immediately", False: "revoke_previous_secrets_after_h24"}

_PAGE_SIZE = 1000


@dataclass(frozen=True, slots=True)
class Webhook:
    """A registered webhook.

    :param state: ``enabled``, ``disabled`` or ``disabled_due_to_failed_deliveries``.
    :param secret: the signing secret, of one that has just been made; the service never tells it again.
    """

    id: str
    name: str
    uri: str
    events: tuple[str, ...]
    state: str
    created: dt.datetime | None = None
    secret: str | None = field(default=None, repr=False)

    @property
    def is_enabled(self) -> bool:
        return self.state == "enabled"


class Webhooks:
    """The registered webhooks of the key's project. Each call has a client of its own: they are few and far between."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint

    def list(self) -> list[Webhook]:
        found: list[Webhook] = []
        token: str | None = None
        with self._calling("list the webhooks") as sdk:
            while True:
                page = sdk.list(page_size=_PAGE_SIZE, **({"page_token": token} if token else {}))
                found += [_webhook(one) for one in page.webhooks or ()]
                if not page.next_page_token or page.next_page_token == token:
                    return found
                token = page.next_page_token

    def create(self, uri: str, *, name: str, events: Sequence[str] = BATCH_EVENTS) -> Webhook:
        """Register a webhook, and return it with its ``secret``.

        Raises InputError when one with this URI and name is there: its secret is known to whoever made it, and to nobody else.
        """
        there = next((one for one in self.list() if (one.uri, one.name) == (uri, name)), None)
        if there is not None:
            raise InputError(
                f"Webhook {name!r} for {uri} is registered already, as {there.id} ({there.state}). Rotate its secret when it is "
                "lost, or delete it first."
            )
        with self._calling(f"register webhook {name!r}") as sdk:
            return _webhook(sdk.create(name=name, uri=uri, subscribed_events=[*events]))

    def rotate(self, webhook_id: str, *, revoke_at_once: bool = False) -> str:
        """A new signing secret. The old one stays good for a day, so that receivers can learn the new one."""
        with self._calling(f"rotate the secret of webhook {webhook_id}") as sdk:
            return str(sdk.rotate_signing_secret(id=webhook_id, revocation_behavior=_BEHAVIOR[revoke_at_once]).secret)

    def ping(self, webhook_id: str) -> None:
        """Have the service send an event that means nothing."""
        with self._calling(f"ping webhook {webhook_id}") as sdk:
            sdk.ping(id=webhook_id)

    def enable(self, webhook_id: str) -> None:
        """Switch one on again that the service has disabled after failed deliveries."""
        with self._calling(f"enable webhook {webhook_id}") as sdk:
            sdk.update(id=webhook_id, state="enabled")

    def delete(self, webhook_id: str) -> None:
        """No error when it is gone."""
        with contextlib.suppress(NotFoundError), self._calling(f"delete webhook {webhook_id}") as sdk:
            sdk.delete(id=webhook_id)

    @contextlib.contextmanager
    def _calling(self, doing: str) -> Iterator[Any]:
        options = self.endpoint.http_options()
        options.retry_options = types.HttpRetryOptions(attempts=1)
        http = hooked_client()
        options.httpx_client = http
        with http, genai.Client(api_key=self.endpoint.key(), vertexai=False, http_options=options) as client, _translated(doing):
            webhooks = getattr(client, "webhooks", None)
            if webhooks is None:
                raise InputError("The installed google-genai knows no webhooks; install a newer one.")
            yield webhooks


@contextlib.contextmanager
def _translated(doing: str) -> Iterator[None]:
    with translated(doing):
        try:
            yield
        except Exception as error:
            code = getattr(error, "status_code", None)
            # The classes are private and move between releases: `_gaos` until 3.5, `_interactions_errors` since.
            if not type(error).__module__.startswith("google.genai._"):
                raise
            raise _meaning(code if isinstance(code, int) else None, doing, error) from error


def _meaning(code: int | None, doing: str, error: Exception) -> ServiceError:
    text = f"Could not {doing}: {error}"
    if code is None or code == 408 or code >= 500:
        return OutcomeUnknownError(f"{text}. It may have been done: look before you repeat it.", code=code)
    if code == 401 or "API key" in str(error) or "API_KEY" in str(getattr(error, "body", "")):
        return ApiKeyError(f"{text} Check the API key of the connection.", code=code)
    kinds: dict[int, type[ServiceError]] = {404: NotFoundError, 429: QuotaError}
    return kinds.get(code, RefusedError)(text, code=code)


def _webhook(found: Any) -> Webhook:
    return Webhook(
        id=found.id or "",
        name=found.name or "",
        uri=found.uri,
        events=tuple(found.subscribed_events or ()),
        state=found.state or "enabled",
        created=found.create_time,
        secret=found.new_signing_secret,
    )
