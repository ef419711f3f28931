"""What a connection's extra says of webhooks. The signing secret is in no repr and in no message."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_gemini_batch.engine.errors import InputError

GOOGLE = "https://generativelanguage.googleapis.com"
_JWKS_PATH = "/.well-known/jwks.json"

#: The audience that accepts every audience.
ANY_AUDIENCE = "*"

_SECRET_PREFIX = "whsec_"


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """How to tell a webhook of the service from anybody else's, and where to leave word of it.

    :param secrets: keys of registered webhooks; several while one replaces the other.
    :param folder: URI of the knock folder, which the API server writes and the triggerer reads.
    :param uri: where jobs of this connection tell their end, each for itself (``webhook_config``); None: they do not.
    :param audience: the ``aud`` that their tokens must have; ``*``: any. None: no token is accepted.
    :param issuer: the ``iss`` that they must have; None: any.
    :param jwks_url: where the keys of their signatures are.
    """

    secrets: tuple[bytes, ...] = field(default=(), repr=False)
    folder: str | None = None
    uri: str | None = None
    audience: str | None = None
    issuer: str | None = None
    jwks_url: str = GOOGLE + _JWKS_PATH

    @property
    def can_verify(self) -> bool:
        return bool(self.secrets or self.audience)

    @classmethod
    def of_extra(cls, extra: Mapping[str, Any], base_url: str | None = None) -> WebhookSettings:
        """Raises InputError for a secret that is none.

        :param base_url: the connection's; the keys of the service are looked for there.
        """
        uri = _text(extra, "webhook_uri")
        return cls(
            secrets=tuple(_key(secret) for secret in (_text(extra, "webhook_signing_secret") or "").split()),
            folder=_text(extra, "webhook_folder"),
            uri=uri,
            audience=_text(extra, "webhook_audience") or uri,
            issuer=_text(extra, "webhook_issuer"),
            jwks_url=_text(extra, "webhook_jwks_url") or (base_url or GOOGLE).rstrip("/") + _JWKS_PATH,
        )


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(_SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not key:
        # The text itself is told to nobody: it may be a good secret with one wrong letter.
        raise InputError("webhook_signing_secret is no signing secret; expected whsec_ and base64, as the service gave it.")
    return key


def _text(extra: Mapping[str, Any], name: str) -> str | None:
    value = extra.get(name)
    return value.strip() or None if isinstance(value, str) else None
