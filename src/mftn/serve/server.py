"""The server process: one socket, one server, and a shutdown that completes accepted requests."""

from __future__ import annotations

import errno
import logging
import signal
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from types import FrameType

from mftn.errors import ConfigError
from mftn.serve.recognizers import Recognizers
from mftn.serve.settings import Settings

WAITING_CONNECTIONS = 1024
"""Connections that the system holds until they are accepted."""


def open_socket(host: str, port: int) -> socket.socket:
    """A listening socket.

    Args:
        host: Name or address.
        port: 0 for any free port.

    Raises:
        ConfigError: The port is taken, or the address is not this machine's.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (socket.gaierror, UnicodeError) as error:
        raise ConfigError(f"--host {host}: no such address ({error}); use 127.0.0.1 for this machine only") from error
    listener = socket.socket(family, kind, protocol)
    try:
        if sys.platform != "win32":  # there it would share a port that is in use
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(WAITING_CONNECTIONS)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            message = f"--port {port} is in use: stop the program that listens there, or choose another --port"
            raise ConfigError(message) from error
        raise ConfigError(f"--host {host} --port {port}: cannot listen there ({error.strerror})") from error
    return listener


def serve(settings: Settings, listener: socket.socket) -> None:
    """Serve until SIGTERM or Ctrl-C; accepted requests are completed first.

    Args:
        settings: Settings of the service.
        listener: The listening socket; it is closed at the end.

    Raises:
        MFTNError: The model cannot be loaded.
    """
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(_load, settings)
        import uvicorn  # imported while the model loads: each takes half a second

        from mftn.serve.access import JsonLines
        from mftn.serve.app import create_app
        from mftn.serve.protocol import Protocol

        recognizers = loading.result()
    _log_with(JsonLines())
    config = uvicorn.Config(
        create_app(settings, recognizers),
        http=Protocol,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=int(settings.limits.seconds) + 5,
    )
    before = signal.signal(signal.SIGTERM, _stay)  # uvicorn raises the signal again after it has stopped
    try:
        uvicorn.Server(config).run(sockets=[listener])
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, before)
        listener.close()


def _stay(number: int, frame: FrameType | None) -> None:
    pass


def _load(settings: Settings) -> Recognizers:
    recognizers = Recognizers(settings)
    recognizers.warm_up()
    return recognizers


def _log_with(formatter: logging.Formatter) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    levels = {"": logging.WARNING, "mftn.serve": logging.INFO, "uvicorn": logging.WARNING, "asyncio": logging.ERROR}
    levels["python_multipart"] = logging.ERROR  # it warns of malformed bodies, which the request's log line shows
    for name, level in levels.items():
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)
