"""The process: its start, its address, its end."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient

from mftn.cli import main
from mftn.serve import protocol

sys.path.insert(0, str(Path(__file__).parents[1]))
from serving import running, served


def test_sigterm_under_load_answers_what_was_accepted(astronaut_jpeg: bytes) -> None:
    with running() as server:
        answered: list[int] = []
        lost: list[Exception] = []
        stop = threading.Event()

        def ask() -> None:
            while not stop.is_set():
                try:
                    answer = httpx.post(f"{server.address}/v1/predict", content=astronaut_jpeg, timeout=30)
                    answered.append(answer.status_code)
                except httpx.ConnectError:  # not accepted: the server listens no more
                    return
                except httpx.TransportError as error:
                    lost.append(error)
                    return

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        while len(answered) < 20:
            assert not lost
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
        stop.set()
        for thread in threads:
            thread.join()
    assert set(answered) == {200}
    assert not [error for error in lost if not isinstance(error, httpx.ReadError)], lost


def test_a_connection_accepted_before_sigterm_may_still_ask_once() -> None:
    with running() as server:
        host, port = server.address.removeprefix("http://").split(":")
        with (
            socket.create_connection((host, int(port)), timeout=10) as late,
            socket.create_connection((host, int(port)), timeout=10) as silent,
        ):
            assert httpx.get(f"{server.address}/healthz").is_success  # so the two before it were accepted
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.4)
            late.sendall(f"GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            answer = b"".join(iter(lambda: late.recv(4096), b""))  # to the end: the server closes the connection
            assert answer.startswith(b"HTTP/1.1 200")
            assert silent.recv(4096) == b""
        assert server.process.wait(10) == 0


def test_a_taken_port_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", "--port", str(port)]) == 2
    assert f"--port {port} is in use" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--host", "nowhere.invalid"], "--host nowhere.invalid"),
        (["--port", "70000"], "--port is 70000"),
        (["--max-upload", "much"], "--max-upload much"),
        (["--model", "nothing"], "nothing: neither a model file nor an installed model"),
        (["--cors", "example.org"], "--cors example.org"),
        (["--cors", "example.org", "--cors", "https://example.com", "--api-key-file", "x"], "--cors example.org"),
        (["--root-path", "mftn/"], "--root-path mftn/"),
        (["--api-key-file", "missing.txt"], "missing.txt"),
    ],
)
def test_a_wrong_option_is_named(capsys: pytest.CaptureFixture[str], options: list[str], message: str) -> None:
    assert main(["serve", *options]) == 2
    assert message in capsys.readouterr().err


def test_a_short_key_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "key").write_text("short\n")
    assert main(["serve", "--api-key-file", str(tmp_path / "key")]) == 2
    assert "16 or more" in capsys.readouterr().err


def test_the_log_is_json_and_names_no_file(astronaut_jpeg: bytes) -> None:
    command = [sys.executable, "-m", "mftn", "serve", "--port", "0", "--engine", "onnxruntime"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        address = process.stderr.readline().split()[1]
        files = {"file": ("somebody.jpg", astronaut_jpeg)}
        answer = httpx.post(f"{address}v1/predict", files=files, timeout=30)
        malformed = {"content-type": "multipart/form-data; boundary=x"}
        assert httpx.post(f"{address}v1/predict", content=b"none", headers=malformed).status_code == 400
        process.send_signal(signal.SIGTERM)
        lines = [json.loads(line) for line in process.stderr.read().splitlines()]
    line, refused = lines
    assert refused["status"] == 400
    assert line["request"] == answer.headers["x-request-id"] and line["faces"] == 1 and line["status"] == 200
    assert "somebody" not in json.dumps(line)


def test_the_extra_is_named_where_it_is_missing() -> None:
    code = "import sys; sys.modules['fastapi'] = None; from mftn.cli import main; sys.exit(main(['serve']))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 1 and "pip install 'mftn[serve]'" in result.stderr


def test_slow_headers_end_the_connection(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEADERS_TIMEOUT_S", 0.2)
    with served(client.app) as address:
        listener = "127.0.0.1", int(address.rpartition(":")[2])
        with socket.create_connection(listener, timeout=10) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
            assert connection.recv(100) == b""
        assert httpx.get(f"{address}/healthz").is_success
