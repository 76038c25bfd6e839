"""uvicorn's HTTP/1.1 protocol with time limits on headers and on reading, and errors in the service's format."""

from __future__ import annotations

import asyncio
import json
from uuid import uuid4

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADERS_TIMEOUT_S = 15.0
"""Seconds for the headers of a request; uvicorn itself would wait forever."""

STALL_TIMEOUT_S = 60.0
"""Seconds for which a client may leave a response unread; uvicorn itself would wait forever."""

REFUSED_FOR_S = 1.0
"""Seconds for which input is read and discarded after malformed HTTP: a client that is cut off sees no response."""

FIRST_REQUEST_S = 1.0
"""Seconds that a new connection has for its request when the service stops: it was accepted, so a request may be on
its way. uvicorn itself would close it without a response."""


class Protocol(H11Protocol):
    """One connection."""

    _deadline: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None
    _refused = False
    _stopping = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Handle received data; headers must be complete in time."""
        if self._refused:
            return
        super().data_received(data)
        if self._stopping and self.cycle:
            self.cycle.keep_alive = False
        self._watch()

    def shutdown(self) -> None:
        """Complete the current request, then close."""
        if self.cycle or self._refused:
            super().shutdown()
        else:
            self._stopping = True
            self.loop.call_later(FIRST_REQUEST_S, self._close_unasked)

    def pause_writing(self) -> None:
        """Wait until the client reads; if it does not, abort the connection, because closing it would wait too."""
        super().pause_writing()
        self._stalled = self.loop.call_later(STALL_TIMEOUT_S, self.transport.abort)

    def resume_writing(self) -> None:
        """Continue the response."""
        if self._stalled:
            self._stalled.cancel()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timers."""
        self._unwatch()
        if self._stalled:
            self._stalled.cancel()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Respond to malformed HTTP, or to headers that are too long."""
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.close()
            return
        error = {"code": "bad_request", "message": msg, "request_id": uuid4().hex}
        body = json.dumps({"error": error}).encode()
        headers = [("content-type", "application/json"), ("content-length", str(len(body))), ("connection", "close")]
        for event in (h11.Response(status_code=400, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self._refused = True
        self.loop.call_later(REFUSED_FOR_S, self.transport.close)

    def _close_unasked(self) -> None:
        if not self.cycle:
            self.transport.close()

    def _watch(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            self._unwatch()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(HEADERS_TIMEOUT_S, self.transport.close)

    def _unwatch(self) -> None:
        if self._deadline:
            self._deadline.cancel()
        self._deadline = None
