"""Signatures of webhooks: Standard Webhooks for registered ones, an RS256 JWT for the webhooks of a single job.

A signature's time is the machine's wall clock, not the emulator's clock. The receiver compares it with its own clock, which tests
do not move.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import string

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from airflow_gemini_batch.emulator.proto_json import Json
from airflow_gemini_batch.emulator.store import Store

#: The claims of the service's tokens are not documented. These are the usual ones; `aud` is the receiver's URI.
ISSUER = "https://generativelanguage.googleapis.com"
_LIFE_SECONDS = 300

_SECRET_PREFIX = "whsec_"
_SETTING = "webhook_key"


def new_secret() -> str:
    """A secret in the service's format: base64 of 32 alphanumeric characters."""
    text = "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(32))
    return _SECRET_PREFIX + base64.b64encode(text.encode()).decode()


def truncated(secret: str) -> str:
    """The secret as get and list show it."""
    return f"{_SECRET_PREFIX}...{secret[-4:]}"


def standard_signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """A `v1,…` entry of the header `webhook-signature`."""
    key = base64.b64decode(secret.removeprefix(_SECRET_PREFIX))
    digest = hmac.digest(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256)
    return f"v1,{base64.b64encode(digest).decode()}"


class SigningKey:
    """The private key that signs tokens. It is created when first needed, and stored in the state folder."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._key: rsa.RSAPrivateKey | None = None

    def token(self, *, uri: str, message_id: str, timestamp: int, job: str) -> str:
        key = self._private()
        claims = {
            "iss": ISSUER,
            "aud": uri,
            "sub": job,
            "jti": message_id,
            "iat": timestamp,
            "exp": timestamp + _LIFE_SECONDS,
        }
        return jwt.encode(claims, key, algorithm="RS256", headers={"kid": _kid(key)})

    def jwks(self) -> Json:
        key = self._private()
        public = jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
        return {"keys": [{**public, "kid": _kid(key), "alg": "RS256", "use": "sig"}]}

    def _private(self) -> rsa.RSAPrivateKey:
        if self._key is None:
            with self._store.transaction():
                pem = self._store.setting(_SETTING, "")
                if not pem:
                    pem = _pem(rsa.generate_private_key(public_exponent=65537, key_size=2048))
                    self._store.set_setting(_SETTING, pem)
            key = serialization.load_pem_private_key(pem.encode(), password=None)
            assert isinstance(key, rsa.RSAPrivateKey)
            self._key = key
        return self._key


def forged(secret: str) -> str:
    """A wrong secret, derived from `secret`."""
    return _SECRET_PREFIX + base64.b64encode(hashlib.sha256(secret.encode()).digest()).decode()


def _pem(key: rsa.RSAPrivateKey) -> str:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()


def _kid(key: rsa.RSAPrivateKey) -> str:
    der = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()[:16]
