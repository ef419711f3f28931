"""The webhooks that are registered for an API key's project.

The existing webhooks are listed before one is created, because the service accepts a second one with the same URI and name
without an error. The SDK retries a failed create and raises errors of its own family for webhooks; here nothing is retried, and
the errors are the engine's. The service returns a signing secret only in the answer to the call that made it.
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
from airflow_gemini_batch.engine.gemini.page_tokens import PageTokens
from airflow_gemini_batch.engine.gemini.transport import hooked_client, translated
from airflow_gemini_batch.engine.printable import printable

#: The events for every way in which a job can end.
BATCH_EVENTS = ("batch.succeeded", "batch.failed", "batch.expired", "batch.cancelled")

#: Whether a rotation revokes the old secret at once; otherwise it stays valid for 24 hours.
_BEHAVIOR = {True: "revoke_previous_secrets_immediately", False: "revoke_previous_secrets_after_h24"}

_PAGE_SIZE = 1000


@dataclass(frozen=True, slots=True)
class Webhook:
    """A registered webhook.

    :param id: what the other methods take.
    :param uri: where notifications are sent.
    :param events: the event types it is subscribed to, such as ``batch.succeeded``.
    :param state: ``enabled``, ``disabled`` or ``disabled_due_to_failed_deliveries``.
    :param created: aware datetime; None where the service does not give it.
    :param secret: the signing secret, only in the return value of ``create``; the service never returns it again.
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
        """Whether the service sends notifications to it."""
        return self.state == "enabled"


class Webhooks:
    """The registered webhooks of the API key's project. Each call opens a client of its own, because calls are rare.

    Every method raises InputError when the installed google-genai has no webhooks, and ServiceError or a subclass of it when the
    service refuses or does not answer.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint

    def list(self) -> list[Webhook]:
        """All webhooks of the project."""
        found: list[Webhook] = []
        tokens = PageTokens("webhooks")
        with self._calling("list the webhooks") as sdk:
            while True:
                page = sdk.list(page_size=_PAGE_SIZE, **({"page_token": tokens.latest} if tokens.latest else {}))
                found += [_webhook(one) for one in page.webhooks or ()]
                if not tokens.go_on(page.next_page_token or None):
                    return found

    def create(self, uri: str, *, name: str, events: Sequence[str] = BATCH_EVENTS) -> Webhook:
        """Register a webhook and return it with its ``secret``, which cannot be read again later.

        :param uri: where the service sends notifications.
        :param name: for people, and to find the webhook again.
        :param events: event types. Default: all four ways in which a job can end.

        Raises InputError when a webhook with this URI and name exists: its secret cannot be read any more.
        """
        there = next((one for one in self.list() if (one.uri, one.name) == (uri, name)), None)
        if there is not None:
            raise InputError(
                f"Webhook {name!r} for {uri} is already registered as {there.id} ({there.state}). Delete it first, or rotate its "
                "secret if that was lost."
            )
        with self._calling(f"register webhook {name!r}") as sdk:
            return _webhook(sdk.create(name=name, uri=uri, subscribed_events=[*events]))

    def rotate(self, webhook_id: str, *, revoke_at_once: bool = False) -> str:
        """Make and return a new signing secret.

        :param revoke_at_once: whether the old secret becomes invalid at once. Default: False, it stays valid for 24 hours, so
            that receivers can be given the new one.
        """
        with self._calling(f"rotate the secret of webhook {webhook_id}") as sdk:
            return str(sdk.rotate_signing_secret(id=webhook_id, revocation_behavior=_BEHAVIOR[revoke_at_once]).secret)

    def ping(self, webhook_id: str) -> None:
        """Have the service send a test event to the webhook."""
        with self._calling(f"ping webhook {webhook_id}") as sdk:
            sdk.ping(id=webhook_id)

    def enable(self, webhook_id: str) -> None:
        """Enable a webhook that is disabled, for example by the service after failed deliveries."""
        with self._calling(f"enable webhook {webhook_id}") as sdk:
            sdk.update(id=webhook_id, state="enabled")

    def delete(self, webhook_id: str) -> None:
        """Delete the webhook. One that does not exist is not an error."""
        with contextlib.suppress(NotFoundError), self._calling(f"delete webhook {webhook_id}") as sdk:
            sdk.delete(id=webhook_id)

    @contextlib.contextmanager
    def _calling(self, doing: str) -> Iterator[Any]:
        options = self.endpoint.http_options()
        options.retry_options = types.HttpRetryOptions(attempts=1)
        http = hooked_client(self.endpoint.url())
        _refuse_repeats(http, doing)
        options.httpx_client = http
        with http, genai.Client(api_key=self.endpoint.key(), vertexai=False, http_options=options) as client, _translated(doing):
            webhooks = getattr(client, "webhooks", None)
            if webhooks is None:
                raise InputError("The installed google-genai has no webhooks; install a newer version.")
            yield webhooks


def _refuse_repeats(http: Any, doing: str) -> None:
    """Send no POST of unknown outcome twice: the webhooks client of google-genai 2 retries once with ``attempts=1``."""
    unanswered: set[str] = set()

    def before(request: Any) -> None:
        if request.method == "POST":
            if str(request.url) in unanswered:
                raise _meaning(None, doing, ConnectionError("the service did not answer, or answered with a server error"))
            unanswered.add(str(request.url))

    def after(response: Any) -> None:
        if response.status_code < 500 and response.status_code != 408:
            unanswered.discard(str(response.request.url))

    http.event_hooks["request"].append(before)
    http.event_hooks["response"].append(after)


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
    text = f"Could not {doing}: {printable(str(error))}"
    if code is None or code == 408 or code >= 500:
        return OutcomeUnknownError(f"{text}. It may have been done: check before repeating it.", code=code)
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
