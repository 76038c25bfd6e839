"""The service behind a port: `mftn serve` in a process of its own, or an application in a thread of this one."""

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Thread
from typing import Any

import httpx
import uvicorn

from mftn.serve.protocol import Protocol


@dataclass(frozen=True)
class Server:
    """A running `mftn serve`.

    Attributes:
        address: Such as http://127.0.0.1:40123.
        process: The process.
    """

    address: str
    process: subprocess.Popen[str]


@contextmanager
def running(*options: str) -> Iterator[Server]:
    """`mftn serve` in a process of its own, on a free port."""
    command = [sys.executable, "-m", "mftn", "serve", "--port", "0", "--engine", "onnxruntime", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        first = process.stderr.readline()
        found = re.search(r"http://\S+", first)
        assert found, first + process.stderr.read()
        Thread(target=process.stderr.read, daemon=True).start()
        address = found[0].rstrip("/")
        try:
            _wait_until_ready(address)
            yield Server(address, process)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


@contextmanager
def served(app: Any, send_buffer: int | None = None) -> Iterator[str]:
    """The address of an application that is served in a thread, as `mftn serve` would, but without its start and end.

    Args:
        send_buffer: Bytes that the system holds for a client that does not read; its own choice if None.
    """
    server = uvicorn.Server(uvicorn.Config(app, http=Protocol, ws="none", lifespan="off", log_config=None))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        if send_buffer:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        thread = Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(20)


def _wait_until_ready(address: str) -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        with suppress(httpx.TransportError):
            if httpx.get(f"{address}/readyz").is_success:
                return
        time.sleep(0.05)
    raise TimeoutError(f"{address} is not ready")
