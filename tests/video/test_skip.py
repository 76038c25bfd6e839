"""Frames after a start are those that decoding from the beginning gives: pixels, numbers and times."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from clips import joined, make_clip, stripes

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
    return made


@pytest.mark.parametrize("name", ["mp4", "mkv", "ts", "webm", "late", "restart", "avi"])
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
