"""Images at http and https addresses, within limits of size and time."""

from __future__ import annotations

import http.client
import io
import re
import time
import urllib.error
import urllib.request
from typing import IO

from mftn.errors import ImageError
from mftn.files import without_secrets

MOST_BYTES = 100_000_000
"""Largest file that is downloaded."""

LONGEST_S, SILENCE_S = 60.0, 15.0
"""Seconds that a download may take as a whole, and that its server may be silent."""

PIECE_BYTES = 65536
"""Bytes read at a time."""


def is_address(source: object) -> bool:
    """Whether it is an http or https address."""
    return isinstance(source, str) and re.match(r"https?://", source, re.IGNORECASE) is not None


def download(address: str) -> bytes:
    """The content at an address; redirections are followed to http and https addresses only.

    Raises:
        ImageError: It cannot be had; the message says why, and the caller adds the address.
    """
    if without_secrets(address) != address:
        raise ImageError("addresses with a user name and password are not read; download the file first")
    deadline = time.monotonic() + LONGEST_S
    request = urllib.request.Request(address, headers={"User-Agent": "mftn", "Accept": "image/*,*/*;q=0.5"})
    try:
        with _opener().open(request, timeout=SILENCE_S) as response:
            return _read(response, deadline)
    except urllib.error.HTTPError as error:
        error.close()
        raise ImageError(f"the server answers {error.code} {error.reason}; check the address") from error
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        if isinstance(reason, TimeoutError):
            raise ImageError(f"the server is silent for {SILENCE_S:g} s; try again later") from error
        raise ImageError(f"cannot be downloaded ({reason}); check the address and the network") from error


def _read(response: IO[bytes], deadline: float) -> bytes:
    """The body of a response."""
    content = io.BytesIO()
    expected = response.length if isinstance(response, http.client.HTTPResponse) else None
    if expected is not None and expected > MOST_BYTES:
        raise ImageError(f"has {expected / 1e6:,.0f} MB, more than {MOST_BYTES / 1e6:g}; scale it down first")
    while piece := response.read1(PIECE_BYTES):  # type: ignore[attr-defined]
        content.write(piece)
        if content.tell() > MOST_BYTES:
            raise ImageError(f"has more than {MOST_BYTES / 1e6:g} MB; scale it down first")
        if time.monotonic() > deadline:
            raise ImageError(f"the download takes longer than {LONGEST_S:g} s; download the file first")
    if expected is not None and content.tell() < expected:
        raise ImageError(f"the download ends after {content.tell():,} of {expected:,} bytes; try again")
    return content.getvalue()


def _opener() -> urllib.request.OpenerDirector:
    """Opens http and https addresses and nothing else, through the system's proxies."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener
