"""`/webhooks`: managing registered webhooks. Unlike the rest of the API, all fields are in snake_case."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from airflow_gemini_batch.emulator.http import refusals
from airflow_gemini_batch.emulator.http.bodies import json_response, page_size_of, read_object
from airflow_gemini_batch.emulator.http.callers import API_VERSIONS, project_of
from airflow_gemini_batch.emulator.proto_json import Json, get_list, get_text
from airflow_gemini_batch.emulator.service import Service
from airflow_gemini_batch.emulator.webhooks.deliveries import DeliveryStore
from airflow_gemini_batch.emulator.webhooks.webhook_store import EVENTS, STATES, Webhook, WebhookStore, checked_uri

_AT_ONCE = "revoke_previous_secrets_immediately"
_AFTER_A_DAY = "revoke_previous_secrets_after_h24"


class WebhooksApi:
    """create, get, list, patch, delete, ping and rotate; and the public keys of the tokens."""

    def __init__(self, service: Service, webhooks: WebhookStore, deliveries: DeliveryStore) -> None:
        self._service = service
        self._webhooks = webhooks
        self._deliveries = deliveries

    def routes(self) -> list[Route]:
        found = [Route("/.well-known/jwks.json", self._jwks, methods=["GET"])]
        for version in API_VERSIONS:
            found += [
                Route(f"/{version}/webhooks", self._create, methods=["POST"]),
                Route(f"/{version}/webhooks", self._list, methods=["GET"]),
                Route(f"/{version}/webhooks/{{id}}:ping", self._ping, methods=["POST"]),
                Route(f"/{version}/webhooks/{{id}}:rotateSigningSecret", self._rotate, methods=["POST"]),
                Route(f"/{version}/webhooks/{{id}}", self._get, methods=["GET"]),
                Route(f"/{version}/webhooks/{{id}}", self._change, methods=["PATCH"]),
                Route(f"/{version}/webhooks/{{id}}", self._delete, methods=["DELETE"]),
            ]
        return found

    async def _create(self, request: Request) -> Response:
        """The only answer with the complete secret."""
        project = project_of(request, self._service)
        body = await read_object(request)
        events = _checked_events(body)
        if not events:
            raise refusals.invalid_argument("subscribed_events must not be empty.")
        chosen_id = request.query_params.get("webhook_id") or request.query_params.get("webhookId")
        webhook = self._webhooks.add(project, get_text(body, "name"), checked_uri(get_text(body, "uri")), events, chosen_id)
        return json_response({**self._shown(webhook), "new_signing_secret": webhook.secrets[-1].value})

    async def _list(self, request: Request) -> Response:
        project = project_of(request, self._service)
        token = request.query_params.get("page_token") or request.query_params.get("pageToken")
        webhooks, more = self._webhooks.page(project, page_size_of(request, default=50, most=1000), token)
        body: dict[str, Any] = {"webhooks": [self._shown(webhook) for webhook in webhooks]} if webhooks else {}
        if more:
            body["next_page_token"] = more
        return json_response(body)

    async def _get(self, request: Request) -> Response:
        return json_response(self._shown(self._requested(request)))

    async def _change(self, request: Request) -> Response:
        webhook = self._requested(request)
        body = await read_object(request)
        changes: dict[str, Any] = {}
        if "subscribed_events" in body:
            changes["events"] = _checked_events(body)
        if "uri" in body:
            changes["uri"] = checked_uri(get_text(body, "uri"))
        if "name" in body:
            changes["name"] = get_text(body, "name")
        if "state" in body:
            changes["state"] = get_text(body, "state").lower()
            if changes["state"] not in STATES:
                raise refusals.invalid_argument(f"Invalid value at 'state': {body['state']!r}")
        return json_response(self._shown(self._webhooks.change(webhook, **changes)))

    async def _delete(self, request: Request) -> Response:
        self._webhooks.delete(self._requested(request))
        return json_response({})

    async def _ping(self, request: Request) -> Response:
        self._deliveries.ping(self._requested(request))
        return json_response({})

    async def _rotate(self, request: Request) -> Response:
        webhook = self._requested(request)
        behavior = get_text(await read_object(request), "revocation_behavior").lower() or _AFTER_A_DAY
        if behavior not in (_AT_ONCE, _AFTER_A_DAY):
            raise refusals.invalid_argument(f"Invalid value at 'revocation_behavior': {behavior!r}")
        return json_response({"secret": self._webhooks.rotate(webhook, at_once=behavior == _AT_ONCE)})

    async def _jwks(self, request: Request) -> Response:
        return json_response(self._deliveries.key.jwks(), headers={"cache-control": "public, max-age=3600"})

    def _requested(self, request: Request) -> Webhook:
        return self._webhooks.get(project_of(request, self._service), request.path_params["id"])

    def _shown(self, webhook: Webhook) -> Json:
        return webhook.resource(self._service.clock.now())


def _checked_events(body: Json) -> tuple[str, ...]:
    events = tuple(str(event) for event in get_list(body, "subscribed_events"))
    for event in events:
        if event not in EVENTS:
            raise refusals.invalid_argument(f"Invalid value at 'subscribed_events': {event!r}")
    return events
