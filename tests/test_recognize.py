import io
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage

import mftn
from mftn.cli import main
from mftn.engines import find_model, installed_engines, load_engine
from mftn.errors import ConfigError, ModelError
from mftn.faces.align import ARCFACE, align
from mftn.labels import EXPRESSIONS
from mftn.recognize import Recognizer, crop_face
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


def test_results_turn_into_plain_values_and_frames(photos: Path) -> None:
    prediction = mftn.predict(photos / "astronaut.jpg")
    plain = prediction.to_dict()
    assert list(plain) == [
        *("source", "width", "height", "faces", "error", "frame", "time", "annotated", "model", "mftn_version")
    ]
    assert plain["model"] == "mftn_mobile_ferplus"
    assert list(plain["faces"][0]) == [
        "face",
        "box",
        "score",
        "landmarks",
        "expression",
        "probability",
        "probabilities",
        "track",
        "crop",
    ]
    frame = prediction.to_frame()
    assert len(frame) == 1 and frame.loc[0, "expression"] == "happiness"
    empty = Prediction("x", 5, 5, ()).to_frame()
    assert list(empty.columns) == list(frame.columns) and empty["expression"].isna().all()


def test_wrong_names_say_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="mftn_face_ferplus, mftn_mobile_ferplus"):
        mftn.load("mftn_huge")
    with pytest.raises(ModelError, match="neither a model file nor an installed model"):
        mftn.load("x" * 300)
    with pytest.raises(ConfigError, match="did you mean mtcnn"):
        mftn.load(detector="mtcn")
    for wrong in (-0.01, 1.01):
        with pytest.raises(ConfigError, match="at least 0 and at most 1"):
            mftn.load(min_score=wrong)
    with pytest.raises(ConfigError, match="threads is -1"):
        mftn.load(threads=-1)
    wrong_values: list[tuple[str, object, str]] = [
        ("detector", 3, "there are yunet, mtcnn and none"),
        ("engine", None, "there are auto, onnxruntime and openvino"),
        ("precision", "fsat", "did you mean fast"),
        ("calibration", 3, "there are general and training"),
        ("threads", "2", "must be a whole number"),
        ("threads", 1.5, "must be a whole number"),
        ("threads", True, "must be a whole number"),
        ("min_score", "0.5", "must be a number"),
        ("min_score", True, "must be a number"),
        ("detect_size", "64", "must be a number"),
        ("flip", "no", "must be True or False"),
        ("flip", None, "must be True or False"),
    ]
    for name, value, advice in wrong_values:
        with pytest.raises(ConfigError, match=f"{name} is {value!r}; .*{advice}"):
            mftn.load(**{name: value})  # type: ignore[arg-type]
    (tmp_path / "m.onnx").write_bytes(b"no model")
    foreign = Path(mftn.__file__).parent / "faces" / "weights" / "yunet.onnx"
    for engine in installed_engines():
        with pytest.raises(ModelError, match=r"m\.onnx: not a complete ONNX model.*; copy it again, or export"):
            mftn.load(tmp_path / "m.onnx", engine=engine)
        with pytest.raises(ModelError, match=r"yunet\.onnx: .*not exported by mftn.*; copy it again, or export"):
            mftn.load(foreign, engine=engine)
    checkpoint = tmp_path / "best.safetensors"
    checkpoint.write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    with pytest.raises(ModelError, match="is a checkpoint; export it, .*mftn export .*best.safetensors"):
        mftn.load(checkpoint)


def test_the_command_line_keeps_pillows_warnings_to_itself(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    exif = b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"
    PillowImage.new("RGB", (64, 64)).save(tmp_path / "a.png", exif=exif)
    mftn.predict(tmp_path / "a.png", detector="none")
    assert "PIL" in recwarn.pop().filename
    assert main(["predict", str(tmp_path / "a.png"), "--detector", "none", "--output", str(tmp_path / "a.jsonl")]) == 0
    assert not recwarn.list


def test_recognizers_say_what_they_are() -> None:
    assert repr(mftn.load(engine="onnxruntime")) == (
        "Recognizer(model=mftn_mobile_ferplus, detector=yunet, engine=onnxruntime, flip=True)"
    )
    assert repr(mftn.load("mftn_face_ferplus", engine="openvino", detector="none", flip=False)) == (
        "Recognizer(model=mftn_face_ferplus, detector=none, engine=openvino, flip=False)"
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
    sure = mftn.predict(astronaut, engine=engine, flip=flip, calibration="training")  # type: ignore[arg-type]
    assert sure.faces[0].probability > found.faces[0].probability
    expected = mftn.load(engine=engine, flip=flip).predict(astronaut)  # type: ignore[arg-type]
    assert found.faces[0].probabilities == pytest.approx(expected.faces[0].probabilities, abs=1e-6)
    assert found.faces[0].probabilities != mftn.predict(astronaut, engine=engine, flip=not flip).faces[0].probabilities  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="engine is 'fastest'"):
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
    with os.scandir(os.fsencode(photos)) as entries:
        entry = next(entry for entry in entries if os.fsdecode(entry.name) == path.name)
    assert [prediction.source for prediction in mftn.load(detector="none").stream([entry])] == [str(path)]
    sources = [path, str(path), entry, content, io.BytesIO(content), PillowImage.open(path)]
    predictions = [mftn.predict(source, detector="none") for source in sources]
    assert [prediction.source for prediction in predictions] == [str(path)] * 3 + ["bytes", "BytesIO", "JpegImageFile"]
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
    os.utime("m.onnx", ns=(1, 1))  # a file of the same size
    assert probabilities() == first and len(loaded) == 2
    shutil.copy(tmp_path / "two" / "m.onnx", "m.onnx")
    second = probabilities()
    assert second != first
    shutil.copy(find_model("mftn_face_ferplus"), "m.onnx")
    assert probabilities() == first
    monkeypatch.chdir(tmp_path / "two")
    assert probabilities() == second


@pytest.mark.parametrize("model", ["mftn_mobile_ferplus", "mftn_face_ferplus"])
def test_probabilities_for_faces_from_anywhere_are_less_sure(photos: Path, model: str) -> None:
    anywhere, alike = (mftn.load(model, calibration=name) for name in ("general", "training"))
    temperature = anywhere.engine.spec.general_temperature
    assert 1 < temperature < 3
    for photo in sorted(photos.glob("*.jpg")):
        for soft, sure in zip(anywhere.predict(photo), alike.predict(photo), strict=True):
            assert soft.expression == sure.expression and soft.probability < sure.probability
            powers = np.array(list(sure.probabilities.values())) ** (1 / temperature)
            assert list(soft.probabilities.values()) == pytest.approx(powers / powers.sum(), abs=1e-5)


def test_an_unknown_calibration_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"calibration.*did you mean training"):
        mftn.load(calibration="traning")  # type: ignore[arg-type]


def test_probabilities_that_are_no_numbers_are_an_error_of_the_model(astronaut: Image) -> None:
    class Broken:
        name = "onnxruntime"
        spec = load_engine("mftn_face_ferplus").spec

        def probabilities(self, crops: np.ndarray) -> np.ndarray:
            return np.full((len(crops), len(self.spec.labels)), np.nan, np.float32)

    recognizer = Recognizer(Broken(), None)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="mftn_face_ferplus: its probabilities are not finite"):
        recognizer.predict(astronaut)
    with pytest.raises(ModelError, match="mftn_face_ferplus: its probabilities are not finite"):
        list(recognizer.stream([astronaut]))
