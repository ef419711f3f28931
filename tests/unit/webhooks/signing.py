"""Signs webhooks as the service does."""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import json
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

SECRET = base64.b64encode(b"6vvi5937j9v6mqpf83odvqs5cpzq9r2s").decode()
KEY = base64.b64decode(SECRET)
OTHER = b"another secret of thirty-two byte"
NOW = 1_767_000_000.0
KEY_ID = "k1"


def payload(event: str = "batch.succeeded", job: str = "batches/abc", **more: Any) -> bytes:
    return json.dumps({"type": event, "version": "v1", "timestamp": "2026-01-22T12:00:00Z", "data": {"id": job}, **more}).encode()


def signature(body: bytes, key: bytes = KEY, *, id: str = "msg_1", at: float = NOW) -> str:
    return "v1," + base64.b64encode(hmac.digest(key, f"{id}.{int(at)}.".encode() + body, hashlib.sha256)).decode()


def signed(body: bytes, *keys: bytes, id: str = "msg_1", at: float = NOW) -> dict[str, str]:
    entries = [signature(body, key, id=id, at=at) for key in keys or (KEY,)]
    return {"webhook-id": id, "webhook-timestamp": str(int(at)), "webhook-signature": " ".join(entries)}


@functools.cache
def rsa_key(number: int = 0) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def jwks(key_id: str = KEY_ID) -> dict[str, Any]:
    public = jwt.algorithms.RSAAlgorithm.to_jwk(rsa_key().public_key(), as_dict=True)
    return {"keys": [{**public, "kid": key_id, "alg": "RS256", "use": "sig"}]}


def token(*, key: Any = None, algorithm: str = "RS256", kid: str | None = KEY_ID, **claims: Any) -> str:
    given = {"aud": "https://us/hook", "iss": "google", "jti": "msg_1", "iat": int(NOW), "exp": int(NOW) + 300, **claims}
    given = {name: value for name, value in given.items() if value is not None}
    headers = {"kid": kid} if kid is not None else {}
    return jwt.encode(given, key if key is not None else rsa_key(), algorithm=algorithm, headers=headers)
