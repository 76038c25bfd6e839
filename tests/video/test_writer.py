"""Copies last as long as the clip, look like it, and sound with it."""

import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image as PillowImage

sys.path.insert(0, str(Path(__file__).parents[1]))
from clips import joined, make_clip, spans, stripes, tone_begins

from mftn.errors import ImageError, OutputError
from mftn.sources import walk
from mftn.tags import is_own_copy
from mftn.video import SAVED_SUFFIXES, Clip, video_writer


def copy(source: Path, name: str, **options: object) -> Path:
    """The clip, written again beside it."""
    clip = Clip(str(source), **options)
    with video_writer(source.with_name(name), clip) as writer:
        for frame in clip:
            writer.write(PillowImage.fromarray(frame.image), frame.time)
    clip.close()
    return source.with_name(name)


def test_a_copy_keeps_times_and_sound(tmp_path: Path) -> None:
    timestamps = [40 * n if n < 12 else 480 + 100 * (n - 12) for n in range(24)]
    path = make_clip(tmp_path / "a.mp4", stripes(24), timestamps, sound="aac")
    written = copy(path, "copy.mp4")
    assert {each.name for each in tmp_path.iterdir()} == {"a.mp4", "copy.mp4"}
    times, sounds = [], []
    for each in (written, path):
        with av.open(str(each)) as container:
            times.append([frame.time for frame in container.decode(video=0)])
        with av.open(str(each)) as container:
            sounds.append(np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1))
    assert times[0] == pytest.approx(times[1], abs=2e-3)
    np.testing.assert_array_equal(*sounds)


@pytest.mark.parametrize("suffix", SAVED_SUFFIXES)
def test_a_gap_of_a_day_fits_every_format(suffix: str, tmp_path: Path) -> None:
    seconds = [0, 1, 80_000, 80_001]
    path = make_clip(tmp_path / "a.mkv", stripes(4), [1000 * second for second in seconds])
    with av.open(str(copy(path, f"copy{suffix}"))) as container:
        frames = [(frame.time, frame.to_ndarray(format="gray").astype(int)) for frame in container.decode(video=0)]
    times = [time for time, _ in frames]
    assert times == pytest.approx([0, *range(1, 80_000, 3600), *seconds[2:]], abs=2e-3)
    assert max(np.abs(image - frames[1][1]).mean() for _, image in frames[1:-2]) < 2


@pytest.mark.parametrize("suffix", SAVED_SUFFIXES)
def test_a_copy_is_known_by_its_tag_and_name_and_no_source(suffix: str, tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mkv", stripes(3))
    written = copy(path, f"a_faces{suffix}")
    assert is_own_copy(written) and not is_own_copy(path)
    assert not is_own_copy(path.rename(tmp_path / "group_faces.mkv"))
    assert [Path(source.path).name for source in walk(str(tmp_path), videos=True)] == ["group_faces.mkv"]
    (tmp_path / "group_faces.mkv").unlink()
    assert [Path(source.path).name for source in walk(str(tmp_path), videos=True)] == [written.name]
    (source,) = walk(str(tmp_path))
    assert "the folder contains no image, but 1 video" in (source.error or "")


@pytest.mark.parametrize("name", ["copy.mp4", "copy.mkv"])
@pytest.mark.parametrize(("first", "sound_from"), [(0, 0), (3000, 3000), (0, 600), (600, 0), (2600, 2000)])
def test_sound_and_images_stay_together(first: int, sound_from: int, name: str, tmp_path: Path) -> None:
    path = make_clip(
        tmp_path / "a.mkv", stripes(50), range(first, first + 2000, 40), sound="aac", sound_from=sound_from
    )
    apart = tone_begins(path) - spans(path)["video"][0]
    written = copy(path, name)
    assert tone_begins(written) - spans(written)["video"][0] == pytest.approx(apart, abs=0.03)
    assert spans(written)["video"][0] == pytest.approx(max(-apart, 0), abs=0.14)  # AAC begins 1,024 samples early


def test_two_recordings_behind_one_another_keep_their_sound(tmp_path: Path) -> None:
    part = make_clip(tmp_path / "part.ts", stripes(50), sound="aac", samples=44100)
    written = copy(joined(tmp_path / "three.ts", part, part, part), "copy.mp4")
    found = spans(written)
    assert found["video"] == pytest.approx((0, 6.0), abs=0.01)
    assert found["audio"] == pytest.approx((0, 6.0), abs=0.1)


@pytest.mark.parametrize(
    ("source", "codec", "sound", "samples", "name"),
    [
        ("a.avi", "mpeg4", "adpcm_ms", 22050, "copy.mp4"),
        ("a.webm", "libvpx", "libopus", 48000, "copy.mov"),
        ("a.mkv", "libx264", "flac", 44100, "copy.mov"),
        ("a.mkv", "libx264", "flac", 44100, "copy.mkv"),
        ("a.ts", "libx264", "aac", 44100, "copy.mp4"),
        ("a.avi", "mpeg4", "adpcm_ms", 37800, "copy.mp4"),  # a rate that AAC does not have
    ],
)
def test_sound_fits_its_container(source: str, codec: str, sound: str, samples: int, name: str, tmp_path: Path) -> None:
    path = make_clip(tmp_path / source, stripes(40), codec=codec, sound=sound, samples=samples)
    written = copy(path, name)
    with av.open(str(written)) as container:
        assert container.streams.audio[0].codec_context.name in ("aac", sound.removeprefix("lib"))
        assert container.streams.audio[0].rate == (48000 if samples == 37800 else samples)
    assert tone_begins(written) == pytest.approx(tone_begins(path) - spans(path)["video"][0], abs=0.03)
    assert -0.02 < spans(written)["audio"][1] - 1.6 < 0.1


def test_start_and_end_choose_the_sound_too(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mkv", stripes(75), sound="aac", sound_from=1500)
    found = spans(written := copy(path, "copy.mp4", start=1.0, end=2.0))
    assert found["video"] == pytest.approx((0, 1.04), abs=0.01)
    assert found["audio"][1] == pytest.approx(1.0, abs=0.15)
    assert tone_begins(written) == pytest.approx(tone_begins(path) - 1.0, abs=0.03)


def test_the_last_frame_is_shown_as_long_as_the_others(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", stripes(100))
    assert spans(copy(path, "copy.mp4", every=20))["video"] == pytest.approx((0, 4.0), abs=0.01)


def test_a_copy_has_the_displayed_shape(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", stripes(5), shape=Fraction(64, 45))
    with av.open(str(copy(path, "copy.mp4"))) as container:
        stream = container.streams.video[0]
        assert stream.width / stream.height == pytest.approx(160 / 120 * 64 / 45, abs=0.02)
        assert stream.sample_aspect_ratio in (None, 1)


def test_a_change_of_size_is_fitted_in(tmp_path: Path) -> None:
    parts = [make_clip(tmp_path / f"{w}.ts", stripes(12, (w, h))) for w, h in ((160, 120), (241 // 2 * 2, 120))]
    with av.open(str(copy(joined(tmp_path / "both.ts", *parts), "copy.mp4"))) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert [frame.shape for frame in frames] == [(120, 160, 3)] * 24
    assert frames[0][2].mean() > 40 and frames[-1][2].mean() < 25 and frames[-1][60].mean() > 40  # bars above and below


def test_odd_sides_lose_a_pixel(tmp_path: Path) -> None:
    clip = Clip(str(make_clip(tmp_path / "a.mp4", stripes(3))))
    with video_writer(tmp_path / "copy.mov", clip) as writer:
        for frame in clip:
            writer.write(PillowImage.fromarray(frame.image[:119, :159]), frame.time)
    with av.open(str(tmp_path / "copy.mov")) as container:
        assert (container.streams.video[0].width, container.streams.video[0].height) == (158, 118)


def test_frames_of_one_pixel_and_of_almost_the_same_time_are_written(tmp_path: Path) -> None:
    clip = Clip(str(make_clip(tmp_path / "a.mp4", stripes(3))))
    with video_writer(tmp_path / "copy.mp4", clip) as writer:
        for number in range(3):
            writer.write(PillowImage.new("RGB", (1, 1)), number * 2e-6)
    with av.open(str(tmp_path / "copy.mp4")) as container:
        frames = list(container.decode(video=0))
    assert [(frame.width, frame.height) for frame in frames] == [(2, 2)] * 3
    assert len({frame.time for frame in frames}) == 3


def test_nothing_written_leaves_nothing(tmp_path: Path) -> None:
    clip = Clip(str(make_clip(tmp_path / "a.mp4", stripes(3))))
    with pytest.raises(ImageError, match="no frame to write"), video_writer(tmp_path / "copy.mp4", clip):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_an_interruption_keeps_what_is_written(tmp_path: Path) -> None:
    clip = Clip(str(make_clip(tmp_path / "a.mp4", stripes(30))))
    with pytest.raises(KeyboardInterrupt), video_writer(tmp_path / "copy.mp4", clip) as writer:
        for frame in clip:
            writer.write(PillowImage.fromarray(frame.image), frame.time)
            if frame.number == 9:
                raise KeyboardInterrupt
    assert spans(tmp_path / "copy.mp4")["video"][1] == pytest.approx(0.4, abs=0.01)


def test_a_full_disk_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", stripes(30), sound="aac")
    (tmp_path / "copy.mp4").symlink_to("/dev/full")
    with pytest.raises(OutputError, match="cannot be written.*[Nn]o space"):
        copy(path, "copy.mp4")
