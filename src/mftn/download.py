"""Downloads of images from http and https addresses, within limits of size and time."""

from __future__ import annotations

import http.client
import io
import re
import socket
import string
import time
import urllib.error
import urllib.request
from functools import partial
from typing import IO, Any
from urllib.parse import quote, urlsplit, urlunsplit

from mftn.errors import ImageError
from mftn.files import without_secrets

MAX_BYTES = 100_000_000
"""Size of the largest file that is downloaded."""

TIMEOUT_S, SILENCE_S = 60.0, 15.0
"""Seconds: the limit for a whole download, and the longest time that the server may send nothing."""

PIECE_BYTES = 65536
"""Bytes read at a time."""


def is_address(source: object) -> bool:
    """Whether a source is an http or https address."""
    return isinstance(source, str) and re.match(r"https?://", source, re.IGNORECASE) is not None


def download(address: str) -> bytes:
    """Download the content of an address; redirects are followed to http and https addresses only.

    Raises:
        ImageError: The download failed; the message gives the reason, and the caller adds the address.
    """
    if without_secrets(address) != address:
        raise ImageError("addresses with a user name and password are not supported; download the file first")
    deadline = time.monotonic() + TIMEOUT_S
    try:
        headers = {"User-Agent": "mftn", "Accept": "image/*,*/*;q=0.5"}
        request = urllib.request.Request(_in_ascii(address), headers=headers)
        with _opener(deadline).open(request, timeout=SILENCE_S) as response:
            return _read(response)
    except urllib.error.HTTPError as error:
        error.close()
        raise ImageError(f"the server returned {error.code} {error.reason}; check the address") from error
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
        if time.monotonic() >= deadline:
            raise ImageError(f"the download took over {TIMEOUT_S:g} s; download the file first") from error
        reason = getattr(error, "reason", None) or error
        if isinstance(reason, TimeoutError):
            raise ImageError(f"the server sent nothing for {SILENCE_S:g} s; try again later") from error
        raise ImageError(f"cannot be downloaded ({reason}); check the address and the network") from error


def _in_ascii(address: str) -> str:
    """Percent-encode spaces and non-ASCII characters; what is already encoded is kept.

    Raises:
        UnicodeError: The host name is invalid.
    """
    parts = urlsplit(address)
    path, query = (quote(part, string.punctuation, errors="surrogateescape") for part in (parts.path, parts.query))
    return urlunsplit(parts._replace(netloc=parts.netloc.encode("idna").decode(), path=path, query=query))


def _read(response: IO[bytes]) -> bytes:
    """Read the body of a response."""
    content = io.BytesIO()
    expected = response.length if isinstance(response, http.client.HTTPResponse) else None
    if expected is not None and expected > MAX_BYTES:
        raise ImageError(f"has {expected / 1e6:,.0f} MB, more than {MAX_BYTES / 1e6:g}; scale it down first")
    while piece := response.read1(PIECE_BYTES):  # type: ignore[attr-defined]
        content.write(piece)
        if content.tell() > MAX_BYTES:
            raise ImageError(f"has more than {MAX_BYTES / 1e6:g} MB; scale it down first")
    if expected is not None and content.tell() < expected:
        raise ImageError(f"the download ended after {content.tell():,} of {expected:,} bytes; try again")
    return content.getvalue()


class _UntilDeadline(io.RawIOBase):
    """Reads from a socket (status line, headers and body) until a deadline.

    Args:
        connection: The socket.
        content: The socket's file.
        deadline: On the clock of `time.monotonic`.
    """

    def __init__(self, connection: socket.socket, content: io.RawIOBase, deadline: float) -> None:
        self.connection, self.content, self.deadline = connection, content, deadline

    def readable(self) -> bool:
        """Always true."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Read the next bytes.

        Raises:
            TimeoutError: The server sends nothing, or the deadline has passed.
        """
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the time is up")
        self.connection.settimeout(min(SILENCE_S, left))
        return self.content.readinto(buffer)  # type: ignore[attr-defined,no-any-return]

    def close(self) -> None:
        """Close the socket's file."""
        self.content.close()
        super().close()


class _Response(http.client.HTTPResponse):
    """A response that ends at a deadline."""

    def __init__(self, connection: socket.socket, *arguments: Any, deadline: float, **options: Any) -> None:
        super().__init__(connection, *arguments, **options)
        self.fp = io.BufferedReader(_UntilDeadline(connection, self.fp.detach(), deadline))


class _UntilDeadlineHandler(urllib.request.AbstractHTTPHandler):
    """Opens connections whose responses end at a deadline."""

    deadline = 0.0

    def do_open(self, http_class: Any, req: urllib.request.Request, **options: Any) -> http.client.HTTPResponse:
        """Open a connection whose responses are of the class above."""

        def connect(*arguments: Any, **more: Any) -> http.client.HTTPConnection:
            connection: http.client.HTTPConnection = http_class(*arguments, **more)
            connection.response_class = partial(_Response, deadline=self.deadline)  # type: ignore[assignment]
            return connection

        return super().do_open(connect, req, **options)


class _HTTPHandler(_UntilDeadlineHandler, urllib.request.HTTPHandler):
    """For http."""


class _HTTPSHandler(_UntilDeadlineHandler, urllib.request.HTTPSHandler):
    """For https."""


def _opener(deadline: float) -> urllib.request.OpenerDirector:
    """An opener for http and https addresses only, which uses the system's proxies."""
    opener, plain, encrypted = urllib.request.OpenerDirector(), _HTTPHandler(), _HTTPSHandler()
    plain.deadline = encrypted.deadline = deadline
    for handler in (
        urllib.request.ProxyHandler(),
        plain,
        encrypted,
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener
