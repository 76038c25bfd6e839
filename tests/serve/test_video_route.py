from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

pytest.importorskip("av", reason="the extra video is not installed")
sys.path.insert(0, str(Path(__file__).parents[1]))
from chromium import moving
from clips import make_clip, stripes, without_decoder
from serving import served

from mftn.recognize import Recognizer
from mftn.serve.app import create_app
from mftn.serve.recognizers import Choice, Recognizers
from mftn.serve.schema import PredictionAnswer
from mftn.serve.settings import Limits, Settings


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    return make_clip(tmp_path_factory.mktemp("clip") / "film.mp4", moving(photos, 20))


@pytest.fixture(scope="module")
def recognizer(recognizers: Recognizers) -> Recognizer:
    return recognizers.get(Choice(flip=False))


@pytest.mark.parametrize("options", [{}, {"start": 0.2, "end": 0.6, "every": 2, "smooth": 0.0, "detect_every": 3}])
def test_the_lines_are_those_of_the_package(
    client: TestClient, recognizer: Recognizer, clip: Path, options: dict[str, float]
) -> None:
    answer = client.post("/v1/video", params=options, files={"file": ("film.mp4", clip.read_bytes())})
    assert answer.headers["content-type"] == "application/jsonl"
    got = [json.loads(line) for line in answer.text.splitlines()]
    expected = [prediction.to_dict() for prediction in recognizer.track(clip, **options)]  # type: ignore[arg-type]
    assert got == [line | {"source": "film.mp4"} for line in expected]
    assert [PredictionAnswer.model_validate(line, extra="forbid") for line in got]


@pytest.mark.parametrize("options", [{"start": "inf"}, {"end": "nan"}, {"start": -1}, {"end": 0.2, "start": 0.4}])
def test_moments_are_numbers_of_seconds_in_their_order(client: TestClient, clip: Path, options: dict[str, str]) -> None:
    answer = client.post("/v1/video", params=options, content=clip.read_bytes())
    assert answer.status_code == 422 and next(iter(options)) in answer.json()["error"]["message"]


def test_a_video_is_cut_off_at_the_limit_and_says_so(recognizers: Recognizers, clip: Path) -> None:
    limits = replace(Limits(), video_seconds=0.4)
    with TestClient(create_app(Settings(limits=limits), recognizers)) as client:
        *frames, last = map(json.loads, client.post("/v1/video", content=clip.read_bytes()).text.splitlines())
    assert frames[-1]["time"] == pytest.approx(0.4, abs=0.05) and all(frame["error"] is None for frame in frames)
    assert last["error"] == "upload: is cut off after 0.4 seconds, the limit of this server" and last["faces"] == []


@pytest.mark.parametrize("options", [{}, {"start": 1000}], ids=["its frames", "those before the start"])
def test_the_work_on_a_video_has_a_time_limit(recognizers: Recognizers, clip: Path, options: dict[str, int]) -> None:
    with TestClient(create_app(Settings(limits=replace(Limits(), video_work_seconds=0.0)), recognizers)) as client:
        answer = client.post("/v1/video", params=options, content=clip.read_bytes())
    (line,) = map(json.loads, answer.text.splitlines())
    assert line["error"] == "upload: took more than 0 seconds, the limit of this server"


def test_a_client_that_does_not_read_frees_the_seat(
    recognizers: Recognizers, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mftn.serve.protocol.STALL_TIMEOUT_S", 0.5)
    long = make_clip(tmp_path / "long.mp4", stripes(200, (64, 48))).read_bytes()
    named = 250 * "😀"  # in every line, so that they soon fill what the system and the server hold
    request = httpx.Request("POST", "http://x/v1/video?detect_size=64", files={"file": (named, long)})
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    with served(create_app(Settings(), recognizers), send_buffer=4096) as address, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(20)
        connection.connect(("127.0.0.1", int(address.rpartition(":")[2])))
        connection.sendall(f"POST /v1/video?detect_size=64 HTTP/1.1\r\n{head}\r\n".encode() + request.read())
        assert connection.recv(12) == b"HTTP/1.1 200"
        assert httpx.post(f"{address}/v1/video", content=clip.read_bytes()).status_code == 503
        until = time.monotonic() + 20
        while (status := httpx.post(f"{address}/v1/video", content=clip.read_bytes()).status_code) == 503:
            assert time.monotonic() < until
        assert status == 200


def test_an_answer_ends_whatever_its_client_does(
    recognizers: Recognizers, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mftn.serve.video.LAST_LINES_S", 0.1)
    app = create_app(Settings(limits=replace(Limits(), video_work_seconds=0.1)), recognizers)
    requests = [{"type": "http.request", "body": clip.read_bytes()}]

    async def receive() -> dict[str, Any]:
        return requests.pop() if requests else await asyncio.Future()

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Future()

    scope = {"type": "http", "method": "POST", "path": "/v1/video", "query_string": b"", "headers": []}
    asyncio.run(asyncio.wait_for(app(scope, receive, send), 20))  # type: ignore[arg-type]
    with app.state.service.videos.reserve():
        assert app.state.service.gate.held == 0


def test_a_frame_with_too_many_pixels_is_not_decoded(recognizers: Recognizers, clip: Path) -> None:
    with TestClient(create_app(Settings(limits=replace(Limits(), pixels=10_000)), recognizers)) as client:
        (line,) = map(json.loads, client.post("/v1/video", content=clip.read_bytes()).text.splitlines())
    assert line["error"] == "upload: no frame could be read"


@pytest.mark.parametrize(("shape", "size"), [(Fraction(4), "768×192"), (Fraction(1, 4), "192×768")])
def test_oblong_pixels_do_not_pass_the_limit(
    recognizers: Recognizers, shape: Fraction, size: str, tmp_path: Path
) -> None:
    oblong = make_clip(tmp_path / "film.mp4", stripes(3, (192, 192)), shape=shape).read_bytes()
    with TestClient(create_app(Settings(limits=replace(Limits(), pixels=40_000)), recognizers)) as client:
        (line,) = map(json.loads, client.post("/v1/video", content=oblong).text.splitlines())
    message = f"upload: its frames have {size} pixels once they are square, and the limit is 40000"
    assert line["error"] == message and not line["width"]


@pytest.mark.parametrize(
    "content",
    [
        b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{}\n#EXT-X-ENDLIST\n",
        b"ffconcat version 1.0\nfile '{}'\n",
        b"<MPD xmlns='urn:mpeg:dash:schema:mpd:2011'><BaseURL>{}</BaseURL></MPD>",
        b"v=0\nc=IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n",
        b"text",
    ],
)
def test_a_playlist_opens_neither_file_nor_address(client: TestClient, clip: Path, content: bytes) -> None:
    answer = client.post("/v1/video", content=content.replace(b"{}", str(clip).encode()))
    assert answer.status_code == 415 and answer.json()["error"]["code"] == "not_a_video"


def test_a_codec_without_a_decoder_is_named(client: TestClient, clip: Path) -> None:
    answer = client.post("/v1/video", content=without_decoder(clip).read_bytes())
    assert answer.status_code == 415 and answer.json()["error"]["code"] == "not_a_video"
    assert answer.json()["error"]["message"] == "upload: its codec cannot be decoded; convert it to H.264"


def test_one_video_at_a_time(recognizers: Recognizers, clip: Path) -> None:
    with TestClient(create_app(Settings(limits=replace(Limits(), videos=1)), recognizers)) as client:
        service = client.app.state.service  # type: ignore[attr-defined]
        with service.videos.reserve():
            answer = client.post("/v1/video", content=clip.read_bytes())
            assert answer.status_code == 503 and answer.headers["retry-after"]
        assert client.post("/v1/video", content=clip.read_bytes()).status_code == 200
        assert service.gate.held == 0


def test_a_cut_off_file_keeps_its_frames(client: TestClient, clip: Path, tmp_path: Path, photos: Path) -> None:
    whole = make_clip(tmp_path / "film.mp4", moving(photos, 20), options={"movflags": "frag_keyframe+empty_moov"})
    content = whole.read_bytes()
    lines = [json.loads(line) for line in client.post("/v1/video", content=content[:-2000]).text.splitlines()]
    assert len(lines) > 1 and lines[0]["error"] is None
