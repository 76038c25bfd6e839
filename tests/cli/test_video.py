"""`mftn predict` on videos: rows, copies, timelines, tables, and what it refuses."""

import json
import os
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image as PillowImage

sys.path.insert(0, str(Path(__file__).parents[1]))
from clips import FRAGMENTED, joined, make_clip, spans, stripes, truncated, without_decoder

from mftn.cli import main


@pytest.fixture(scope="module")
def portrait(photos: Path) -> list[PillowImage.Image]:
    """One smiling person who moves a little, 25 images."""
    face = PillowImage.open(photos / "astronaut.jpg").convert("RGB").resize((240, 240))
    images = []
    for number in range(25):
        image = PillowImage.new("RGB", (320, 240), (60, 70, 80))
        image.paste(face, (20 + number, 0))
        images.append(image)
    return images


@pytest.fixture(scope="module")
def clip(portrait: list[PillowImage.Image], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One second with sound."""
    return make_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", portrait, sound="aac")


def rows_of(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_rows_a_copy_and_a_timeline(clip: Path, tmp_path: Path) -> None:
    outputs = ["--save-video", str(tmp_path / "copy.mp4"), "--save-timeline", str(tmp_path / "time.png")]
    assert main(["predict", str(clip), "--output", str(tmp_path / "rows.jsonl"), "--every", "6", *outputs]) == 0
    rows = rows_of(tmp_path / "rows.jsonl")
    assert [row["frame"] for row in rows] == [0, 6, 12, 18, 24]
    assert [row["time"] for row in rows] == pytest.approx([0, 0.24, 0.48, 0.72, 0.96], abs=2e-3)
    assert [[(face["track"], face["expression"]) for face in row["faces"]] for row in rows] == [[(1, "happiness")]] * 5
    assert spans(tmp_path / "copy.mp4")["video"] == pytest.approx((0, 1.2), abs=0.01)
    assert {"video", "audio"} == set(spans(tmp_path / "copy.mp4"))
    assert min(PillowImage.open(tmp_path / "time.png").size) > 200


def test_recordings_joined_give_sane_rows_and_a_whole_copy(portrait: list[PillowImage.Image], tmp_path: Path) -> None:
    part = make_clip(tmp_path / "part.ts", portrait)
    both = joined(tmp_path / "both.ts", part, part)
    assert (
        main(["predict", str(both), "--output", str(tmp_path / "r.jsonl"), "--save-video", str(tmp_path / "c.mp4")])
        == 0
    )
    rows = rows_of(tmp_path / "r.jsonl")
    assert [row["time"] for row in rows] == pytest.approx([0.04 * n for n in range(50)], abs=2e-3)
    for row in rows:
        for face in row["faces"]:
            assert all(0 <= value <= 1 for value in face["probabilities"].values())
            assert sum(face["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    assert spans(tmp_path / "c.mp4")["video"] == pytest.approx((0, 2.0), abs=0.01)


def test_smoothing_does_not_lag_behind_a_cut(portrait: list[PillowImage.Image], photos: Path, tmp_path: Path) -> None:
    other = PillowImage.open(photos / "grace_hopper.jpg").convert("RGB").resize((320, 375)).crop((0, 0, 320, 240))
    path = make_clip(tmp_path / "cut.mp4", portrait[:10] + [other] * 10)
    expressions = {}
    for smooth in ("0", "0.3"):
        out = tmp_path / f"{smooth}.jsonl"
        assert main(["predict", str(path), "--output", str(out), "--smooth", smooth]) == 0
        expressions[smooth] = [(face["track"], face["expression"]) for row in rows_of(out) for face in row["faces"]]
    assert expressions["0"] == expressions["0.3"]
    assert [track for track, _ in expressions["0"]] == [1] * 10 + [2] * 10


def test_the_persons_table_can_be_saved(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", str(clip), "--format", "table", "--output", str(tmp_path / "table.txt")]) == 0
    lines = (tmp_path / "table.txt").read_text().splitlines()
    assert lines[0].split() == ["person", "from", "to", "frames", "expressions"]
    assert lines[1].split()[:6] == ["1", "0.0", "s", "1.0", "s", "25"] and "happiness 100%" in lines[1]
    assert main(["predict", str(clip), "--format", "table", "--every", "12"]) == 0
    assert "happiness 100%" in capsys.readouterr().out


def test_a_copy_shows_the_number_of_each_person(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import ImageDraw

    written: list[str] = []
    draw = ImageDraw.ImageDraw.text
    monkeypatch.setattr(
        ImageDraw.ImageDraw,
        "text",
        lambda self, xy, text, *a, **k: (written.append(text), draw(self, xy, text, *a, **k)),
    )
    outputs = ["--output", str(tmp_path / "r.csv"), "--save-video", str(tmp_path / "c.mp4")]
    assert main(["predict", str(clip), "--every", "12", *outputs]) == 0
    assert sum(text.startswith("1 · happiness ") for text in written) == 3


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [("a.mkv", {}, "of 3.0 s"), ("a.mp4", FRAGMENTED, "in the middle of a frame")],
)
def test_a_cut_off_file_keeps_its_rows_and_fails(
    name: str, options: dict[str, str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = truncated(make_clip(tmp_path / name, stripes(75), options=options))
    assert main(["predict", str(path), "--output", str(tmp_path / "r.jsonl")]) == 1
    error = capsys.readouterr().err
    assert f"{path}: the file is cut off: it ends at 1." in error and said in error
    assert 30 <= len(rows_of(tmp_path / "r.jsonl")) <= 40


def test_a_start_beyond_the_end_is_said(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outputs = ["--output", str(tmp_path / "r.jsonl"), "--save-video", str(tmp_path / "c.mp4")]
    assert main(["predict", str(clip), "--start", "5", *outputs]) == 1
    assert "the start at 5 s is beyond the end of the clip at 1.0 s" in capsys.readouterr().err
    assert not (tmp_path / "c.mp4").exists()


def test_ctrl_c_keeps_every_frame_that_is_done(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mftn.face_tracker import FaceTracker

    update = FaceTracker.update

    def interrupted(self: FaceTracker, image: object, time: float) -> object:
        if time > 0.5:
            raise KeyboardInterrupt
        return update(self, image, time)

    monkeypatch.setattr(FaceTracker, "update", interrupted)
    outputs = ["--output", str(tmp_path / "r.jsonl"), "--save-video", str(tmp_path / "c.mp4")]
    assert main(["predict", str(clip), *outputs]) == 130
    assert [row["frame"] for row in rows_of(tmp_path / "r.jsonl")] == list(range(13))
    assert spans(tmp_path / "c.mp4")["video"][1] == pytest.approx(0.52, abs=0.01)
    assert "interrupted after 13 frames, kept" in capsys.readouterr().err


def test_names_with_a_colon_are_files(
    portrait: list[PillowImage.Image], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_clip(tmp_path / "2026-11-28T12:30:00.mp4", portrait[:5], sound="mp3", samples=44100)
    options = ["--every", "2", "--engine", "onnxruntime", "--format", "jsonl"]
    assert main(["predict", "2026-11-28T12:30:00.mp4", *options, "-o", "a.jsonl", "--save-video", "12:30:00.mp4"]) == 0
    with av.open(str(tmp_path / "12:30:00.mp4")) as copy:
        assert copy.streams.audio[0].codec_context.name.startswith("mp3")  # the clip's own sound
    Path("12:30:00.mp4").rename("12:30:00_faces.mp4")
    assert main(["predict", ".", *options, "-o", "b.jsonl"]) == 0  # the copy is known as such
    for name in ("a.jsonl", "b.jsonl"):
        assert [(row["source"], row["frame"]) for row in rows_of(Path(name))] == [
            ("2026-11-28T12:30:00.mp4", frame) for frame in (0, 2, 4)
        ]


@pytest.mark.parametrize("option", ["--save-video", "--save-timeline"])
def test_a_source_is_never_replaced(
    option: str, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "clip.mp4"
    source.write_bytes(clip.read_bytes())
    suffix = ".mp4" if option == "--save-video" else ".png"
    os.link(source, tmp_path / f"hard{suffix}")
    (tmp_path / f"soft{suffix}").symlink_to(source)
    monkeypatch.chdir(tmp_path)
    for name in (
        f"hard{suffix}",
        f"soft{suffix}",
        *(["clip.mp4", "./../" + tmp_path.name + "/clip.mp4"] * (suffix == ".mp4")),
    ):
        assert main(["predict", "clip.mp4", "--overwrite", option, name, "--format", "jsonl"]) == 2
        assert "is a source" in capsys.readouterr().err
    assert source.read_bytes() == clip.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--every", "0"], "--every is 0"),
        (["--detect-every", "0"], "--detect-every is 0"),
        (["--smooth", "-1"], "--smooth is -1"),
        (["--smooth", "nan"], "--smooth is nan"),
        (["--smooth", "1e9"], "--smooth is 1e+09"),
        (["--start", "-1"], "--start is -1"),
        (["--start", "inf"], "--start is inf"),
        (["--start", "2", "--end", "1"], "--end is 1"),
        (["--save-images", "x"], "--save-images applies to images only"),
        (["--save-video", "x.txt"], "x.txt: unknown suffix"),
        (["--save-timeline", "x.txt"], "x.txt: unknown suffix"),
    ],
)
def test_wrong_usage_is_refused_before_any_work(
    arguments: list[str], message: str, clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(clip), *arguments, "--format", "jsonl"]) == 2
    captured = capsys.readouterr()
    assert message in captured.err and captured.out == ""


@pytest.mark.parametrize("option", [["--smooth", "0.5"], ["--every", "2"], ["--save-video", "x.mp4"]])
def test_options_of_videos_are_refused_with_photographs(
    option: list[str], photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(photos / "astronaut.jpg"), *option]) == 2
    assert f"{option[0]} applies to videos only" in capsys.readouterr().err


def test_what_is_no_video_is_named(tmp_path: Path, clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    with av.open(str(tmp_path / "sound.mp4"), "w") as out:
        voice = out.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        for plane in frame.planes:  # it holds arbitrary memory, which the encoder may refuse
            plane.update(bytes(plane.buffer_size))
        out.mux(voice.encode(frame))
        out.mux(voice.encode(None))
    for sources, message in (
        (["nowhere.mp4"], "nowhere.mp4: no such file"),
        ([str(tmp_path / "text.mp4")], "text.mp4: cannot be opened as a video"),
        ([str(tmp_path / "sound.mp4")], "sound.mp4: contains no video"),
        ([str(without_decoder(clip))], "clip.mp4: its codec cannot be decoded; convert it to H.264"),
        ([str(clip), "photo.jpg"], "photo.jpg: no such file"),
    ):
        assert main(["predict", *sources, "--format", "jsonl"]) in (1, 2)
        assert message in capsys.readouterr().err


def test_videos_and_images_in_one_command(
    clip: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    films = tmp_path / "films"
    films.mkdir()
    for name in ("a.mp4", "c.mp4", "live.MOV", "b.partial.mp4"):
        (films / name).write_bytes(clip.read_bytes())
    (films / "b.mp4").write_text("no video")
    (films / "live.jpg").write_bytes((photos / "astronaut.jpg").read_bytes())
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.mp4").write_bytes(clip.read_bytes())
    sources = [str(films), str(photos / "grace_hopper.jpg"), str(tmp_path / "other" / "*.mp4")]
    folders = ["--save-video", str(films / "copies"), "--save-timeline", str(tmp_path / "lines")]
    command = ["predict", *sources, "--every", "12", "--output", str(tmp_path / "all.jsonl"), *folders]
    assert main(command) == 1
    error = capsys.readouterr().err
    assert "b.mp4: cannot be opened as a video" in error and "1 of 4 videos failed" in error
    assert "not read: 1 clip of a live photo" in error
    rows = rows_of(tmp_path / "all.jsonl")
    assert [(Path(str(row["source"])).name, row["frame"], row["error"] is None) for row in rows] == [
        *(("a.mp4", frame, True) for frame in (0, 12, 24)),
        ("b.mp4", None, False),
        *(("c.mp4", frame, True) for frame in (0, 12, 24)),
        ("live.jpg", None, True),
        ("grace_hopper.jpg", None, True),
        *(("a.mp4", frame, True) for frame in (0, 12, 24)),
    ]
    assert sorted(path.name for path in (films / "copies").iterdir()) == ["a-2_faces.mp4", "a_faces.mp4", "c_faces.mp4"]
    assert len(list((tmp_path / "lines").iterdir())) == 3
    assert main(command) == 2
    assert "already exists; add --overwrite" in capsys.readouterr().err
    assert main([*command[:2], "--every", "12", "--format", "table", "--save-images", str(tmp_path / "faces")]) == 1
    table = capsys.readouterr().out
    assert table.index("live.jpg") < table.index("a.mp4") < table.index("b.mp4") and "happiness 100%" in table


@pytest.fixture
def two_clips(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A command that resumes, in a working folder with two clips of two seen frames each."""
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    for name in ("a.mp4", "b.mp4"):
        Path("in", name).write_bytes(clip.read_bytes())
    options = ["--every", "15", "--engine", "onnxruntime", "--save-video", "out", "--save-timeline", "lines"]
    return ["predict", "in", *options, "-o", "faces.csv", "--resume"]


def fail(*arguments: object) -> None:
    raise SystemError


@pytest.mark.parametrize("mine", ["out/b_faces.mp4", "lines/b_timeline.png", "faces.csv.meta.json"])
def test_resuming_replaces_no_file_of_the_users(
    two_clips: list[str], mine: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    second = Path("in/b.mp4").rename("b.mp4")
    with monkeypatch.context() as patch:
        patch.setattr("mftn.journal.Journal.write_output", fail)
        with pytest.raises(SystemError):
            main(two_clips)  # killed before any table was written
    second.rename("in/b.mp4")
    Path(mine).write_text("my own")
    assert main(two_clips) == 2
    assert f"{mine}: already exists, and does not belong to the run that --resume continues" in capsys.readouterr().err
    assert Path(mine).read_text() == "my own"
    Path(mine).unlink()
    assert main(two_clips) == 0
    assert {path.name for path in Path("out").iterdir()} == {"a_faces.mp4", "b_faces.mp4"}


@pytest.mark.parametrize("overwrite", [False, True])
def test_resuming_replaces_what_the_run_before_had_written_or_might_replace(
    two_clips: list[str], overwrite: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = two_clips[:-1]
    lines, copies = Path("lines"), Path("out")
    if overwrite:
        lines.mkdir()
        (lines / "b_timeline.png").write_text("an older one")
        Path("faces.csv").write_text("an older one")
        first += ["--overwrite"]
    with monkeypatch.context() as patch:
        patch.setattr("mftn.journal.Journal.end", fail)
        with pytest.raises(SystemError):
            main(first)  # killed between the files of the first clip and its end
    assert (lines / "a_timeline.png").exists() and (copies / "a_faces.mp4").exists()
    (copies / "a_faces.mp4").write_bytes(b"")  # known by the journal alone
    assert main(two_clips) == 0
    assert min((copies / "a_faces.mp4").stat().st_size, (lines / "b_timeline.png").stat().st_size) > 1000
    assert main(two_clips) == 0  # nothing is left to do
