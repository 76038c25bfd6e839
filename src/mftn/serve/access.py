"""Middleware around every request: request id, access control, response headers, log and counters."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import re
import time
from base64 import b64decode
from contextlib import suppress
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mftn.serve.metrics import Metrics
from mftn.serve.refusals import RefusedError

LOG = logging.getLogger("mftn.serve")

HEALTH = ("/healthz", "/readyz")
"""Routes that need no key."""

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "media-src 'self' blob:; connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
"""Headers of every response, unless it sets its own."""


CLIENT_LEFT = 499
"""Status logged for a request whose client disconnected before the response."""

MAX_DRAIN_S = 2.0
"""Seconds for which the rest of a refused upload is read and discarded: a client that is cut off sees no response."""


class Access:
    """Middleware around the application.

    Args:
        app: The application.
        metrics: The counters to update.
        api_key: Key required for every request except the health checks; None for no key.
        cors: Origins whose pages may send requests.
        root_path: The path under which a proxy serves this.
    """

    def __init__(
        self, app: ASGIApp, metrics: Metrics, api_key: str | None, cors: tuple[str, ...], root_path: str
    ) -> None:
        self.app, self.metrics, self.cors, self.root_path = app, metrics, cors, root_path
        self.key = _digest(api_key.encode()) if api_key else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope["root_path"] = self.root_path
        exchange = _Exchange(scope, receive, send)
        if scope["method"] == "HEAD":  # handled as GET; the server keeps the original scope and sends only the headers
            scope = {**scope, "method": "GET"}
        scope.setdefault("state", {})["request_id"] = exchange.request_id
        start = time.perf_counter()
        try:
            self._check(scope, exchange.headers)
            await self.app(scope, exchange.receive, exchange.send)
        except RefusedError as refusal:
            await exchange.refuse(refusal)
        except ClientDisconnect:
            pass
        except Exception:
            LOG.exception("a request failed", extra={"request": exchange.request_id})
            if exchange.status:
                raise  # the response has begun: the connection is closed
            await exchange.refuse(RefusedError(500, "failed", "internal error; see the server's log"))
        finally:
            self._note(scope, exchange, time.perf_counter() - start)

    def _check(self, scope: Scope, headers: Headers) -> None:
        """Refuse requests without the key, and cross-site requests from a browser."""
        if self.key and scope["path"].removeprefix(self.root_path) not in HEALTH:
            given = _given_key(headers)
            if not hmac.compare_digest(_digest(given), self.key):
                challenge = {"WWW-Authenticate": 'Basic realm="mftn", charset="UTF-8"'}
                raise RefusedError(401, "no_key", "send the key as Authorization: Bearer KEY", challenge)
        if scope["method"] != "GET" and not self._may_ask(scope.get("scheme", "http"), headers):
            message = "requests from other sites are refused; allow this origin with --cors"
            raise RefusedError(403, "other_site", message)

    def _may_ask(self, scheme: str, headers: Headers) -> bool:
        """Whether a request comes from this server's page, from an origin in --cors, or from no page at all."""
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        if origin in self.cors or "*" in self.cors:
            return True
        if site:  # the browser compares the origins itself, even if a proxy rewrites Host
            return site in ("same-origin", "none")
        host = headers.get("host")
        return origin is None or origin in (f"{scheme}://{host}", f"https://{host}")  # a proxy may terminate HTTPS

    def _note(self, scope: Scope, exchange: _Exchange, seconds: float) -> None:
        route, status = getattr(scope.get("route"), "path", "other"), exchange.status or CLIENT_LEFT
        self.metrics.requests.labels(route, exchange.method, status).inc()
        self.metrics.seconds.labels(route).observe(seconds)
        if route not in HEALTH:
            about = {"request": exchange.request_id, "method": exchange.method, "route": route, "status": status}
            LOG.info("request", extra=about | {"ms": round(1000 * seconds, 1)} | scope["state"].get("log", {}))


class _Exchange:
    """A request and its response.

    Attributes:
        headers: Headers of the request.
        request_id: Its id, in the response's headers and in the log.
        method: Its method, as logged.
        status: Status of the response; 0 until it begins.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self.headers, self.status = Headers(scope=scope), 0
        self.request_id, self.method = _request_id(self.headers), _method(scope)
        self._unread = "transfer-encoding" in self.headers or self.headers.get("content-length", "0") != "0"

    async def receive(self) -> Message:
        """The next part of the request."""
        message = await self._receive()
        self._unread = message["type"] == "http.request" and message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """Send a part of the response; if it ends before the upload does, the rest of the upload is discarded."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-ID"] = self.request_id
            if self._unread:
                headers["Connection"] = "close"
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        elif self._unread and not message.get("more_body", False):
            await self._send({**message, "more_body": True})
            with suppress(TimeoutError):
                async with asyncio.timeout(MAX_DRAIN_S):
                    while self._unread:
                        await self.receive()
            message = {"type": "http.response.body", "body": b""}
        await self._send(message)

    async def refuse(self, refusal: RefusedError) -> None:
        """Respond with a refusal, unless a response has begun."""
        if not self.status:
            await refusal.response(self.request_id)(self._scope, self.receive, self.send)


def note(request: Request, **values: object) -> None:
    """Add values to a request's log line: numbers, never a file name."""
    request.scope["state"].setdefault("log", {}).update(values)


def _request_id(headers: Headers) -> str:
    """The client's request id if it is well-formed, otherwise a new one."""
    given = headers.get("x-request-id", "")
    return given if re.fullmatch(r"[A-Za-z0-9._-]{1,64}", given) else uuid4().hex


def _method(scope: Scope) -> str:
    return scope["method"] if scope["method"] in ("GET", "HEAD", "POST", "OPTIONS") else "other"


def _given_key(headers: Headers) -> bytes:
    """The key in the headers: Authorization: Bearer, X-API-Key, or the password of a browser's login prompt."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip().encode("latin-1", "replace")
    if scheme.lower() == "basic":
        with suppress(ValueError):
            return b64decode(value.strip(), validate=True).partition(b":")[2]
    return headers.get("x-api-key", "").encode("latin-1", "replace")


def _digest(key: bytes) -> bytes:
    """A digest of fixed length, so that the comparison reveals nothing about the key."""
    return hashlib.sha256(key).digest()


class JsonLines(logging.Formatter):
    """Formats log records as one JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line for a record: its time, level, message and extra fields."""
        line = {"time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"), "level": record.levelname.lower()}
        line["message"] = record.getMessage()
        for name in ("request", "method", "route", "status", "ms", "images", "faces", "bytes"):
            if hasattr(record, name):
                line[name] = getattr(record, name)
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)
