"""A relay between clients and a server on this machine that can fail: connections are refused while it is down."""

import socket
import threading
from contextlib import suppress
from types import TracebackType


class Relay:
    """Passes bytes on to a server; use it as a context manager.

    Args:
        port: The server's, on loopback.
    """

    def __init__(self, port: int) -> None:
        self.server = ("127.0.0.1", port)
        self._listener = self._listen(0)
        self.port: int = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()

    def __enter__(self) -> "Relay":
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    def down(self) -> None:
        """Cut all connections and refuse new ones."""
        self._listener.close()
        for each in list(self._open):
            self._close(each)

    def up(self) -> None:
        """Take connections again."""
        self._listener = self._listen(self.port)
        self._start()

    @staticmethod
    def _listen(port: int) -> socket.socket:
        return socket.create_server(("127.0.0.1", port), reuse_port=False)

    def _start(self) -> None:
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        listener.settimeout(0.1)
        while listener.fileno() != -1:
            try:
                client, _ = listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            client.settimeout(None)
            server = socket.create_connection(self.server)
            self._open |= {client, server}
            for ends in ((client, server), (server, client)):
                threading.Thread(target=self._pass, args=ends, daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(65536):
                target.sendall(piece)
        self._close(source)
        self._close(target)

    def _close(self, each: socket.socket) -> None:
        self._open.discard(each)
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
        each.close()
