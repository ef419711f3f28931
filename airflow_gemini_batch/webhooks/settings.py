"""The webhook settings in a connection's extra. The signing secret appears in no repr and in no message."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_gemini_batch.engine.errors import InputError

GOOGLE = "https://generativelanguage.googleapis.com"
_JWKS_PATH = "/.well-known/jwks.json"

#: Accepts tokens for any audience.
ANY_AUDIENCE = "*"

_SECRET_PREFIX = "whsec_"

#: Seconds. The service delivers for a day; it does not document for how long it makes its tokens valid.
_TOKEN_LIFETIME = 86_400.0


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """How webhooks are verified, and where notifications are written.

    :param secrets: signing keys of the registered webhook, decoded; two while the secret is rotated. Default: none.
    :param folder: URI of the notification folder, which the API server writes and the triggerer reads. Default: none, so that
        webhooks have no effect.
    :param uri: webhook URI that each job of this connection names in its ``webhook_config``. Default: none.
    :param audience: the ``aud`` that tokens must have; ``*`` accepts any. Default: none, so that no token is accepted.
    :param issuer: the ``iss`` that tokens must have. Default: any.
    :param jwks_url: URL of the keys that verify tokens. Default: Google's.
    :param token_lifetime: seconds, at most, until the ``exp`` of a token that arrives now. Default: a day.
    """

    secrets: tuple[bytes, ...] = field(default=(), repr=False)
    folder: str | None = None
    uri: str | None = None
    audience: str | None = None
    issuer: str | None = None
    jwks_url: str = GOOGLE + _JWKS_PATH
    token_lifetime: float = _TOKEN_LIFETIME

    @property
    def can_verify(self) -> bool:
        """Whether any webhook can be accepted."""
        return bool(self.secrets or self.audience)

    @classmethod
    def of_extra(cls, extra: Mapping[str, Any], base_url: str | None = None) -> WebhookSettings:
        """The settings in a connection's extra. Raises InputError for an invalid signing secret or lifetime.

        :param extra: the connection's extra, as a dict.
        :param base_url: the connection's base URL. The default of ``jwks_url`` is there. Default: Google's.
        """
        uri = _text(extra, "webhook_uri")
        return cls(
            secrets=tuple(_key(secret) for secret in (_text(extra, "webhook_signing_secret") or "").split()),
            folder=_text(extra, "webhook_folder"),
            uri=uri,
            audience=_text(extra, "webhook_audience") or uri,
            issuer=_text(extra, "webhook_issuer"),
            jwks_url=_text(extra, "webhook_jwks_url") or (base_url or GOOGLE).rstrip("/") + _JWKS_PATH,
            token_lifetime=_seconds(extra, "webhook_token_lifetime", _TOKEN_LIFETIME),
        )


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(_SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not key:
        # The message does not quote the value: it may be the real secret with one wrong character.
        raise InputError(
            "webhook_signing_secret is not a signing secret; expected whsec_ followed by base64, as the service returned it."
        )
    return key


def _seconds(extra: Mapping[str, Any], name: str, default: float) -> float:
    value = extra.get(name)
    if value in (None, ""):
        return default
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = 0.0
    if not 0.0 < seconds < float("inf"):
        raise InputError(f"extra field {name} is {value!r}; expected seconds above 0.")
    return seconds


def _text(extra: Mapping[str, Any], name: str) -> str | None:
    value = extra.get(name)
    return value.strip() or None if isinstance(value, str) else None
