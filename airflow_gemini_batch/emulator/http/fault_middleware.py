"""Counts every API call, and applies HTTP faults to it.

A call can fail before its work (nothing was done) or after it (the work was done, but the caller does not get the answer).
"""

from __future__ import annotations

import asyncio
import re

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from airflow_gemini_batch.emulator.faults.kinds import HttpFault
from airflow_gemini_batch.emulator.http.bodies import to_json
from airflow_gemini_batch.emulator.http.refusals import batch_quota_exceeded
from airflow_gemini_batch.emulator.proto_json import Json
from airflow_gemini_batch.emulator.service import Service

#: Key in a call's state: its body has been read completely, and the next message would be the disconnect.
_BODY_ENDED = "body_ended"

#: The service's error by HTTP status, for faults without a body.
_STATUS_BY_CODE = {
    400: ("INVALID_ARGUMENT", "Request contains an invalid argument."),
    403: ("PERMISSION_DENIED", "The caller does not have permission."),
    404: ("NOT_FOUND", "Requested entity was not found."),
    408: ("DEADLINE_EXCEEDED", "The request timed out."),
    409: ("ABORTED", "The operation was aborted."),
    499: ("CANCELLED", "The operation was cancelled."),
    500: ("INTERNAL", "An internal error has occurred. Please retry or report."),
    502: ("UNAVAILABLE", "Bad gateway."),
    503: ("UNAVAILABLE", "The model is overloaded. Please try again later."),
    504: ("DEADLINE_EXCEEDED", "Deadline expired before operation could complete."),
}


class FaultMiddleware:
    """ASGI middleware. Calls of the control API are not counted and get no faults."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope.setdefault("state", {})
        if scope["path"].startswith("/emulator"):
            await _FaultyCall(scope, receive, send, None).run(self._app)
            return
        query = scope["query_string"].decode("latin-1")
        path = scope["path"] + (f"?{query}" if query else "")
        fault = self._service.rules.for_call(scope["method"], path)
        call = _FaultyCall(scope, receive, send, fault)
        try:
            await call.run(self._app)
        finally:
            self._service.journal.count_call(scope["method"], route_of(scope["path"]), call.answered)
            entry = scope["state"].get("entry")
            if entry is not None:
                self._service.journal.record_answer(entry, call.answered)


class _FaultyCall:
    """One call. Afterwards `answered` is what the caller got: the status, `dropped`, `cut` or `nothing`."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, fault: HttpFault | None) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._fault = fault
        self._body_seen = 0
        self._body_sent = 0
        self.answered = "nothing"

    async def run(self, app: ASGIApp) -> None:
        fault = self._fault
        if fault is None:
            await app(self._scope, self._receive_message, self._answer)
        elif fault.do == "truncate":
            await app(self._scope, self._receive_message, self._send_until_cut)
        elif fault.do == "cut_upload":
            await app(self._scope, self._receive_until_cut, self._answer)
        elif fault.do == "delay":
            await self._delay(app, fault)
        else:
            if fault.when == "after":
                await app(self._scope, self._receive_message, _discard)
            await (self._drop() if fault.do == "drop" else self._fault_answer(fault))

    async def _delay(self, app: ASGIApp, fault: HttpFault) -> None:
        if fault.when == "before":
            await asyncio.sleep(fault.seconds)
            await app(self._scope, self._receive_message, self._answer)
            return
        held: list[Message] = []

        async def hold(message: Message) -> None:
            held.append(message)

        await app(self._scope, self._receive_message, hold)
        await asyncio.sleep(fault.seconds)
        for message in held:
            await self._answer(message)

    async def _fault_answer(self, fault: HttpFault) -> None:
        await drain(self._scope, self._receive_message)
        body = _fault_body(fault)
        kind = "text/html; charset=UTF-8" if isinstance(fault.body, str) else "application/json; charset=UTF-8"
        headers = {"content-type": kind, **{name.lower(): value for name, value in fault.headers.items()}}
        await Response(body, fault.status, headers)(self._scope, self._receive_message, self._answer)

    async def _receive_message(self) -> Message:
        message = await self._receive()
        if not message.get("more_body"):
            self._scope["state"][_BODY_ENDED] = True
        return message

    async def _answer(self, message: Message) -> None:
        if message["type"] == "http.response.start" and self.answered != "dropped":
            self.answered = str(message["status"])
        await self._send(message)

    async def _send_until_cut(self, message: Message) -> None:
        """Sends headers for the whole answer, and closes the connection after the fault's number of bytes."""
        assert self._fault is not None
        if self.answered == "cut":
            return
        if message["type"] != "http.response.body":
            await self._answer(message)
            return
        body = message.get("body", b"")
        left = self._fault.bytes - self._body_sent
        self._body_sent += len(body)
        if len(body) <= left:
            await self._send(message)
            return
        await self._send({"type": "http.response.body", "body": body[:left], "more_body": True})
        self.answered = "cut"
        self._transport().close()
        await self._wait_for_disconnect()

    async def _receive_until_cut(self) -> Message:
        """Passes on the fault's number of bytes of the body, then closes the connection."""
        assert self._fault is not None
        if self.answered == "dropped":
            return {"type": "http.disconnect"}
        message = await self._receive_message()
        if message["type"] == "http.request":
            body = message.get("body", b"")
            left = self._fault.bytes - self._body_seen
            self._body_seen += len(body)
            if len(body) > left:
                await self._drop()
                return {"type": "http.request", "body": body[:left], "more_body": True}
        return message

    async def _drop(self) -> None:
        """Closes the TCP connection without an answer, and waits until it is closed."""
        self.answered = "dropped"
        self._transport().abort()
        await self._wait_for_disconnect()

    async def _wait_for_disconnect(self) -> None:
        """Waits until the server knows that the connection is closed; otherwise it would report an incomplete answer."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    def _transport(self) -> asyncio.Transport:
        transport = self._scope["state"].get("transport")
        if transport is None:
            raise RuntimeError(
                "dropping connections needs the emulator's own server, which passes its transport to the application"
            )
        return transport  # type: ignore[no-any-return]


async def _discard(message: Message) -> None:
    """Discards the answer of a call that fails after its work."""


async def drain(scope: Scope, receive: Receive) -> None:
    """Reads the rest of the request. A caller that is still sending would otherwise see a reset instead of the answer."""
    while not scope["state"].get(_BODY_ENDED):
        await receive()


def _fault_body(fault: HttpFault) -> bytes:
    if isinstance(fault.body, str):
        return fault.body.encode()
    if fault.body is not None:
        return to_json(fault.body)
    status, message = _STATUS_BY_CODE.get(fault.status, ("UNKNOWN", "Unknown error."))
    error: Json = {"code": fault.status, "message": message, "status": status, "details": []}
    if fault.status == 429:
        error = batch_quota_exceeded().body["error"]
    if fault.retry_info_seconds is not None:
        delay = f"{fault.retry_info_seconds:g}s"
        error["details"] += [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}]
    return to_json({"error": {name: value for name, value in error.items() if value != []}})


_ID = re.compile(r"(?<=/)(files|batches|models|tunedModels|webhooks|cachedContents)/[^/:]+")


def route_of(path: str) -> str:
    """The path with its ids replaced by `*`. Calls are counted per route."""
    return _ID.sub(r"\1/*", path)
