"""The control API from Python: one way for an emulator in this process, in a child process or on another machine."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

import msgspec

from airflow_gemini_batch.emulator.faults.kinds import Fault

_TIMEOUT_SECONDS = 120.0


class Remote:
    """Talks to `/emulator` at `url`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.faults = Faults(self)

    def journal(self, action: str | None = None, display_name: str | None = None) -> list[dict[str, Any]]:
        """What was done and refused, oldest first: `action` is create, upload, cancel, delete or refuse."""
        query = {"action": action, "display_name": display_name}
        text = urllib.parse.urlencode({name: value for name, value in query.items() if value is not None})
        return list(self._call("GET", f"/journal?{text}")["entries"])

    def calls(self) -> list[dict[str, Any]]:
        """How often each method and route was called, and how that was answered."""
        return list(self._call("GET", "/calls")["calls"])

    def jobs(self) -> list[dict[str, Any]]:
        """Every job of every project as it stands now, deleted ones too."""
        return list(self._call("GET", "/jobs")["jobs"])

    def deliveries(self) -> list[dict[str, Any]]:
        """Every webhook that was to be sent, oldest first, and what has become of it."""
        return list(self._call("GET", "/deliveries")["deliveries"])

    def advance(self, seconds: float) -> None:
        """Moves the clock. Outputs under way are written first: a job whose time has passed has ended then."""
        self._call("POST", "/clock", {"advance_seconds": seconds})

    def wait_idle(self, timeout: float = 60.0) -> bool:
        """Waits until every output is written."""
        return bool(self._call("POST", f"/idle?timeout={timeout}")["idle"])

    def about(self) -> dict[str, Any]:
        return self._call("GET", "")

    def _wait_until_up(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while True:
            try:
                self.about()
                return
            except (urllib.error.URLError, ConnectionError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def _call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        data = None if body is None else msgspec.json.encode(body)
        request = urllib.request.Request(f"{self.url}/emulator{path}", data, method=method)  # noqa: S310  (http by construction)
        try:
            with _opener.open(request, timeout=_TIMEOUT_SECONDS) as answer:
                return dict(json.load(answer))
        except urllib.error.HTTPError as error:
            with error:
                raise ValueError(f"{method} /emulator{path}: {error.read().decode()}") from error


class Faults:
    """The fault rules in force."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote

    def add(self, *faults: Fault) -> list[int]:
        """Sets rules, in this order; answers their ids."""
        return [rule["id"] for rule in self._remote._call("POST", "/faults", list(faults))["faults"]]

    def remove(self, rule_id: int) -> None:
        self._remote._call("DELETE", f"/faults/{rule_id}")

    def clear(self) -> None:
        self._remote._call("DELETE", "/faults")

    def list(self) -> list[dict[str, Any]]:
        """Rules as `{"id", "seen", "fired", "fault"}`: how often each was met, and how often it struck."""
        return list(self._remote._call("GET", "/faults")["faults"])


#: Loopback is never behind a proxy, whatever the environment says.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
