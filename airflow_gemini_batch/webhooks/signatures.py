"""Verifies that a webhook was sent by the service: pure functions of headers, body, keys and the time.

Registered webhooks have a Standard Webhooks signature, an HMAC over id, time and body. Webhooks of a single job have a JWT, which
proves the sender and the time but not the body. That is one more reason to treat a body as a hint only.

Invariants: comparing a wrong signature always takes the same time, and tokens are accepted only with RS256.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jwt

from airflow_gemini_batch.webhooks.settings import ANY_AUDIENCE

#: Seconds by which the signed time may differ from ours. The value of Standard Webhooks and of the service's documentation.
TOLERANCE = 300.0

#: At most this many signatures of a header are compared. During a rotation there are two.
_MAX_SIGNATURES = 8


class SignatureError(Exception):
    """The webhook cannot be trusted. The message is for our own log; the sender gets no reason."""


@dataclass(frozen=True, slots=True)
class Proof:
    """A verified webhook. ``message_id`` is the same for every attempt to deliver it; None if the webhook has no id."""

    message_id: str | None


def is_token(headers: Mapping[str, str]) -> bool:
    """Whether the signature is a JWT. Both kinds of signature are in the same header."""
    return headers.get("webhook-signature", "").count(".") == 2 and "," not in headers["webhook-signature"]


def key_id_of(headers: Mapping[str, str]) -> str:
    """The id of the key with which the token claims to be signed. Raises SignatureError for anything but RS256."""
    try:
        header = jwt.get_unverified_header(headers.get("webhook-signature", ""))
    except (jwt.InvalidTokenError, ValueError) as error:
        raise SignatureError(f"the token has no readable header ({error})") from None
    if header.get("alg") != "RS256" or not isinstance(header.get("kid"), str):
        raise SignatureError("the token is not signed with RS256 and a named key")
    return str(header["kid"])


def verify_standard(headers: Mapping[str, str], body: bytes, secrets: Sequence[bytes], *, now: float) -> Proof:
    """Check a Standard Webhooks signature. Raises SignatureError."""
    message_id = headers.get("webhook-id", "")
    timestamp = headers.get("webhook-timestamp", "")
    entries = headers.get("webhook-signature", "").split(" ")[:_MAX_SIGNATURES]
    if not message_id or not timestamp or entries == [""]:
        raise SignatureError("webhook-id, webhook-timestamp or webhook-signature is missing")
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        raise SignatureError("webhook-timestamp is not a number of seconds")
    _check_time(int(timestamp), now)
    signed = f"{message_id}.{timestamp}.".encode("latin-1", "replace") + body
    wanted = [base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)) for secret in secrets]
    given = [value.encode("latin-1", "replace") for entry in entries for name, _, value in [entry.partition(",")] if name == "v1"]
    # All pairs are compared, even after a match, so that the time does not depend on the result.
    matches = [hmac.compare_digest(mine, theirs) for mine in wanted for theirs in given]
    if not any(matches):
        raise SignatureError("no signature matches webhook_signing_secret")
    return Proof(message_id)


def verify_token(
    headers: Mapping[str, str], key: jwt.PyJWK, *, audience: str, issuer: str | None = None, lifetime: float, now: float
) -> Proof:
    """Check the JWT of a job's own webhook. Raises SignatureError.

    Google does not document the claims. ``exp``, ``nbf`` and ``iat`` are checked where present, and ``exp`` or ``iat`` is
    required. The audience is checked unless it is ``*``, and the issuer if one is given.

    :param lifetime: seconds, at most, from ``now`` to ``exp``: whoever gets hold of a token can use it until then.
    """
    try:
        claims: dict[str, Any] = jwt.decode(
            headers.get("webhook-signature", ""),
            key,
            algorithms=["RS256"],
            audience=None if audience == ANY_AUDIENCE else audience,
            issuer=issuer,
            # Times are checked below, against ``now``.
            options={
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
                "verify_aud": audience != ANY_AUDIENCE,
                "require": ["aud"] if audience != ANY_AUDIENCE else [],
            },
        )
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        raise SignatureError(f"the token is not valid: {error}") from None
    issued, expires, begins = (_seconds(claims, name) for name in ("iat", "exp", "nbf"))
    if issued is None and expires is None:
        raise SignatureError("the token has neither iat nor exp, so it would never expire")
    if issued is not None:
        _check_time(issued, now)
    if expires is not None and now > expires + TOLERANCE:
        raise SignatureError("the token has expired")
    if expires is not None and expires > now + lifetime + TOLERANCE:
        raise SignatureError(
            f"the token is valid for another {expires - now:,.0f} s; at most {lifetime:,.0f} s are accepted "
            "(webhook_token_lifetime)"
        )
    if begins is not None and now < begins - TOLERANCE:
        raise SignatureError("the token is not valid yet")
    named = headers.get("webhook-id") or claims.get("jti")
    return Proof(named if isinstance(named, str) else None)


def _check_time(moment: float, now: float) -> None:
    if abs(now - moment) > TOLERANCE:
        raise SignatureError(f"its time differs from ours by {now - moment:.0f} s; at most {TOLERANCE:.0f} s are accepted")


def _seconds(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e12:
        raise SignatureError(f"the token's {name} is not a valid time")
    return float(value)
