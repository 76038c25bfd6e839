"""Images at addresses: what is read, and what a server may not do."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

import mftn
from mftn import download
from mftn.errors import ImageError


class Server(BaseHTTPRequestHandler):
    """Answers as the path says."""

    photo = b""
    paths: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.paths.append(self.path)
        where = self.path.removeprefix("/")
        if where.startswith("to-"):
            self.send_response(302)
            target = {"to-file": "file:///etc/passwd", "to-ftp": "ftp://127.0.0.1/a.jpg", "to-itself": "/to-itself"}
            self.send_header("Location", target.get(where, "/photo.jpg"))
            self.end_headers()
            return
        if where in ("drip-status", "drip-headers"):
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: "[: 9 if where == "drip-status" else None])
            with contextlib.suppress(OSError):  # the reader has left
                for _ in range(100):
                    time.sleep(0.05)
                    self.wfile.write(b"a")
            return
        if where == "gone.jpg":
            self.send_error(404)
            return
        self.send_response(200)
        body = {"page": b"<html>hello</html>", "empty": b""}.get(where, self.photo)
        declared = {"huge": 10**9, "short": len(body) + 50, "endless": None}.get(where, len(body))
        if declared is not None:
            self.send_header("Content-Length", str(declared))
        self.end_headers()
        try:
            if where == "endless":
                while True:
                    self.wfile.write(bytes(65536))
            if where in ("drip", "silent"):
                self.wfile.write(body[:100])
                for number in range(100, 200 if where == "drip" else 101):
                    time.sleep(0.05 if where == "drip" else 1.5)
                    self.wfile.write(body[number : number + 1])
            else:
                self.wfile.write(body)
        except OSError:  # the reader has left
            pass

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def address(photos: Path) -> Iterator[str]:
    Server.photo = (photos / "astronaut.jpg").read_bytes()
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_an_address_is_recognised_and_shown(address: str, photos: Path) -> None:
    expected = mftn.predict(photos / "astronaut.jpg").to_dict()
    for where in ("photo.jpg", "to-photo"):
        found = mftn.predict(address + where)
        assert found.to_dict() == expected | {"source": address + where}
        assert found.annotate().size == (512, 512)


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("gone.jpg", "the server returned 404 Not Found; check the address"),
        ("page", "not an image in a known format"),
        ("empty", "the file is empty"),
        ("huge", "has 1,000 MB, more than 2; scale it down first"),
        ("endless", "has more than 2 MB; scale it down first"),
        ("short", r"the download ended after [\d,]+ of [\d,]+ bytes; try again"),
        ("drip", "the download took over 1.6 s"),
        ("drip-status", "the download took over 1.6 s"),
        ("drip-headers", "the download took over 1.6 s"),
        ("silent", "the server sent nothing for 0.8 s; try again later"),
        ("to-file", "Redirection to url .* is not allowed"),
        ("to-ftp", "unknown url type: ftp"),
        ("to-itself", "infinite loop"),
    ],
)
def test_a_server_cannot_do_harm(address: str, where: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "MAX_BYTES", 2_000_000)
    monkeypatch.setattr(download, "TIMEOUT_S", 1.6)
    monkeypatch.setattr(download, "SILENCE_S", 0.8)
    begun = time.monotonic()
    with pytest.raises(ImageError, match=f"^{address}{where}: .*{said}"):
        mftn.predict(address + where)
    assert time.monotonic() - begun < 4
    (prediction,) = mftn.load().stream([address + where])
    assert prediction.source == address + where and (prediction.error or "").startswith(address + where)


@pytest.mark.parametrize(
    "wrong", ["http://127.0.0.1:9/a.jpg", "https://127.0.0.1:9/a.jpg", "http://no host/a.jpg", "http:///"]
)
def test_no_server_is_an_error_that_names_the_address(wrong: str) -> None:
    with pytest.raises(ImageError, match=r"cannot be downloaded \(.*\); check the address and the network") as error:
        mftn.predict(wrong)
    assert str(error.value).startswith(wrong)


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("café.jpg", "/caf%C3%A9.jpg"),
        ("caf%C3%A9.jpg", "/caf%C3%A9.jpg"),
        ("my photo.jpg?of=Zoë B&size=1,2", "/my%20photo.jpg?of=Zo%C3%AB%20B&size=1,2"),
        ("caf\udce9.jpg", "/caf%E9.jpg"),
    ],
)
def test_an_address_may_hold_any_letter(address: str, given: str, sent: str) -> None:
    Server.paths.clear()
    assert len(mftn.predict(address + given)) == 1
    assert Server.paths == [sent]


def test_a_host_may_be_named_in_any_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def resolve(host: str, *arguments: object, **options: object) -> None:
        asked.append(host)
        raise OSError("no network")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    for host in ("bücher.example", "x" * 64 + "é.example"):  # a label has at most 63 letters
        with pytest.raises(ImageError, match="cannot be downloaded"):
            mftn.predict(f"http://{host}/a.jpg")
    assert asked == ["xn--bcher-kva.example"]


def test_secrets_are_neither_sent_nor_shown(address: str) -> None:
    secret = address.replace("//", "//me:word@") + "photo.jpg"
    with pytest.raises(ImageError, match="user name and password") as error:
        mftn.predict(secret)
    (prediction,) = mftn.load().stream(secret)
    for text in (str(error.value), prediction.to_json()):
        assert "word@" not in text and address + "photo.jpg" in text
