"""Which hosts a call may reach: the one that the connection names, and no other, whatever an answer says.

The HTTP libraries drop ``Authorization`` when a redirect leaves the host, but not ``x-goog-api-key``; and the service names
the address of an upload itself. So every request and every redirect of a call is compared here, on the SDK's HTTP client.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from airflow_gemini_batch.engine.errors import OutcomeUnknownError
from airflow_gemini_batch.engine.printable import printable

_PORTS = {"http": 80, "https": 443}

#: What says who asks.
_CREDENTIALS = ("x-goog-api-key", "authorization", "cookie", "proxy-authorization")


class Origin(NamedTuple):
    """Scheme, host and port, as RFC 6454 compares them."""

    scheme: str
    host: str
    port: int | None

    @classmethod
    def of(cls, url: Any) -> Origin:
        """Of a URL of the HTTP library, which has parsed it."""
        return cls(url.scheme, url.host.lower(), url.port or _PORTS.get(url.scheme))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port in (None, _PORTS.get(self.scheme)) else f":{self.port}"
        return printable(f"{self.scheme}://{host}{port}")


#: Where Google's own API is. A gateway may hand on the upload address that it was given, which carries its own permission.
GOOGLE = Origin("https", "generativelanguage.googleapis.com", 443)


def keep_to(base: Origin, parse: Callable[[str], Any]) -> dict[str, list[Callable[[Any], None]]]:
    """Event hooks for an HTTP client whose every request must stay at one origin.

    :param base: the origin of the connection's base URL.
    :param parse: the HTTP library's own parser of URLs, so that no other reading of an odd one is compared.
    """

    def before(request: Any) -> None:
        target = Origin.of(request.url)
        if target == base:
            return
        if target == GOOGLE and request.url.path.startswith("/upload/"):
            for name in _CREDENTIALS:
                request.headers.pop(name, None)
            return
        raise OutcomeUnknownError(
            f"The service named {target} as the upload address or the next place of a request, which is not the "
            f"connection's origin {base}. Nothing was sent there. Check the connection's host."
        )

    def after(response: Any) -> None:
        if not 300 <= response.status_code < 400 or "location" not in response.headers:
            return
        request = response.request
        target = _target(response, parse)
        if request.method == "GET" and target == Origin.of(request.url):
            return
        place = "another place" if target is None else str(target)
        raise OutcomeUnknownError(
            f"{request.method} {printable(request.url.path)} was answered with a redirect ({response.status_code}) to {place}, "
            "which is not followed: a redirect takes neither the API key nor a request's body anywhere. "
            f"Set the connection's host to the address that answers by itself, instead of {base}.",
            code=response.status_code,
        )

    return {"request": [before], "response": [after]}


def _target(response: Any, parse: Callable[[str], Any]) -> Origin | None:
    """None for what is not a URL that the HTTP library can open."""
    try:
        return Origin.of(response.request.url.join(parse(response.headers["location"])))
    except Exception:  # InvalidURL is not a ValueError in every version
        return None
