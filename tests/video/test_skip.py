"""Frames after a start are those that decoding from the beginning gives: pixels, numbers and times."""

import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path

import av
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from clips import joined, make_clip, repacked, stripes

from mftn.video import Clip

COUNT = 60


def frames_of(clip: Clip) -> list[tuple[int, float, bytes]]:
    return [(frame.number, frame.time, frame.image.tobytes()) for frame in clip]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same frames, at uneven times, in several containers; H.264 with B frames."""
    folder = tmp_path_factory.mktemp("containers")
    times = np.cumsum([0, *np.random.default_rng(0).integers(15, 90, COUNT - 1)]).tolist()
    made = {name: make_clip(folder / f"a.{name}", stripes(COUNT), times) for name in ("mp4", "mkv", "ts")}
    made["webm"] = make_clip(folder / "a.webm", stripes(COUNT), codec="libvpx")
    made["late"] = make_clip(folder / "late.mkv", stripes(COUNT), [5000 + time for time in times], sound="aac")
    made["restart"] = joined(folder / "restart.ts", made["ts"], made["ts"])
    made["avi"] = make_clip(folder / "a.avi", stripes(COUNT), codec="mpeg4")
    keyframes = {"g": "15", "keyint_min": "15"}
    made["hidden"] = repacked(make_clip(folder / "b.webm", stripes(COUNT), codec="libvpx", encoder=keyframes), hidden())
    open_groups = {"x264-params": "keyint=15:min-keyint=15:scenecut=0:open-gop=1:bframes=4"}
    made["cut"] = repacked(make_clip(folder / "b.mkv", stripes(COUNT + 15), encoder=open_groups), without_first_group())
    return made


def hidden() -> Callable[[av.Packet], bytes]:
    """Makes every seventh frame of VP8 one that is not shown, as encoders do with frames that others refer to."""
    number = count()

    def content(packet: av.Packet) -> bytes:
        first, *rest = bytes(packet)
        return bytes([first & ~0x10 if next(number) % 7 == 6 and not packet.is_keyframe else first, *rest])

    return content


def without_first_group() -> Callable[[av.Packet], bytes | None]:
    """Cuts a clip off before its second keyframe: frames stored after that one, shown before it, cannot be decoded."""
    keyframes = count()
    reached = -1

    def content(packet: av.Packet) -> bytes | None:
        nonlocal reached
        reached = next(keyframes) if packet.is_keyframe else reached
        return bytes(packet) if reached >= 1 else None

    return content


@pytest.mark.parametrize("name", ["mp4", "mkv", "ts", "webm", "late", "restart", "avi", "hidden", "cut"])
def test_a_start_gives_what_decoding_gives(name: str, clips: dict[str, Path]) -> None:
    path = str(clips[name])
    whole = frames_of(Clip(path))
    rng = np.random.default_rng(1)
    starts = [0.001, whole[10][1], whole[-1][1], *rng.uniform(0, whole[-1][1], 8)]
    for start in starts:
        expected = [frame for frame in whole if frame[1] >= start]
        assert frames_of(Clip(path, start=start)) == expected
        if third := [frame for frame in expected if frame[0] % 3 == 0]:
            assert frames_of(Clip(path, start=start, every=3)) == third


@pytest.mark.parametrize("name", ["mp4", "mkv", "ts", "webm"])
def test_what_comes_before_the_start_is_not_decoded(
    name: str, clips: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    decode, decoded = Clip._decode, []

    def counting(self: Clip, packets: object) -> object:
        for raw in decode(self, packets):
            decoded.append(raw.time)
            yield raw

    monkeypatch.setattr(Clip, "_decode", counting)
    clip = Clip(str(clips[name]), start=frames_of(Clip(str(clips[name])))[50][1])
    decoded.clear()
    assert len(frames_of(clip)) == COUNT - 50
    if name != "webm":  # libvpx puts its keyframes further apart
        assert len(decoded) <= 32
