"""Clips are read on one clock, upright and square; what is missing is said."""

import struct
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

sys.path.insert(0, str(Path(__file__).parents[1]))
from clips import FRAGMENTED, joined, make_clip, stripes, truncated, without_decoder

from mftn.errors import ImageError
from mftn.sources import walk
from mftn.video import Clip


def times_of(clip: Clip) -> list[float]:
    return [frame.time for frame in clip]


def test_frames_come_at_their_own_times(tmp_path: Path) -> None:
    timestamps = [40 * n if n < 12 else 480 + 100 * (n - 12) for n in range(24)]
    clip = Clip(str(make_clip(tmp_path / "a.mp4", stripes(24), timestamps)))
    frames = list(clip)
    assert clip.frames == len(frames) == 24 and clip.damaged == 0 and clip.cut_off() is None and not clip.live
    assert [f.number for f in frames] == list(range(24)) and frames[0].image.shape == (120, 160, 3)
    assert [f.time for f in frames] == pytest.approx([timestamp / 1000 for timestamp in timestamps], abs=2e-3)


def test_start_end_and_every(tmp_path: Path) -> None:
    path = str(make_clip(tmp_path / "a.mp4", stripes(24)))
    assert [f.number for f in Clip(path, every=10)] == [0, 10, 20] and Clip(path, every=10).frames == 3
    assert [f.number for f in Clip(path, start=0.4, end=0.53)] == [10, 11, 12, 13]


@pytest.mark.parametrize("name", ["a.ts", "a.mkv", "a.mp4"])
def test_start_and_end_take_the_frames_at_these_times(name: str, tmp_path: Path) -> None:
    path = str(make_clip(tmp_path / name, stripes(25), range(160, 1160, 40)))
    for number in range(25):
        assert len(list(Clip(path, end=number / 25))) == number + 1
        assert next(iter(Clip(path, start=number / 25))).number == number


@pytest.mark.parametrize("first", [0, 3_600_000], ids=["back", "ahead"])
def test_two_recordings_in_one_file_go_on_one_after_the_other(first: int, tmp_path: Path) -> None:
    parts = [
        make_clip(tmp_path / f"{count}.ts", stripes(count), range(start, start + 40 * count, 40))
        for start, count in ((0, 30), (first, 20))
    ]
    path = str(joined(tmp_path / "both.ts", *parts))
    assert times_of(Clip(path)) == pytest.approx([0.04 * k for k in range(50)], abs=2e-3)
    assert [f.number for f in Clip(path, start=1.0, end=1.5)] == list(range(25, 38))


@pytest.mark.parametrize("suffix", [".flv", ".m2ts", ".3g2", ".asf", ".vob", ".mxf"])
def test_a_folder_gives_the_clips_of_camcorders_and_older_data_sets(suffix: str, tmp_path: Path) -> None:
    codec = {".flv": "flv", ".m2ts": "libx264", ".3g2": "mpeg4", ".asf": "wmv2"}.get(suffix, "mpeg2video")
    size = (320, 240)  # MXF holds no smaller ones
    make_clip(tmp_path / f"a{suffix}", stripes(10, size), range(0, 400, 40), codec=codec)
    (source,) = walk(str(tmp_path), videos=True)
    assert source.moves and len(list(Clip(source.path))) == 10


def test_a_gap_in_the_times_is_kept(tmp_path: Path) -> None:
    timestamps = [0, 40, 80, 30_080, 30_120]
    assert times_of(Clip(str(make_clip(tmp_path / "a.mkv", stripes(5), timestamps)))) == pytest.approx(
        [timestamp / 1000 for timestamp in timestamps]
    )


@pytest.mark.parametrize("first", [-800, 5000])
def test_times_count_from_the_first_frame(first: int, tmp_path: Path) -> None:
    clip = Clip(str(make_clip(tmp_path / "a.mkv", stripes(20), range(first, first + 800, 40))))
    assert times_of(clip) == pytest.approx([0.04 * k for k in range(20)], abs=2e-3)
    assert clip.cut_off() is None


ONE = 1 << 16
MATRICES = {  # a, b, c, d, x, y, and which quarters of the image are white, by rows
    "a quarter clockwise, as telephones write": ((0, ONE, -ONE, 0, 48, 0), ".X.."),
    "half a turn": ((-ONE, 0, 0, -ONE, 64, 48), "...X"),
    "three quarters clockwise": ((0, -ONE, ONE, 0, 0, 64), "..X."),
    "left and right exchanged, as by a mirror": ((-ONE, 0, 0, ONE, 64, 0), ".X.."),
    "upside down": ((ONE, 0, 0, -ONE, 0, 48), "..X."),
    "rows and columns exchanged": ((0, ONE, ONE, 0, 0, 0), "X..."),
    "the same from the other corner": ((0, -ONE, -ONE, 0, 48, 64), "...X"),
}


@pytest.mark.parametrize("name", MATRICES)
def test_a_turned_or_mirrored_clip_is_upright(name: str, tmp_path: Path) -> None:
    (a, b, c, d, x, y), expected = MATRICES[name]
    image = PillowImage.new("RGB", (64, 48))
    image.paste((255, 255, 255), (0, 0, 32, 24))
    path = make_clip(tmp_path / "turned.mp4", [image] * 4)
    content = bytearray(path.read_bytes())
    matrix = content.index(b"tkhd") + 4 + 4 + 20 + 8 + 8  # ISO 14496-12: version and flags, times and id, reserved
    content[matrix : matrix + 36] = struct.pack(">9i", a, b, 0, c, d, 0, x << 16, y << 16, 1 << 30)
    path.write_bytes(content)
    shown = next(iter(Clip(str(path)))).image
    height, width = shown.shape[:2]
    assert (height, width) == ((64, 48) if b else (48, 64))
    middles = [(row, column) for row in (height // 4, 3 * height // 4) for column in (width // 4, 3 * width // 4)]
    assert "".join("X" if shown[middle].min() > 200 else "." for middle in middles) == expected


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        (Fraction(64, 45), (228, 120)),
        (Fraction(8, 9), (160, 135)),
        (Fraction(10), (160, 120)),  # a mistake
        (Fraction(1, 10), (160, 120)),
    ],
)
def test_pixels_become_square(shape: Fraction, size: tuple[int, int], tmp_path: Path) -> None:
    image = PillowImage.new("RGB", (160, 120))
    image.paste((255, 255, 255), (80, 60, 160, 120))
    shown = next(iter(Clip(str(make_clip(tmp_path / "a.mp4", [image] * 3, shape=shape))))).image
    assert shown.shape[1::-1] == size
    white = np.argwhere(shown.min(axis=2) > 128)
    assert white.min(axis=0) == pytest.approx([size[1] / 2, size[0] / 2], abs=2)


def test_frames_keep_their_own_size_when_it_changes(tmp_path: Path) -> None:
    parts = [make_clip(tmp_path / f"{w}.ts", stripes(12, (w, h))) for w, h in ((160, 120), (240, 176))]
    frames = list(Clip(str(joined(tmp_path / "both.ts", *parts))))
    assert [frame.image.shape[:2] for frame in frames] == [(120, 160)] * 12 + [(176, 240)] * 12


@pytest.mark.parametrize("shapes", [(1, Fraction(4, 3), 1), (Fraction(4, 3), 1, Fraction(4, 3))])
def test_pixels_become_square_where_their_shape_changes(shapes: tuple[Fraction | int, ...], tmp_path: Path) -> None:
    parts = [
        make_clip(tmp_path / f"{number}.ts", stripes(25), shape=Fraction(shape)) for number, shape in enumerate(shapes)
    ]
    widths = [frame.image.shape[1] for frame in Clip(str(joined(tmp_path / "all.ts", *parts)))]
    for number, shape in enumerate(shapes):
        assert set(widths[25 * number : 25 * number + 20]) == {round(160 * shape)}  # the decoder is a little ahead


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("a.mkv", {}, "ends at 2.0 s of 4.0 s"),
        ("a.mp4", {"movflags": "faststart"}, "ends at 2.0 s of 4.0 s"),
        ("a.mp4", FRAGMENTED, "ends at 2.0 s, in the middle of a frame"),
        ("a.mp4", {"movflags": "dash+global_sidx+" + FRAGMENTED["movflags"]}, "ends at 2.0 s of 4.0 s"),
    ],
)
def test_a_cut_off_file_gives_its_frames_and_says_so(
    name: str, options: dict[str, str], said: str, tmp_path: Path
) -> None:
    path = make_clip(tmp_path / name, stripes(100), options=options)
    whole = Clip(str(path))
    assert len(list(whole)) == 100 and whole.cut_off() is None
    short = Clip(str(truncated(path)))
    assert 45 <= len(list(short)) <= 52
    assert said in (short.cut_off() or "").replace("1.9 s", "2.0 s").replace("4.1 s", "4.0 s")


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_cut_is_noticed_wherever_the_times_begin(name: str, tmp_path: Path) -> None:
    path = make_clip(tmp_path / name, stripes(100), range(60_000, 64_000, 40), options={"movflags": "faststart"})
    whole, short = Clip(str(path)), Clip(str(truncated(path)))
    assert len(list(whole)) == 100 and whole.cut_off() is None
    list(short)
    assert (short.cut_off() or "").replace("4.1 s", "4.0 s").endswith(" s of 4.0 s")


def test_an_end_of_ones_own_choice_is_no_cut(tmp_path: Path) -> None:
    clip = Clip(str(make_clip(tmp_path / "a.mkv", stripes(50))), end=1.0)
    assert len(list(clip)) == 26 and clip.cut_off() is None


def test_sound_that_lasts_longer_is_no_cut(tmp_path: Path) -> None:
    clip = Clip(str(make_clip(tmp_path / "a.mkv", stripes(25), sound="aac", sound_from=2000)))
    assert len(list(clip)) == 25 and clip.cut_off() is None


def test_why_there_is_no_frame(tmp_path: Path) -> None:
    path = str(make_clip(tmp_path / "a.mp4", stripes(25)))
    with pytest.raises(ImageError, match=r"start at 9 s is beyond the end of the clip at 1.0 s"):
        list(Clip(path, start=9))
    with pytest.raises(ImageError, match="between start and end"):
        list(Clip(path, start=0.41, end=0.42))
    with pytest.raises(ImageError, match="no such file"):
        Clip("nowhere.mp4")
    with pytest.raises(ImageError, match="is a folder; give a video in it"):
        Clip(str(tmp_path))
    with pytest.raises(ImageError, match=r"\*\.mp4: no such file"):
        Clip(f"{tmp_path}/*.mp4")
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(ImageError, match="cannot be opened"):
        Clip(str(tmp_path / "text.mp4"))
    unknown = without_decoder(make_clip(tmp_path / "b.mp4", stripes(5)))
    with pytest.raises(ImageError, match=r"unknown_b\.mp4: its codec cannot be decoded; convert it to H\.264"):
        Clip(str(unknown))
