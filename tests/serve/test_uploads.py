"""What is refused, and how: limits while a body is read, malformed bodies, keys, other sites, names."""

from __future__ import annotations

import io
import socket
import struct
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image as PillowImage

from mftn.serve.app import create_app
from mftn.serve.recognizers import Recognizers
from mftn.serve.settings import Limits, Settings

sys.path.insert(0, str(Path(__file__).parents[1]))
from serving import Server, served

KEY = "a-key-of-some-length"


def code(answer: Any, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error"} and set(answer.json()["error"]) == {"code", "message", "request_id"}
    assert answer.json()["error"]["request_id"] == answer.headers["x-request-id"]
    return str(answer.json()["error"]["code"])


def bomb(width: int, height: int) -> bytes:
    """A PNG of so many pixels in a few kilobytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(min(width * height, 10_000_000)), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "status", "word"),
    [
        (b"some text", 415, "not_an_image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "not_an_image"),
        (b"%PDF-1.7", 415, "not_an_image"),
        (b"\xff\xd8\xff\xe0 and no more", 422, "damaged"),
        (bomb(30_000, 30_000), 413, "too_large"),
        (bomb(60_000, 60_000), 413, "too_large"),
        (b"", 400, "no_file"),
    ],
)
def test_what_is_no_image_is_refused(client: TestClient, content: bytes, status: int, word: str) -> None:
    for route in ("/v1/predict", "/v1/annotate"):
        assert code(client.post(route, content=content), status) == word


@pytest.mark.parametrize(
    ("package", "extra", "content"),
    [("pillow_heif", "heif", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"), ("rawpy", "raw", b"FUJIFILMCCD-RAW 0201")],
    ids=["HEIC", "RAW"],
)
def test_a_format_whose_extra_is_missing_is_not_called_damaged(
    client: TestClient, package: str, extra: str, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    for route in ("/v1/predict", "/v1/annotate"):
        answer = client.post(route, content=content)
        assert code(answer, 415) == "no_reader"
        assert f"pip install 'mftn[{extra}]'" in answer.json()["error"]["message"]


def test_a_polyglot_is_what_its_start_says(client: TestClient, astronaut_jpeg: bytes) -> None:
    answer = client.post("/v1/predict", content=astronaut_jpeg + b"<script>alert(1)</script>PK\x03\x04")
    assert answer.headers["content-type"] == "application/json" and len(answer.json()["predictions"][0]["faces"]) == 1
    assert code(client.post("/v1/predict", content=b"GIF89a" + astronaut_jpeg), 422) == "damaged"


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a\\u0000b.jpg", "é😀.jpg", "x" * 999])
def test_a_name_is_text_and_never_a_path(client: TestClient, astronaut_jpeg: bytes, name: str) -> None:
    answer = client.post("/v1/predict", files={"file": (name, astronaut_jpeg)})
    assert answer.json()["predictions"][0]["source"] == name[:255]
    assert name[:255] in code_message(client.post("/v1/predict", files={"file": (name, b"text")}))


def code_message(answer: Any) -> str:
    assert code(answer, 415) == "not_an_image"
    return str(answer.json()["error"]["message"])


def test_too_large_a_body_is_refused_while_it_is_read(client: TestClient) -> None:
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        while taken < 50_000_000:
            taken += 100_000
            yield bytes(100_000)

    assert code(client.post("/v1/predict", content=endless()), 413) == "too_large"
    assert code(client.post("/v1/predict", content=bytes(3_000_000)), 413) == "too_large"
    files = [("file", ("a.jpg", bytes(1_500_000))), ("file", ("b.jpg", bytes(1_500_000)))]
    assert code(client.post("/v1/predict", files=files), 413) == "too_large"


def test_a_slow_body_is_refused(recognizers: Recognizers) -> None:
    def slow() -> Iterator[bytes]:
        for _ in range(20):
            yield b"x"
            time.sleep(0.1)

    limits = replace(Limits(), upload_seconds=0.3)
    with served(create_app(Settings(limits=limits), recognizers)) as address:
        start = time.monotonic()
        assert code(httpx.post(f"{address}/v1/predict", content=slow()), 408) == "too_slow"
        assert time.monotonic() - start < 10


def test_too_many_files_are_refused(client: TestClient, astronaut_jpeg: bytes) -> None:
    files = [("file", (f"{number}.jpg", astronaut_jpeg)) for number in range(5)]
    assert code(client.post("/v1/predict", files=files), 413) == "too_large"
    assert code(client.post("/v1/annotate", files=files[:2]), 413) == "too_large"


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data", b"--x\r\n"),
        ("multipart/form-data; boundary=x", b"no boundary"),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data; filename=a\r\n\r\ncut off"),
        ("multipart/form-data; boundary=x", b"--x\r\n" + b"a" * 9000 + b": b\r\n\r\n--x--\r\n"),
        ("multipart/form-data; boundary=" + "x" * 300, b"--x\r\n"),
    ],
)
def test_a_malformed_multipart_body_is_refused(client: TestClient, kind: str, body: bytes) -> None:
    answer = client.post("/v1/predict", content=body, headers={"content-type": kind})
    assert code(answer, 400) in ("bad_multipart", "no_file")


def test_a_missing_boundary_is_named(client: TestClient, astronaut_jpeg: bytes) -> None:
    body = b"--x\r\nContent-Disposition: form-data; filename=a\r\n\r\n" + astronaut_jpeg + b"\r\n--x--\r\n"
    answer = client.post("/v1/predict", content=body, headers={"content-type": "multipart/form-data"})
    assert code(answer, 400) == "bad_multipart" and "has no boundary" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "query", ["min_score=2", "min_score=nan", "detect_size=1", "flip=maybe", "format=exe", "nothing=1", "detector=x"]
)
def test_a_wrong_option_is_named(client: TestClient, astronaut_jpeg: bytes, query: str) -> None:
    answer = client.post(f"/v1/predict?{query}", content=astronaut_jpeg)
    assert code(answer, 422) == "wrong_option"
    assert query.partition("=")[0] in answer.json()["error"]["message"]


def test_unknown_routes_and_methods_have_the_same_shape(client: TestClient) -> None:
    assert code(client.get("/nothing"), 404) == "not_found"
    assert code(client.get("/page/../app.py"), 404) == "not_found"
    assert code(client.get("/page/%2e%2e%2fapp.py"), 404) == "not_found"
    assert code(client.get("/v1/predict"), 405) == "wrong_method"


@pytest.mark.parametrize("path", ["/", "/page/app.js", "/healthz", "/v1/about", "/v1/predict", "/nothing"])
def test_head_has_the_headers_of_get_and_no_body(server: Server, path: str) -> None:
    with httpx.Client(base_url=server.address) as client:
        head, get = client.head(path), client.get(path)
    assert head.status_code == get.status_code and head.content == b""
    names = ("content-type", "etag", "allow") + (("content-length",) if get.status_code == 200 else ())
    assert [head.headers.get(name) for name in names] == [get.headers.get(name) for name in names]


def test_over_the_bound_a_request_is_asked_to_come_back(recognizers: Recognizers, astronaut_jpeg: bytes) -> None:
    for limits in (Limits(waiting=0), Limits(held=1000)):
        with TestClient(create_app(Settings(limits=limits), recognizers)) as client:
            answer = client.post("/v1/predict", content=astronaut_jpeg)
            assert code(answer, 503) == "busy" and answer.headers["retry-after"] == "1"


def test_a_request_has_a_time_limit_and_leaves_nothing_behind(
    recognizers: Recognizers, astronaut_jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = create_app(Settings(limits=replace(Limits(), seconds=0.2, upload_seconds=0.1)), recognizers)
    service = app.state.service
    monkeypatch.setattr(service.pipeline, "_locate", lambda job: time.sleep(1) or job.future.cancel())
    with TestClient(app) as client:
        answer = client.post("/v1/predict", content=astronaut_jpeg)
        assert code(answer, 503) == "timeout"
        assert service.gate.requests == service.gate.held == 0


def test_with_a_key_every_route_but_health_asks_for_it(recognizers: Recognizers, astronaut_jpeg: bytes) -> None:
    app = create_app(Settings(api_key=KEY), recognizers)
    with TestClient(app) as client:
        routes = [route for route in _routes(app) if route not in ("/healthz", "/readyz")]
        assert {"/", "/docs", "/openapi.json", "/v1/about", "/metrics", "/page/{name}", "/v1/video"} <= set(routes)
        for route in [*routes, "/page/app.js", "/nothing"]:
            for method in ("GET", "POST"):
                answer = client.request(method, route)
                assert code(answer, 401) == "no_key" and answer.headers["www-authenticate"].startswith("Basic")
        wrong: list[dict[str, str]] = [
            {"authorization": f"Bearer {KEY}x"},
            {"authorization": "Basic !!!"},
            {"x-api-key": ""},
        ]
        assert all(client.get("/", headers=headers).status_code == 401 for headers in wrong)
        for right in (
            {"headers": {"authorization": f"Bearer {KEY}"}},
            {"headers": {"x-api-key": KEY}},
            {"auth": ("", KEY)},
        ):
            assert client.post("/v1/predict", content=astronaut_jpeg, **right).status_code == 200  # type: ignore[arg-type]
        assert client.get("/healthz").is_success and client.get("/readyz").is_success


def _routes(app: Any) -> list[str]:
    named = [path for route in app.routes if (path := getattr(route, "path", ""))]
    return [*named, *app.openapi()["paths"]]


def test_pages_of_other_sites_may_not_ask_unless_they_are_named(
    recognizers: Recognizers, astronaut_jpeg: bytes
) -> None:
    origin = {"origin": "https://example.org", "sec-fetch-site": "cross-site"}
    with TestClient(create_app(Settings(), recognizers)) as client:
        answer = client.post("/v1/predict", content=astronaut_jpeg, headers=origin)
        assert code(answer, 403) == "other_site" and "access-control-allow-origin" not in answer.headers
    with TestClient(create_app(Settings(cors=("https://example.org",), api_key=KEY), recognizers)) as client:
        asked = {**origin, "access-control-request-method": "POST", "access-control-request-headers": "authorization"}
        assert client.options("/v1/predict", headers=asked).headers["access-control-allow-origin"] == origin["origin"]
        given = {**origin, "authorization": f"Bearer {KEY}"}
        assert client.post("/v1/predict", content=astronaut_jpeg, headers=given).is_success


@pytest.mark.parametrize(
    ("headers", "welcome"),
    [
        ({}, True),
        ({"sec-fetch-site": "none"}, True),
        ({"origin": "http://faces.example"}, True),
        ({"origin": "https://faces.example"}, True),
        ({"origin": "https://faces.example", "x-forwarded-proto": "https"}, True),
        ({"origin": "https://outside.example", "sec-fetch-site": "same-origin"}, True),
        ({"origin": "http://evil.example"}, False),
        ({"origin": "http://faces.example:3000"}, False),
        ({"origin": "http://faces.example.evil.example"}, False),
        ({"origin": "http://faces.example", "x-forwarded-proto": "https"}, False),
        ({"origin": "null"}, False),
        ({"origin": "http://faces.example:3000", "sec-fetch-site": "same-site"}, False),
        ({"origin": "http://faces.example", "sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "cross-site"}, False),
    ],
)
def test_a_page_may_ask_the_server_that_it_comes_from(
    client: TestClient, headers: dict[str, str], welcome: bool
) -> None:
    with served(client.app) as address:
        headers = {"host": "faces.example", **headers}
        answer = httpx.post(f"{address}/v1/predict", content=b"no image", headers=headers)
    assert code(answer, 415 if welcome else 403) == ("not_an_image" if welcome else "other_site")


@pytest.mark.parametrize("prefix", ["", "/mftn"])
def test_behind_a_proxy_that_keeps_or_strips_the_path(recognizers: Recognizers, prefix: str) -> None:
    with TestClient(create_app(Settings(root_path="/mftn", api_key=KEY), recognizers)) as client:
        assert client.get(f"{prefix}/healthz").is_success
        assert client.get(f"{prefix}/", auth=("", KEY)).text.startswith("<!doctype html>")
        assert code(client.get(f"{prefix}/v1/about"), 401) == "no_key"


def test_every_answer_forbids_what_the_page_does_not_need(client: TestClient) -> None:
    for route in ("/", "/v1/about", "/nothing", "/page/app.js"):
        headers = client.get(route).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
    assert client.get("/v1/about", headers={"x-request-id": "mine-1"}).headers["x-request-id"] == "mine-1"
    assert "\n" not in client.get("/v1/about", headers={"x-request-id": "a b"}).headers["x-request-id"]


def test_nothing_touches_the_disk(
    client: TestClient, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    out = io.BytesIO()
    with PillowImage.open(photos / "grace_hopper.jpg") as photo:
        photo.save(out, "BMP")
    assert len(out.getvalue()) > 900_000
    files = [("file", ("a.bmp", out.getvalue())), ("file", ("b.bmp", out.getvalue()))]
    answer = client.post("/v1/predict", files=files)
    assert [len(each["faces"]) for each in answer.json()["predictions"]] == [1, 1]


def test_mutated_uploads_never_fail_the_server(client: TestClient, photos: Path) -> None:
    rng = np.random.default_rng(0)
    seeds = []
    with PillowImage.open(photos / "astronaut.jpg") as photo:
        for kind in ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "PPM"):
            out = io.BytesIO()
            photo.resize((48, 48)).save(out, kind)
            seeds.append(out.getvalue())
    statuses = set()
    for number in range(210):
        content = bytearray(seeds[number % len(seeds)])
        for _ in range(rng.integers(1, 6)):
            content[rng.integers(0, min(len(content), 300))] = rng.integers(0, 256)
        end = rng.integers(1, len(content)) if rng.random() < 0.3 else len(content)
        answer = client.post("/v1/predict", content=bytes(content[:end]))
        statuses.add(answer.status_code)
    assert statuses <= {200, 413, 415, 422} and {200, 422} <= statuses


def _raw(server: Server, data: bytes, wait: float = 20) -> bytes:
    host, port = server.address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=wait) as connection:
        connection.sendall(data)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
        return answer


def test_what_is_no_http_and_huge_headers_get_an_answer_of_the_same_shape(server: Server) -> None:
    for data in (b"\x16\x03\x01 hello\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 200_000 + b"\r\n\r\n"):
        answer = _raw(server, data)
        assert answer.startswith(b"HTTP/1.1 400") and b'"code": "bad_request"' in answer


def test_a_client_that_leaves_frees_its_place(server: Server) -> None:
    head = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nsome"
    host, port = server.address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(head)
        assert _waits_for(server, 1.0)
    assert _waits_for(server, 0.0)
    assert httpx.get(f"{server.address}/readyz").is_success


def _waits_for(server: Server, requests: float) -> bool:
    until = time.monotonic() + 10
    while time.monotonic() < until:
        if f"mftn_waiting_requests {requests}" in httpx.get(f"{server.address}/metrics").text:
            return True
        time.sleep(0.05)
    return False


def test_threads_and_files_do_not_grow(client: TestClient, astronaut_jpeg: bytes) -> None:
    client.post("/v1/predict", content=astronaut_jpeg)
    before = threading.active_count(), _open_files()
    for _ in range(20):
        client.post("/v1/predict", content=astronaut_jpeg)
    after = threading.active_count(), _open_files()
    assert after[0] <= before[0] + 1 and after[1] <= before[1] + 2


def _open_files() -> int:
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.exists() else 0
