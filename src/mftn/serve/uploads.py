"""Request bodies, held in memory; limits are checked while they are read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from python_multipart.exceptions import FormParserError, MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from mftn.serve.refusals import RefusedError, busy, too_large

MAX_NAME_LENGTH = 255
"""Characters of a file name that are kept."""

MAX_PART_HEADER_BYTES = 8192
"""Bytes of the headers of one part of a multipart body."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that a client sent.

    Attributes:
        name: The client's name for it; only returned as text, never used as a path.
        content: Its bytes.
    """

    name: str
    content: bytes


class Gate:
    """Counts requests in progress and the bytes of their bodies; refuses requests above a limit.

    Args:
        requests: Largest number of requests at once.
        held: Largest number of bytes at once.
    """

    def __init__(self, requests: int, held: int) -> None:
        self._max_requests, self._max_held = requests, held
        self.requests, self.held = 0, 0

    @contextmanager
    def admit(self) -> Iterator[Body]:
        """Admit one request for the duration of the block.

        Raises:
            RefusedError: 503, there are too many requests.
        """
        if self.requests >= self._max_requests:
            raise busy(f"{self.requests} requests are already waiting; try again in a moment")
        self.requests += 1
        body = Body(self)
        try:
            yield body
        finally:
            self.requests -= 1
            self.held -= body.size

    def take(self, size: int) -> None:
        """Count more bytes.

        Raises:
            RefusedError: 503, there are too many bytes.
        """
        if self.held + size > self._max_held:
            raise busy("other uploads fill the memory for uploads; try again in a moment")
        self.held += size


class Body:
    """The body of one request.

    Attributes:
        size: Bytes read so far.
    """

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self.size = 0

    async def files(self, request: Request, limit: int, max_files: int, seconds: float) -> list[Upload]:
        """The files of a multipart body, or the body itself as one file.

        Args:
            request: The request.
            limit: Largest number of bytes.
            max_files: Largest number of files.
            seconds: Longest time in seconds.

        Raises:
            RefusedError: The body is too large, too slow or malformed, or contains no file.
        """
        kind, parameters = parse_options_header(request.headers.get("content-type"))
        chunks = self._chunks(request, limit)
        try:
            async with asyncio.timeout(seconds):
                if kind == b"multipart/form-data":
                    files = await _parts(chunks, parameters.get(b"boundary", b""), max_files)
                else:
                    files = [Upload("upload", b"".join([chunk async for chunk in chunks]))]
        except TimeoutError as error:
            raise RefusedError(408, "too_slow", f"the upload took more than {seconds:g} seconds") from error
        if not files or not any(file.content for file in files):
            raise RefusedError(400, "no_file", "no file sent; send one as the body, or several as multipart/form-data")
        return files

    async def _chunks(self, request: Request, limit: int) -> AsyncIterator[bytes]:
        message = f"larger than {limit / 1e6:g} MB, the limit of this server"
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared[:20]) > limit:
            raise too_large(message)
        async for chunk in request.stream():
            if self.size + len(chunk) > limit:
                raise too_large(message)
            self._gate.take(len(chunk))
            self.size += len(chunk)
            yield chunk


async def _parts(chunks: AsyncIterator[bytes], boundary: bytes, max_files: int) -> list[Upload]:
    """The files of a multipart body."""
    if not boundary:
        message = "Content-Type has no boundary; let the library that writes the body set this header"
        raise RefusedError(400, "bad_multipart", message)
    collected = _Parts(max_files)
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": collected.begin,
                "on_header_field": collected.header_name,
                "on_header_value": collected.header_value,
                "on_header_end": collected.header_end,
                "on_headers_finished": collected.headers_finished,
                "on_part_data": collected.data,
                "on_part_end": collected.end,
                "on_end": collected.finish,
            },
        )
        async for chunk in chunks:
            parser.write(chunk)
    except FormParserError as error:
        raise RefusedError(400, "bad_multipart", f"the multipart body is malformed ({error})") from error
    if not collected.complete:
        raise RefusedError(400, "bad_multipart", "the multipart body ends before its closing boundary")
    return collected.files


class _Parts:
    """Callbacks of the multipart parser; parts without a file name are skipped."""

    def __init__(self, max_files: int) -> None:
        self.max_files, self.complete = max_files, False
        self.files: list[Upload] = []
        self.begin()

    def begin(self) -> None:
        self._name, self._field, self._value = "", bytearray(), bytearray()
        self._is_file, self._header_bytes, self._content = False, 0, bytearray()

    def header_name(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        self._field += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        self._value += data[start:end]

    def _count(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > MAX_PART_HEADER_BYTES:
            raise MultipartParseError("the headers of a part are too long")

    def header_end(self) -> None:
        if self._field.lower() == b"content-disposition":
            options = parse_options_header(bytes(self._value))[1]
            self._is_file = b"filename" in options
            self._name = options.get(b"filename", b"").decode("utf-8", "replace")[:MAX_NAME_LENGTH]
        self._field, self._value = bytearray(), bytearray()

    def headers_finished(self) -> None:
        if self._is_file and len(self.files) == self.max_files:
            raise too_large(f"more than {self.max_files} files, the limit of this server; send fewer at once")

    def data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self._content += data[start:end]

    def end(self) -> None:
        if self._is_file:
            self.files.append(Upload(self._name or "upload", bytes(self._content)))

    def finish(self) -> None:
        self.complete = True
