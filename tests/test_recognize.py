import io
import random
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage

import mftn
from mftn.cli import main
from mftn.engines import BATCH, find_model
from mftn.errors import ConfigError, ImageError, ModelError
from mftn.faces.align import ARCFACE, align
from mftn.labels import EXPRESSIONS
from mftn.recognize import READ_AHEAD_IMAGES, Recognizer, crop_face
from mftn.sources import Kind, Source
from mftn.types import Detection, Image, Prediction


def test_the_astronaut_smiles(photos: Path) -> None:
    prediction = mftn.predict(photos / "astronaut.jpg")
    (face,) = prediction.faces
    assert (prediction.width, prediction.height) == (512, 512)
    assert face.expression == "happiness" and face.probability > 0.8
    assert tuple(face.probabilities) == EXPRESSIONS
    assert sum(face.probabilities.values()) == pytest.approx(1, abs=1e-5)
    assert "happiness" in repr(prediction) and "happiness" in repr(face)


def test_paths_arrays_and_pillow_images_give_the_same(photos: Path, astronaut: Image) -> None:
    outputs = [
        mftn.predict(source).faces[0].probabilities
        for source in (str(photos / "astronaut.jpg"), astronaut, PillowImage.fromarray(astronaut))
    ]
    assert outputs[0] == pytest.approx(outputs[1], abs=1e-5)
    assert outputs[0] == pytest.approx(outputs[2], abs=1e-5)


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


@pytest.mark.parametrize(
    ("shape", "size", "part"),
    [
        ((40, 60), (40, 40), np.s_[:, 10:50]),
        ((60, 40), (40, 40), np.s_[10:50]),
        ((60, 40), (20, 40), np.s_[20:40]),
        ((40, 90), (40, 10), np.s_[:, 40:50]),
        ((30, 30), (30, 30), np.s_[:, :]),
    ],
)
def test_a_crop_without_landmarks_is_the_centre(
    shape: tuple[int, int], size: tuple[int, int], part: tuple[slice, ...]
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    face = Detection((0, 0, shape[1], shape[0]), None, None)
    crop = crop_face(image, face, size, ARCFACE)
    np.testing.assert_array_equal(crop, image[part])
    smooth = cv2.GaussianBlur(image, (0, 0), 3)
    halved = crop_face(smooth, face, (size[0] // 2, size[1] // 2), ARCFACE)
    expected = cv2.resize(smooth[part], (size[1] // 2, size[0] // 2), interpolation=cv2.INTER_AREA)
    assert np.abs(halved.astype(int) - expected).max() < 6


def test_crops_are_aligned_to_the_models_template(astronaut: Image) -> None:
    recognizer = mftn.load(threads=1)
    (face,) = recognizer.detector.detect(astronaut)
    info = recognizer.engine.spec
    crops = recognizer.crops(astronaut, [face, Detection((0, 0, 512, 512), None, None)])
    np.testing.assert_array_equal(crops[0], align(astronaut, face.landmarks, info.size, info.template))
    whole = PillowImage.fromarray(astronaut).resize(info.size, PillowImage.Resampling.BILINEAR, reducing_gap=3.0)
    np.testing.assert_array_equal(crops[1], np.asarray(whole))
    assert recognizer.crops(astronaut, []).shape == (0, *info.size, 3)


def test_mtcnn_recognises_too(photos: Path) -> None:
    assert mftn.predict(photos / "astronaut.jpg", detector="mtcnn").faces[0].expression == "happiness"


def test_a_stream_keeps_order_and_goes_on_after_bad_images(tmp_path: Path, photos: Path) -> None:
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
    for wrong in (-0.01, 1.01):
        with pytest.raises(ConfigError, match="0 to 1"):
            mftn.load(min_score=wrong)
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


def test_a_stream_predicts_as_single_images_do_in_their_order(tmp_path: Path, photos: Path, astronaut: Image) -> None:
    """More images than are read ahead, of differing faces and sizes, with failures between."""
    names = []
    for number in range(3 * READ_AHEAD_IMAGES):
        name = tmp_path / f"{number:03}.png"
        if number % 7 == 3:
            name.write_text("no image")
        elif number % 5 == 4:
            PillowImage.new("RGB", (64, 40 + number)).save(name)
        else:
            PillowImage.fromarray(astronaut[: 300 + number, : 400 - number]).save(name)
        names.append(str(name))
    found = list(mftn.load().stream(names))
    assert [prediction.source for prediction in found] == names
    for name, prediction in zip(names[:: READ_AHEAD_IMAGES // 2], found[:: READ_AHEAD_IMAGES // 2], strict=True):
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
    assert taken <= 3 + 2 * READ_AHEAD_IMAGES + recognizer.workers


def test_recognizers_say_what_they_are() -> None:
    assert repr(mftn.load(engine="onnxruntime")) == (
        "Recognizer(mftn_mobile_ferplus, detector=YuNet, engine=onnxruntime, flip=True)"
    )
    assert repr(mftn.load("mftn_face_ferplus", engine="openvino", detector="none", flip=False)) == (
        "Recognizer(mftn_face_ferplus, detector=WholeImage, engine=openvino, flip=False)"
    )


def test_settings_reach_the_detector_and_the_threads(astronaut: Image) -> None:
    assert mftn.load(threads=3).workers == 3 and mftn.load().workers >= 1
    mftn.load(min_score=0)
    (face,) = mftn.predict(astronaut).faces
    assert not mftn.predict(astronaut, min_score=1).faces
    assert mftn.predict(astronaut, min_score=face.score - 0.01).faces
    assert not mftn.predict(astronaut, min_score=face.score + 0.01).faces


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("flip", [True, False])
def test_predict_takes_what_load_takes(astronaut: Image, engine: str, flip: bool) -> None:
    found = mftn.predict(astronaut, engine=engine, flip=flip)  # type: ignore[arg-type]
    expected = mftn.load(engine=engine, flip=flip).predict(astronaut)  # type: ignore[arg-type]
    assert found.faces[0].probabilities == pytest.approx(expected.faces[0].probabilities, abs=1e-6)
    assert found.faces[0].probabilities != mftn.predict(astronaut, engine=engine, flip=not flip).faces[0].probabilities  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="no such engine"):
        mftn.predict(astronaut, engine="fastest")  # type: ignore[arg-type]


def test_the_deprecated_name_of_flip_still_works(astronaut: Image) -> None:
    for expected in (True, False):
        with pytest.warns(DeprecationWarning, match="mirror has been renamed: use flip"):
            assert repr(mftn.load(mirror=expected)).endswith(f"flip={expected})")
        with pytest.warns(DeprecationWarning, match="use flip") as caught:
            found = mftn.predict(astronaut, mirror=expected)
        assert caught[0].filename == __file__
        assert found.faces[0].probabilities == mftn.predict(astronaut, flip=expected).faces[0].probabilities


def test_predict_names_its_source(photos: Path) -> None:
    path = photos / "astronaut.jpg"
    content = path.read_bytes()
    sources = [path, str(path), content, io.BytesIO(content), PillowImage.open(path)]
    predictions = [mftn.predict(source, detector="none") for source in sources]
    assert [prediction.source for prediction in predictions] == [str(path)] * 2 + ["bytes", "BytesIO", "JpegImageFile"]
    assert len({str(prediction.to_dict()["faces"]) for prediction in predictions}) == 1


def test_predict_sees_that_the_models_file_is_another(
    tmp_path: Path, astronaut: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = []
    original = mftn.recognize.load
    monkeypatch.setattr("mftn.recognize.load", lambda model, **rest: loaded.append(model) or original(model, **rest))

    def probabilities() -> dict[str, float]:
        return dict(mftn.predict(astronaut, "m.onnx", detector="none", threads=1).faces[0].probabilities)

    for folder, name in (("one", "mftn_face_ferplus"), ("two", "mftn_mobile_ferplus")):
        (tmp_path / folder).mkdir()
        shutil.copy(find_model(name), tmp_path / folder / "m.onnx")
    monkeypatch.chdir(tmp_path / "one")
    first, again = probabilities(), probabilities()
    assert first == again and len(loaded) == 1
    shutil.copy(tmp_path / "two" / "m.onnx", "m.onnx")
    second = probabilities()
    assert second != first
    shutil.copy(find_model("mftn_face_ferplus"), "m.onnx")
    assert probabilities() == first
    monkeypatch.chdir(tmp_path / "two")
    assert probabilities() == second


class Grid:
    """A detector of a given number of faces, that notes how many threads use it at once."""

    def __init__(self, faces: int, seconds: float = 0) -> None:
        self.faces, self.seconds = faces, seconds
        self.lock, self.now, self.most = threading.Lock(), 0, 0

    def detect(self, image: Image) -> list[Detection]:
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(self.seconds)
        with self.lock:
            self.now -= 1
        corner = np.array([[30, 40], [60, 40], [45, 60], [33, 75], [57, 75]], np.float32)
        boxes = [((7 * n) % 300, (11 * n) % 300) for n in range(self.faces)]
        return [Detection((x, y, x + 90, y + 100), 0.9, corner + np.float32([x, y])) for x, y in boxes]


def test_many_faces_are_each_recognised_as_alone(astronaut: Image, tmp_path: Path) -> None:
    """More faces in an image than a network sees at once, whether their crops or the image takes more memory."""
    small, large = tmp_path / "small.png", tmp_path / "large.png"
    PillowImage.fromarray(astronaut).save(small)
    PillowImage.fromarray(np.pad(astronaut, ((0, 1500), (0, 1500), (0, 0)))).save(large)
    engine = mftn.load(engine="onnxruntime").engine
    count = 2 * BATCH + 5
    recognizer = Recognizer(engine, Grid(count), 2)
    predictions = list(recognizer.stream([small, large, small, small, large]))
    assert [len(prediction.faces) for prediction in predictions] == [count] * 5
    assert predictions[1].to_dict()["faces"] == recognizer.predict(large).to_dict()["faces"]
    predictions = [predictions[index] for index in (0, 2, 3)]
    for number in (0, 1, BATCH // 2, BATCH, count - 1):
        (crop,) = Recognizer(engine, Grid(count), 1).crops(astronaut, [Grid(count).detect(astronaut)[number]])
        expected = engine.probabilities(crop[None])[0]
        for prediction in predictions:
            np.testing.assert_allclose(list(prediction.faces[number].probabilities.values()), expected, atol=1e-6)


@pytest.mark.parametrize(("room", "together"), [(0, False), (10**9, True)])
def test_a_stream_takes_no_more_images_at_once_than_it_has_room_for(
    astronaut: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int, together: bool
) -> None:
    monkeypatch.setattr("mftn.recognize.THREAD_BYTES", room)
    PillowImage.fromarray(astronaut).save(tmp_path / "a.png")
    (tmp_path / "text.png").write_text("no image")
    earlier = Source("before", Kind.UNREADABLE, "an earlier failure")
    sources: list[Path | Source] = [earlier, *[tmp_path / "a.png"] * 6, tmp_path / "text.png", earlier]
    sources += [tmp_path / "gone.png", *[tmp_path / "a.png"] * 6]
    detector = Grid(1, 0.05)
    recognizer = Recognizer(mftn.load(engine="onnxruntime").engine, detector, 4)
    predictions = list(recognizer.stream(sources))
    assert [prediction.source for prediction in predictions] == [str(getattr(each, "path", each)) for each in sources]
    assert [len(prediction.faces) for prediction in predictions] == [0, *[1] * 6, 0, 0, 0, *[1] * 6]
    assert [bool(prediction.error) for prediction in predictions] == [
        True,
        *[False] * 6,
        True,
        True,
        True,
        *[False] * 6,
    ]
    assert (detector.most > 1) == together
    stream = recognizer.stream(sources)
    next(stream)
    stream.close()  # type: ignore[attr-defined]


def test_a_detectors_error_ends_a_stream_and_its_threads(astronaut: Image, tmp_path: Path) -> None:
    class Broken:
        def detect(self, image: Image) -> list[Detection]:
            raise ZeroDivisionError

    PillowImage.fromarray(astronaut).save(tmp_path / "a.png")
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError):
        list(Recognizer(mftn.load().engine, Broken(), 2).stream([tmp_path / "a.png"] * 9))
    assert threading.active_count() <= before


def test_a_stream_takes_one_path(photos: Path) -> None:
    recognizer = mftn.load(detector="none", threads=1)
    path = photos / "astronaut.jpg"
    for source in (path, str(path)):
        (prediction,) = recognizer.stream(source)
        assert prediction.source == str(path) and (prediction.width, prediction.height) == (512, 512)


def test_a_failed_source_becomes_a_prediction(tmp_path: Path, photos: Path) -> None:
    earlier = Source("x.jpg", Kind.UNREADABLE, "x.jpg: said before")
    found = list(mftn.load().stream([earlier, tmp_path / "gone", photos / "astronaut.jpg"]))
    assert [prediction.source for prediction in found] == [
        "x.jpg",
        str(tmp_path / "gone"),
        str(photos / "astronaut.jpg"),
    ]
    assert found[0].error == "x.jpg: said before" and len(found[2].faces) == 1
    failed = found[1]
    assert (failed.width, failed.height, failed.faces) == (0, 0, ())
    assert "no such file or folder" in (failed.error or "")


def test_a_prediction_does_not_wait_for_the_next_source(photos: Path) -> None:
    asked = threading.Event()

    def sources() -> Iterator[Path]:
        yield photos / "astronaut.jpg"
        assert asked.wait(30), "the first prediction waits for the second source"
        yield photos / "grace_hopper.jpg"

    stream = mftn.load().stream(sources())
    assert next(stream).source.endswith("astronaut.jpg")
    asked.set()
    assert next(stream).source.endswith("grace_hopper.jpg") and next(stream, None) is None
