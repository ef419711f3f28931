"""Python client of the control API, for an emulator in this process, in a child process or on another machine."""

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
    """Controls a running emulator over HTTP.

    :param url: base URL of the emulator, such as `http://127.0.0.1:8787`. Also the `base_url` for clients of the Gemini API.

    Attributes: `url` (string) and `faults` (`Faults`, the fault rules). Methods raise ValueError when the emulator refuses
    the call, with its answer as text, and `urllib.error.URLError` when it cannot be reached.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.faults = Faults(self)

    def journal(self, action: str | None = None, display_name: str | None = None) -> list[dict[str, Any]]:
        """What the emulator did or refused, oldest first, as dicts.

        :param action: only entries with this action: `create`, `upload`, `cancel`, `delete` or `refuse`. Default: all.
        :param display_name: only entries of jobs or files with exactly this display name. Default: all.

        Every entry has `number`, `time` (RFC 3339), `action`, `project` and `answered`: the HTTP status that the caller got for
        a create, an upload or a refusal, `dropped` or `cut` where a fault closed the connection, None where it is not known.
        By action there are also: `job`, `display_name`, `model`, `file`, `sha256`, `requests` (create); `file`, `display_name`,
        `bytes`, `sha256` (upload); `job`, `display_name` (cancel, delete of a job); `file` (delete of a file); `display_name`,
        `model`, `reason` (refuse).
        """
        query = {"action": action, "display_name": display_name}
        text = urllib.parse.urlencode({name: value for name, value in query.items() if value is not None})
        return list(self._call("GET", f"/journal?{text}")["entries"])

    def calls(self) -> list[dict[str, Any]]:
        """API calls as dicts with `method`, `route` (ids replaced by `*`), `answered` and `count`."""
        return list(self._call("GET", "/calls")["calls"])

    def jobs(self) -> list[dict[str, Any]]:
        """The current state of all jobs of all projects, deleted ones too, oldest first.

        Dicts with `name`, `project`, `kind`, `display_name`, `model`, `file`, `time`, `state`, `done`, `deleted` and `stats`.
        """
        return list(self._call("GET", "/jobs")["jobs"])

    def deliveries(self) -> list[dict[str, Any]]:
        """All webhook deliveries, oldest first.

        Dicts with `id`, `webhook`, `uri`, `job`, `event`, `attempts`, `state`, `answered` and `due_in_seconds`. States:
        `waiting`, `delivered`, `given up` (after a day), `lost` (by a fault), `kept` (not sent: not a loopback address),
        `dropped` (its webhook was deleted or disabled).
        """
        return list(self._call("GET", "/deliveries")["deliveries"])

    def advance(self, seconds: float) -> None:
        """Moves the emulator's clock forward by `seconds`.

        Outputs in progress are written first, so a job whose time has passed has ended when this returns. Raises ValueError
        for a negative number, one that leads beyond the year 2200, or if the outputs are not written within a minute.
        """
        self._call("POST", "/clock", {"advance_seconds": seconds})

    def wait_idle(self, timeout: float = 60.0) -> bool:
        """Waits until every output is written. False if that takes longer than `timeout` seconds (default 60)."""
        return bool(self._call("POST", f"/idle?timeout={timeout}")["idle"])

    def about(self) -> dict[str, Any]:
        """The options (without keys), the time, and the number of fault rules."""
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
    """The fault rules of a running emulator. Rules are kept in the state folder and stay active after a restart."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote

    def add(self, *faults: Fault) -> list[int]:
        """Adds rules in the given order and returns their ids. They apply to calls and jobs from now on."""
        return [rule["id"] for rule in self._remote._call("POST", "/faults", list(faults))["faults"]]

    def remove(self, rule_id: int) -> None:
        """Removes one rule. Raises ValueError if no rule has this id."""
        self._remote._call("DELETE", f"/faults/{rule_id}")

    def clear(self) -> None:
        """Removes all rules."""
        self._remote._call("DELETE", "/faults")

    def list(self) -> list[dict[str, Any]]:
        """Rules as dicts with `id`, `seen` (how often it matched), `fired` (how often it was applied) and `fault`."""
        return list(self._remote._call("GET", "/faults")["faults"])


#: Proxies from the environment are ignored: the emulator is usually on loopback.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
