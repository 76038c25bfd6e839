"""mftn.track: a video's predictions in Python."""

import csv
import json
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import Image as PillowImage

sys.path.insert(0, str(Path(__file__).parent))
from clips import make_clip, stripes, truncated

import mftn
from mftn.cli import main
from mftn.engines import Calibration, tempered
from mftn.errors import ConfigError, ImageError
from mftn.track_video import TrackedFrames
from mftn.types import Image
from mftn.video import Clip


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory, astronaut: Image) -> Path:
    """The astronaut, moving to the left in 20 frames."""
    images = [PillowImage.fromarray(astronaut[40:280, 100 + 2 * n : 420 + 2 * n]) for n in range(20)]
    return make_clip(tmp_path_factory.mktemp("tracking") / "clip.mp4", images)


def test_a_tracked_video_gives_what_the_command_writes(clip: Path, tmp_path: Path) -> None:
    assert main(["predict", str(clip), "--output", str(tmp_path / "faces.csv"), "--every", "2"]) == 0
    with (tmp_path / "faces.csv").open() as file:
        written = list(csv.DictReader(file))
    flips = mftn.load(flip=True)
    for predictions in (mftn.track(clip, every=2), flips.track(str(clip), every=2)):
        found = [row for prediction in predictions for row in prediction.to_rows()]
        assert len(found) == len(written) == 10
        for row, expected in zip(found, written, strict=True):
            shown = {name: str(row[name]) for name in ("source", "frame", "time", "track", "expression")}
            assert shown == {name: expected[name] for name in shown}
            assert row["p_happiness"] == pytest.approx(float(expected["p_happiness"]), abs=1e-6)


def test_a_videos_probabilities_are_calibrated_like_photographs(clip: Path, tmp_path: Path) -> None:
    found: dict[str, list[list[float]]] = {"general": [], "training": []}
    for calibration in get_args(Calibration):
        out = tmp_path / f"{calibration}.jsonl"
        command = ["predict", str(clip), "--smooth", "0", "--calibration", calibration]
        assert main([*command, "--output", str(out)]) == 0
        written = [json.loads(line)["faces"][0]["probabilities"] for line in out.read_text().splitlines()]
        loaded = mftn.load(calibration=calibration).track(clip, smooth=0)
        tracked = mftn.track(clip, smooth=0, calibration=calibration)
        for row, first, second in zip(written, loaded, tracked, strict=True):
            assert row == pytest.approx(first.faces[0].probabilities, abs=1e-6)
            assert row == pytest.approx(second.faces[0].probabilities, abs=1e-6)
            found[calibration].append(list(first.faces[0].probabilities.values()))
    temperature = mftn.load().engine.spec.general_temperature
    np.testing.assert_allclose(found["general"], tempered(np.array(found["training"]), temperature), atol=1e-5)


def test_predictions_come_while_the_video_is_read_and_show_their_frames(clip: Path) -> None:
    tracked = mftn.track(clip, smooth=0.1, start=0.2)
    first, second = next(tracked), next(tracked)
    assert (first.frame, second.frame) == (5, 6) and first.time == pytest.approx(0.2)
    assert first.faces[0].track == second.faces[0].track == 1
    assert first.kept and second.kept
    assert first.kept.image().shape == (240, 320, 3)
    assert (first.kept.image() != second.kept.image()).any()
    tracked.close()  # type: ignore[attr-defined]
    assert next(tracked, None) is None


def test_images_never_narrow_the_smoothing_window(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recognizer = mftn.load(flip=False, engine="onnxruntime")
    whole = [prediction.to_dict() for prediction in recognizer.track(clip, smooth=0.4)]
    for module in ("mftn.track_video.MAX_HELD_BYTES", "mftn.image_cache.MAX_BYTES"):
        monkeypatch.setattr(module, 3 * 240 * 320 * 3)  # three frames
    narrow = list(recognizer.track(clip, smooth=0.4))
    assert [prediction.to_dict() for prediction in narrow] == whole
    with pytest.raises(ImageError, match="frame 0: its image is no longer in memory; pass it"):
        narrow[0].annotate()
    assert narrow[-1].annotate().size == (320, 240)


def test_frames_too_large_to_be_held_do_not_pile_up(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mftn.track_video.MAX_HELD_BYTES", 240 * 320 * 3 - 1)  # less than one frame
    frames = TrackedFrames(Clip(str(clip), end=0.2), mftn.load(threads=1), smooth=60, keep_images=True)
    assert [len(list(frames.push(frame))) for frame in frames.clip] == [0, 1, 1, 1, 1, 1]


def test_what_is_wrong_with_a_video_is_said(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"gone\.mp4: no such file"):
        mftn.track(tmp_path / "gone.mp4")
    numbers = ({"every": 0}, {"every": 1.5}, {"fps": "5"}, {"start": -1}, {"smooth": 61}, {"detect_every": 0})
    for wrong in (*numbers, {"start": 2, "end": 1}, {"min_score": 2}, {"threads": -1}, {"detect_size": 5}):
        with pytest.raises(ConfigError, match=f"{list(wrong)[-1]} is"):
            mftn.track(clip, **wrong)  # type: ignore[arg-type]
    short = truncated(make_clip(tmp_path / "short.mkv", stripes(80)))
    with pytest.warns(UserWarning, match=r"short\.mkv: the file is cut off"):
        found = list(mftn.track(short))
    assert 20 < len(found) < 80 and not any(len(prediction) for prediction in found)
