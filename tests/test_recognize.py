import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

import mftn
from mftn.cli import main
from mftn.errors import ConfigError, ImageError, ModelError
from mftn.labels import EXPRESSIONS
from mftn.recognize import AHEAD
from mftn.types import Image, Prediction


def test_the_astronaut_smiles(photos: Path) -> None:
    prediction = mftn.predict(photos / "astronaut.jpg")
    (face,) = prediction.faces
    assert (prediction.width, prediction.height) == (512, 512)
    assert face.expression == "happiness" and face.probability > 0.8
    assert tuple(face.probabilities) == EXPRESSIONS
    assert sum(face.probabilities.values()) == pytest.approx(1, abs=1e-5)
    assert "happiness" in repr(prediction) and "happiness" in repr(face)


def test_paths_arrays_and_pillow_images_give_the_same(photos: Path, astronaut: Image) -> None:
    answers = [
        mftn.predict(source).faces[0].probabilities
        for source in (str(photos / "astronaut.jpg"), astronaut, PillowImage.fromarray(astronaut))
    ]
    assert answers[0] == pytest.approx(answers[1], abs=1e-5)
    assert answers[0] == pytest.approx(answers[2], abs=1e-5)


def test_a_turned_photograph_gives_the_same_face(tmp_path: Path, photos: Path) -> None:
    upright = PillowImage.open(photos / "grace_hopper.jpg")
    exif = PillowImage.Exif()
    exif[0x0112] = 6
    upright.rotate(90, expand=True).save(tmp_path / "turned.png", exif=exif)
    first, second = mftn.predict(np.array(upright)).faces[0], mftn.predict(tmp_path / "turned.png").faces[0]
    assert first.box == pytest.approx(second.box, abs=0.5)
    assert first.probabilities == pytest.approx(second.probabilities, abs=1e-3)


def test_a_large_photograph_is_cropped_from_its_own_pixels(photos: Path) -> None:
    small = PillowImage.open(photos / "grace_hopper.jpg")
    large = small.resize((small.width * 8, small.height * 8), PillowImage.Resampling.LANCZOS)
    expected, face = mftn.predict(np.array(small)).faces[0], mftn.predict(large).faces[0]
    assert np.array(face.box) / 8 == pytest.approx(np.array(expected.box), abs=12)
    assert face.expression == expected.expression


def test_no_face_is_a_result() -> None:
    prediction = mftn.predict(np.full((100, 100, 3), 90, np.uint8))
    assert prediction.faces == () and prediction.error is None
    assert "no face" in repr(prediction)


def test_detector_none_takes_the_centre_as_a_face(astronaut: Image) -> None:
    crop = np.ascontiguousarray(astronaut[60:200, 130:320])  # wider than high: the sides are cut
    prediction = mftn.predict(crop, detector="none")
    (face,) = prediction.faces
    assert face.box == (0, 0, 190, 140) and face.score is None and face.landmarks is None
    square = mftn.predict(np.ascontiguousarray(crop[:, 25:165]), detector="none").faces[0]
    assert face.probabilities == pytest.approx(square.probabilities, abs=1e-5)


def test_mtcnn_recognises_too(photos: Path) -> None:
    assert mftn.predict(photos / "astronaut.jpg", detector="mtcnn").faces[0].expression == "happiness"


def test_a_stream_keeps_order_and_goes_on_after_bad_pictures(tmp_path: Path, photos: Path) -> None:
    (tmp_path / "text.jpg").write_text("hello")
    sources = [photos / "grace_hopper.jpg", tmp_path / "text.jpg", tmp_path / "gone.jpg", photos / "astronaut.jpg"]
    predictions = list(mftn.load().stream(sources))
    assert [prediction.source for prediction in predictions] == [str(source) for source in sources]
    assert [bool(prediction.error) for prediction in predictions] == [False, True, True, False]
    with pytest.raises(ImageError, match=r"text\.jpg"):
        mftn.predict(tmp_path / "text.jpg")


def test_results_turn_into_plain_values_and_frames(photos: Path) -> None:
    prediction = mftn.predict(photos / "astronaut.jpg")
    plain = prediction.to_dict()
    assert list(plain) == ["source", "width", "height", "faces", "error", "frame", "time"]
    assert list(plain["faces"][0]) == [
        "box",
        "score",
        "landmarks",
        "expression",
        "probability",
        "probabilities",
        "track",
    ]
    frame = prediction.to_frame()
    assert len(frame) == 1 and frame.loc[0, "expression"] == "happiness"
    empty = Prediction("x", 5, 5, ()).to_frame()
    assert list(empty.columns) == list(frame.columns) and empty["expression"].isna().all()


def test_wrong_names_say_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="mftn_face_ferplus, mftn_mobile_ferplus"):
        mftn.load("mftn_huge")
    with pytest.raises(ConfigError, match="did you mean mtcnn"):
        mftn.load(detector="mtcn")
    with pytest.raises(ConfigError, match="0 to 1"):
        mftn.load(min_score=2)
    with pytest.raises(ConfigError, match="threads is -1"):
        mftn.load(threads=-1)
    (tmp_path / "m.onnx").write_bytes(b"no model")
    with pytest.raises(ModelError, match=r"m\.onnx: not a complete ONNX model"):
        mftn.load(tmp_path / "m.onnx")
    with pytest.raises(ModelError, match="no export of mftn"):
        mftn.load(Path(mftn.__file__).parent / "faces" / "weights" / "yunet.onnx")


@pytest.mark.filterwarnings("ignore")  # what Pillow says of damaged files
def test_no_damaged_file_breaks_the_stream(tmp_path: Path, photos: Path) -> None:
    rng = random.Random(0)
    content = (photos / "astronaut.jpg").read_bytes()
    paths = []
    for number in range(40):
        damaged = bytearray(content)
        if number % 4:
            at = rng.randrange(len(damaged))
            damaged[at : at + 50] = rng.randbytes(50 * (number % 3))
        else:
            del damaged[rng.randrange(len(damaged)) :]
        paths.append(tmp_path / f"{number}.jpg")
        paths[-1].write_bytes(damaged)
    predictions = list(mftn.load(threads=1).stream(paths))
    assert [prediction.source for prediction in predictions] == [str(path) for path in paths]
    failed = [prediction for prediction in predictions if prediction.error]
    assert 10 <= len(failed) < 40
    assert all(prediction.error.startswith(prediction.source) for prediction in failed)


def test_the_command_line_keeps_pillows_warnings_to_itself(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    exif = b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"
    PillowImage.new("RGB", (64, 64)).save(tmp_path / "a.png", exif=exif)
    mftn.predict(tmp_path / "a.png", detector="none")
    assert "PIL" in recwarn.pop().filename
    assert main(["predict", str(tmp_path / "a.png"), "--detector", "none", "--output", str(tmp_path / "a.jsonl")]) == 0
    assert not recwarn.list


def test_a_stream_answers_as_single_pictures_do_in_their_order(tmp_path: Path, photos: Path, astronaut: Image) -> None:
    """More pictures than are read ahead, of differing faces and sizes, with failures between."""
    names = []
    for number in range(3 * AHEAD):
        name = tmp_path / f"{number:03}.png"
        if number % 7 == 3:
            name.write_text("no picture")
        elif number % 5 == 4:
            PillowImage.new("RGB", (64, 40 + number)).save(name)
        else:
            PillowImage.fromarray(astronaut[: 300 + number, : 400 - number]).save(name)
        names.append(str(name))
    found = list(mftn.load().stream(names))
    assert [prediction.source for prediction in found] == names
    for name, prediction in zip(names[:: AHEAD // 2], found[:: AHEAD // 2], strict=True):
        try:
            alone = mftn.predict(name)
        except ImageError as error:
            assert prediction.error == str(error)
            continue
        assert len(prediction.faces) == len(alone.faces)
        for face, expected in zip(prediction.faces, alone.faces, strict=True):
            assert face.box == expected.box
            assert face.probabilities == pytest.approx(expected.probabilities, abs=1e-5)
    assert {bool(p.error) for p in found} == {True, False} and {len(p.faces) for p in found} >= {0, 1}


def test_a_stream_reads_no_further_than_it_must(photos: Path) -> None:
    taken = 0

    def endless() -> Iterator[str]:
        nonlocal taken
        while True:
            taken += 1
            yield str(photos / "astronaut.jpg")

    recognizer = mftn.load(threads=2)
    stream = recognizer.stream(endless())
    for _ in range(3):
        assert next(stream).faces
    stream.close()  # type: ignore[attr-defined]
    assert taken <= 3 + 2 * AHEAD + recognizer.workers
