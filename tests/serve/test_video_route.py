from __future__ import annotations

import json
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

pytest.importorskip("av", reason="the extra video is not installed")
sys.path.insert(0, str(Path(__file__).parents[1]))
from chromium import moving
from clips import make_clip, stripes, without_decoder

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


def test_a_video_is_cut_off_at_the_limit_and_says_so(recognizers: Recognizers, clip: Path) -> None:
    limits = replace(Limits(), video_seconds=0.4)
    with TestClient(create_app(Settings(limits=limits), recognizers)) as client:
        *frames, last = map(json.loads, client.post("/v1/video", content=clip.read_bytes()).text.splitlines())
    assert frames[-1]["time"] == pytest.approx(0.4, abs=0.05) and all(frame["error"] is None for frame in frames)
    assert last["error"] == "upload: is cut off after 0.4 seconds, the limit of this server" and last["faces"] == []


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
        with service.films.seat():
            answer = client.post("/v1/video", content=clip.read_bytes())
            assert answer.status_code == 503 and answer.headers["retry-after"]
        assert client.post("/v1/video", content=clip.read_bytes()).status_code == 200
        assert service.gate.held == 0


def test_a_cut_off_file_keeps_its_frames(client: TestClient, clip: Path, tmp_path: Path, photos: Path) -> None:
    whole = make_clip(tmp_path / "film.mp4", moving(photos, 20), options={"movflags": "frag_keyframe+empty_moov"})
    content = whole.read_bytes()
    lines = [json.loads(line) for line in client.post("/v1/video", content=content[:-2000]).text.splitlines()]
    assert len(lines) > 1 and lines[0]["error"] is None
