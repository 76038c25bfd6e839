"""Live streams: read by address, opened again when lost, timed through the loss, without their passwords."""

import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image as PillowImage

sys.path.insert(0, str(Path(__file__).parents[1]))

from clips import make_clip, stripes, truncated

from mftn.errors import ImageError
from mftn.video import Clip, Frame, device
from mftn.video import clip as clip_module


@contextmanager
def serving(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[int]:
    """The port of a server that answers every request so."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running.server_port
        running.shutdown()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """An address that serves a transport stream without an end, breaks off, refuses once, and serves it again."""
    content = make_clip(tmp_path / "a.ts", stripes(50)).read_bytes()
    asked: list[str] = []

    def answer(request: BaseHTTPRequestHandler) -> None:
        asked.append(request.path)
        if len(asked) == 2:
            request.send_error(503)
            return
        request.send_response(200)
        request.send_header("Content-Type", "video/mp2t")
        request.end_headers()
        request.wfile.write(content)

    with serving(answer) as port:
        yield f"http://me:secret@127.0.0.1:{port}/live", asked


def test_a_lost_stream_goes_on(server: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    address, asked = server
    monkeypatch.setattr(clip_module, "FIRST_WAIT_S", 0.2)
    said: list[str] = []
    clip = Clip(address, tell=said.append, end=3.5)
    frames = list(clip)
    clip.close()
    assert clip.live and clip.source.endswith("/live") and "secret" not in clip.source
    assert len(asked) >= 3 and [frame.number for frame in frames] == list(range(len(frames)))
    times = [frame.time for frame in frames]
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert len(frames) > 60 and min(gaps) > 0 and 0.5 < max(gaps) < 3
    assert len(said) == 1 and "the connection was lost" in said[0] and "secret" not in said[0]


def test_a_stream_that_stalls_goes_on_after_all_of_the_silence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content, asked = make_clip(tmp_path / "a.ts", stripes(50)).read_bytes(), itertools.count()

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        request.wfile.write(content)
        if next(asked) == 0:
            time.sleep(3)

    for module in (clip_module, device):
        monkeypatch.setattr(module, "READ_TIMEOUT_S", 2.0)
    monkeypatch.setattr(clip_module, "FIRST_WAIT_S", 0.1)
    with serving(answer) as port:
        clip = Clip(f"http://127.0.0.1:{port}/live", tell=lambda line: None)
        times = [frame.time for frame in itertools.islice(clip, 60)]
        clip.close()
    assert times[49] == pytest.approx(1.96, abs=0.01) and 2 < times[50] - times[49] < 3


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_download_that_breaks_off_gives_all_frames_that_came(tmp_path: Path, name: str) -> None:
    whole = make_clip(tmp_path / name, stripes(50), options={"movflags": "faststart"})
    short = truncated(whole, 0.6)

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(whole.stat().st_size))
        request.end_headers()
        request.wfile.write(short.read_bytes())

    with serving(answer) as port:
        clip = Clip(f"http://127.0.0.1:{port}/{name}")
        found = [frame.time for frame in clip]
        clip.close()
    assert found == [frame.time for frame in Clip(str(short))]
    assert "the file is cut off" in (clip.cut_off() or "")


def test_a_stream_that_stays_away_is_given_up(server: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    address, _asked = server
    monkeypatch.setattr(clip_module, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(clip_module, "MAX_LOSS_S", 0.0)
    clip = Clip(address, tell=lambda line: None)
    with pytest.raises(ImageError) as error:
        list(clip)
    assert "cannot be opened as a video" in str(error.value) and "secret" not in str(error.value)


def test_a_stream_that_opens_without_an_image_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = make_clip(tmp_path / "a.ts", stripes(50)).read_bytes()
    damaged = content.replace(b"\x00\x00\x01", b"\x00\x00\x7f")
    asked = itertools.count()

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Type", "video/mp2t")
        request.end_headers()
        request.wfile.write(damaged if next(asked) else content)

    monkeypatch.setattr(clip_module, "FIRST_WAIT_S", 0.05)
    monkeypatch.setattr(clip_module, "MAX_LOSS_S", 1.0)
    said: list[str] = []
    with serving(answer) as port:
        clip = Clip(f"http://127.0.0.1:{port}/live", tell=said.append)
        found: list[Frame] = []
        with pytest.raises(ImageError, match="has delivered no frame for 1 s"):
            found.extend(clip)
        clip.close()
    assert len(found) == 50 and len(said) == 1 and next(asked) > 2


def test_nothing_listens() -> None:
    with pytest.raises(ImageError) as error:
        Clip("rtsp://me:secret@127.0.0.1:9/door")
    assert "rtsp://127.0.0.1:9/door: cannot be opened" in str(error.value) and "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "frames", "length"), [("photo.jpg", 1, True), ("photo.jpg", 1, False), ("a.mkv", 8, True)]
)
def test_what_has_an_end_is_read_once_whatever_its_address(
    tmp_path: Path, name: str, frames: int, length: bool
) -> None:
    if name == "a.mkv":
        content = make_clip(tmp_path / name, stripes(8), options={"live": "1"}).read_bytes()  # without a duration
    else:
        PillowImage.new("RGB", (64, 48), "red").save(tmp_path / name)
        content = (tmp_path / name).read_bytes()

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        if length:
            request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)

    with serving(answer) as port:
        clip = Clip(f"http://127.0.0.1:{port}/download")
        found = list(itertools.islice(clip, frames + 1))
        clip.close()
    assert len(found) == frames and not clip.live
