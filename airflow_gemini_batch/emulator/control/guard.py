"""Who may use the control API: programs on this machine, not web pages.

The control API needs no key, and a browser on the same machine reaches it. A page of another origin is refused by its `Origin` or
`Sec-Fetch-Site` header. A page whose host name was rebound to a loopback address (DNS rebinding) is refused by its `Host` header.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.requests import Request

from airflow_gemini_batch.emulator.http import refusals

#: What a browser sends with a call of the emulator's own page, or of its address bar.
_OWN_SITES = ("same-origin", "none")


def check_caller(request: Request, hosts: Collection[str]) -> None:
    """Raises a Refusal (403) unless the call names a loopback host, or one of `hosts`, and comes from no other origin."""
    headers = request.headers
    host = headers.get("host", "")
    name = _host_name(host)
    if name not in hosts and not _is_loopback(name):
        raise refusals.control_forbidden(
            f"the Host header is {host!r}, expected a loopback address or a name in the option control_hosts"
        )
    origin = headers.get("origin")
    if origin is not None and origin not in (f"http://{host}", f"https://{host}"):
        raise refusals.control_forbidden(f"the call comes from the origin {origin!r}")
    site = headers.get("sec-fetch-site", "none")
    if site not in _OWN_SITES:
        raise refusals.control_forbidden(f"the call comes from another site (Sec-Fetch-Site: {site})")


def _host_name(host: str) -> str:
    """The name or address in a Host header, without its port; empty if there is none."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _is_loopback(name: str) -> bool:
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
