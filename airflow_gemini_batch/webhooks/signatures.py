"""Whether a webhook comes from where it says: pure functions of headers, body, keys and the time.

Registered webhooks carry a Standard Webhooks signature, an HMAC over id, time and body. The ones of a single job carry a JWT,
which vouches for the sender and the time, and not for the body: one more reason to believe a body nothing but a hint.
What must stay true: a comparison takes the same time for every wrong signature, and only RS256 is ever accepted of a token.
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

#: How far the signed time may be from ours, in seconds; the Standard Webhooks figure, and the one that the service names.
TOLERANCE = 300.0

#: No more signatures of one header are looked at: a rotation has two.
_MOST_SIGNATURES = 8


class SignatureError(Exception):
    """The webhook is not to be believed. The message is for our own log; the sender gets no reason."""


@dataclass(frozen=True, slots=True)
class Proof:
    """A webhook that may be believed. ``message_id`` is the same at every try to deliver it; None where it names none."""

    message_id: str | None


def is_token(headers: Mapping[str, str]) -> bool:
    """Whether the signature is a JWT: both kinds have the same header."""
    return headers.get("webhook-signature", "").count(".") == 2 and "," not in headers["webhook-signature"]


def key_id_of(headers: Mapping[str, str]) -> str:
    """Which of the service's keys a token says it is signed with."""
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
    entries = headers.get("webhook-signature", "").split(" ")[:_MOST_SIGNATURES]
    if not message_id or not timestamp or entries == [""]:
        raise SignatureError("webhook-id, webhook-timestamp or webhook-signature is missing")
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        raise SignatureError("webhook-timestamp is no number of seconds")
    _check_time(int(timestamp), now)
    signed = f"{message_id}.{timestamp}.".encode("latin-1", "replace") + body
    wanted = [base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)) for secret in secrets]
    given = [value.encode("latin-1", "replace") for entry in entries for name, _, value in [entry.partition(",")] if name == "v1"]
    # Every pair is compared, whatever the ones before have given.
    matches = [hmac.compare_digest(mine, theirs) for mine in wanted for theirs in given]
    if not any(matches):
        raise SignatureError("no signature is made with a secret that we know")
    return Proof(message_id)


def verify_token(headers: Mapping[str, str], key: jwt.PyJWK, *, audience: str, issuer: str | None = None, now: float) -> Proof:
    """Check the JWT of a job's own webhook. Raises SignatureError.

    Nobody has said which claims it has, so what is there is checked: ``exp``, ``nbf``, ``iat``, of which one must be there, the
    audience unless it is ``*``, and the issuer where one is asked for.
    """
    try:
        claims: dict[str, Any] = jwt.decode(
            headers.get("webhook-signature", ""),
            key,
            algorithms=["RS256"],
            audience=None if audience == ANY_AUDIENCE else audience,
            issuer=issuer,
            # Times are checked below, by the clock that is given.
            options={
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
                "verify_aud": audience != ANY_AUDIENCE,
                "require": ["aud"] if audience != ANY_AUDIENCE else [],
            },
        )
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        raise SignatureError(f"the token is not good: {error}") from None
    issued, expires, begins = (_seconds(claims, name) for name in ("iat", "exp", "nbf"))
    if issued is None and expires is None:
        raise SignatureError("the token has neither iat nor exp: it would be good for ever")
    if issued is not None:
        _check_time(issued, now)
    if expires is not None and now > expires + TOLERANCE:
        raise SignatureError("the token has expired")
    if begins is not None and now < begins - TOLERANCE:
        raise SignatureError("the token is not valid yet")
    named = headers.get("webhook-id") or claims.get("jti")
    return Proof(named if isinstance(named, str) else None)


def _check_time(moment: float, now: float) -> None:
    if abs(now - moment) > TOLERANCE:
        raise SignatureError(f"it was signed {now - moment:.0f} s ago, more than {TOLERANCE:.0f} s from our time")


def _seconds(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e12:
        raise SignatureError(f"the token's {name} is no time")
    return float(value)
