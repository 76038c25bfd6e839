"""Clips are made from the public-domain photographs by PyAV."""

import json
import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image as PillowImage

from mftn.cli import main
from mftn.errors import ImageError
from mftn.faces.boxes import overlap
from mftn.recognize import load
from mftn.track import FaceTracker
from mftn.video import Clip, video_writer


def make_clip(
    path: Path, pictures: Sequence[PillowImage.Image], milliseconds: Sequence[int], sound: bool = False
) -> Path:
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height = pictures[0].size
        stream.pix_fmt, stream.codec_context.time_base = "yuv420p", Fraction(1, 1000)
        stream.options = {"g": "10"}
        voice = out.add_stream("aac", rate=8000) if sound else None
        for picture, moment in zip(pictures, milliseconds, strict=True):
            frame = av.VideoFrame.from_image(picture)
            frame.time_base, frame.pts = Fraction(1, 1000), moment
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        if voice:
            for start in range(0, 8 * milliseconds[-1], 1024):
                wave = np.sin((np.arange(1024) + start) / 5).astype(np.float32)[None] / 10
                frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
                frame.sample_rate, frame.pts = 8000, start
                out.mux(voice.encode(frame))
            out.mux(voice.encode(None))
    return path


@pytest.fixture(scope="module")
def two_people(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two persons, of whom one moves, 24 frames at a rate that changes, with sound."""
    first = PillowImage.open(photos / "astronaut.jpg").convert("RGB").resize((320, 320))
    second = PillowImage.open(photos / "grace_hopper.jpg").convert("RGB")
    second = second.resize((300, round(300 * second.height / second.width)))
    pictures = []
    for number in range(24):
        picture = PillowImage.new("RGB", (720, 400), (60, 70, 80))
        picture.paste(first, (5 + 3 * number, 40))
        picture.paste(second, (410, 10))
        pictures.append(picture)
    moments = [40 * n if n < 12 else 480 + 100 * (n - 12) for n in range(24)]
    return make_clip(tmp_path_factory.mktemp("clips") / "two.mp4", pictures, moments, sound=True)


def test_frames_come_at_their_own_times(two_people: Path) -> None:
    clip = Clip(str(two_people))
    frames = list(clip)
    assert clip.frames == len(frames) == 24 and clip.damaged == 0
    assert [f.number for f in frames] == list(range(24)) and frames[0].image.shape == (400, 720, 3)
    assert [f.time for f in frames[10:15]] == pytest.approx([0.4, 0.44, 0.48, 0.58, 0.68], abs=2e-3)


def test_start_end_and_every(two_people: Path) -> None:
    assert [f.number for f in Clip(str(two_people), every=10)] == [0, 10, 20]
    assert [f.number for f in Clip(str(two_people), start=0.4, end=0.6)] == [10, 11, 12, 13]


def test_a_turned_clip_is_upright(tmp_path: Path) -> None:
    picture = PillowImage.new("RGB", (64, 48))
    picture.paste((255, 255, 255), (0, 0, 32, 24))
    path = make_clip(tmp_path / "turned.mp4", [picture] * 4, range(0, 160, 40))
    content = bytearray(path.read_bytes())
    matrix = content.index(b"tkhd") + 4 + 4 + 20 + 8 + 8  # ISO 14496-12: version and flags, times and id, reserved
    content[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 48 << 16, 0, 1 << 30)
    path.write_bytes(content)  # a quarter clockwise, as telephones write
    image = next(iter(Clip(str(path)))).image
    assert image.shape == (64, 48, 3)
    assert image[10, 40].min() > 200 and image[10, 8].max() < 60 and image[50, 40].max() < 60


def test_people_keep_their_numbers_between_detections(two_people: Path) -> None:
    recognizer = load()
    looks: list[int] = []
    tracker = FaceTracker(recognizer, detect_every=6)
    for frame in Clip(str(two_people)):
        faces = tracker.update(frame.image, frame.time)
        assert len(faces) == 2
        by_place = sorted(faces, key=lambda face: face.box[0])
        looks.append(by_place[0].track)
        assert [face.expression for face in by_place] == ["happiness", "neutral"]
        if frame.number == 23:
            exact = sorted(recognizer.predict(frame.image).faces, key=lambda face: face.box[0])
            assert all(overlap(a.box, b.box) > 0.7 for a, b in zip(by_place, exact, strict=True))
    assert len(set(looks)) == 1 and tracker.numbers == 2


def test_smoothing_calms_probabilities_and_can_be_off(two_people: Path) -> None:
    recognizer = load()

    def shaking(smooth: float) -> float:
        tracker = FaceTracker(recognizer, detect_every=1, smooth=smooth)
        values = [
            min(tracker.update(frame.image, frame.time), key=lambda face: -face.box[0]).probabilities["neutral"]
            for frame in Clip(str(two_people))
        ]
        return float(np.abs(np.diff(values)).mean())

    assert shaking(0.5) < 0.7 * shaking(0.0)
    tracker = FaceTracker(recognizer, smooth=0.0)
    frame = next(iter(Clip(str(two_people))))
    expected = recognizer.predict(frame.image).faces
    for face, alone in zip(tracker.update(frame.image, 0.0), expected, strict=True):
        assert dict(face.probabilities) == pytest.approx(dict(alone.probabilities), abs=1e-5)


def test_a_track_ends_after_a_second_of_absence(two_people: Path) -> None:
    frame = next(iter(Clip(str(two_people))))
    tracker, nothing = FaceTracker(load()), np.zeros((64, 64, 3), np.uint8)
    first = {face.track for face in tracker.update(frame.image, 0.0)}
    assert tracker.update(nothing, 0.5) == ()
    assert {face.track for face in tracker.update(frame.image, 0.9)} <= first
    assert tracker.update(nothing, 1.0) == ()
    assert first.isdisjoint(face.track for face in tracker.update(frame.image, 2.5))


def test_an_annotated_copy_keeps_times_and_sound(two_people: Path, tmp_path: Path) -> None:
    clip = Clip(str(two_people))
    with video_writer(tmp_path / "copy.mp4", clip) as writer:
        for frame in clip:
            writer.write(PillowImage.fromarray(frame.image), frame.time)
    assert [path.name for path in tmp_path.iterdir()] == ["copy.mp4"]
    with av.open(str(tmp_path / "copy.mp4")) as copy, av.open(str(two_people)) as original:
        times = [[frame.time for frame in source.decode(video=0)] for source in (copy, original)]
    assert times[0] == pytest.approx(times[1], abs=2e-3)
    with av.open(str(tmp_path / "copy.mp4")) as copy, av.open(str(two_people)) as original:
        sounds = [
            np.concatenate([frame.to_ndarray() for frame in source.decode(audio=0)], axis=1)
            for source in (copy, original)
        ]
    np.testing.assert_array_equal(*sounds)


def test_the_command_writes_rows_a_copy_and_a_timeline(two_people: Path, tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    pictures = ["--save-video", str(tmp_path / "copy.mp4"), "--save-timeline", str(tmp_path / "time.png")]
    status = main(["predict", str(two_people), "--output", str(out), "--every", "4", *pictures])
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert status == 0 and [row["frame"] for row in rows] == [0, 4, 8, 12, 16, 20]
    assert rows[1]["time"] == pytest.approx(0.16, abs=2e-3)
    assert {face["track"] for row in rows for face in row["faces"]} == {1, 2}
    assert (tmp_path / "copy.mp4").stat().st_size > 1000
    assert min(PillowImage.open(tmp_path / "time.png").size) > 200


def test_mistakes_are_named(two_people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    for arguments, message in (
        (["nowhere.mp4"], "nowhere.mp4: no such file"),
        ([str(tmp_path / "text.mp4")], "text.mp4: cannot be opened as a video"),
        ([str(two_people), "photo.jpg"], "one video at a time"),
        ([str(two_people), "--every", "0"], "--every is 0"),
        ([str(two_people), "--save-images", "x"], "--save-video"),
        ([str(two_people), "--save-video", "x.txt"], "x.txt: unknown ending"),
    ):
        assert main(["predict", *arguments, "--format", "jsonl"]) == 1
        assert message in capsys.readouterr().err


def test_a_damaged_clip_gives_the_frames_it_has(two_people: Path, tmp_path: Path) -> None:
    clip = Clip(str(two_people))
    pictures = [PillowImage.fromarray(frame.image) for frame in clip]
    whole = make_clip(tmp_path / "whole.mkv", pictures, range(0, 24 * 40, 40)).read_bytes()
    (tmp_path / "cut.mkv").write_bytes(whole[: len(whole) // 2])
    frames = list(Clip(str(tmp_path / "cut.mkv")))
    assert 0 < len(frames) < 24
    np.testing.assert_allclose(frames[0].image, np.asarray(pictures[0]), atol=60)
