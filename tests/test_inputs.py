"""Every kind of image, alone and in streams."""

import io
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

import mftn
from mftn.errors import ConfigError
from mftn.recognize import READ_AHEAD_IMAGES, Recognizer
from mftn.types import Image, Prediction


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return mftn.load(threads=2)


def same(found: Prediction, expected: Prediction) -> bool:
    return [face.to_dict() for face in found] == [face.to_dict() for face in expected] and len(expected) > 0


def test_a_stream_takes_everything_mixed_in_order(recognizer: Recognizer, photos: Path, astronaut: Image) -> None:
    path = photos / "astronaut.jpg"
    content = path.read_bytes()
    mixed = [path, astronaut, PillowImage.open(path), b"no image", content, None, io.BytesIO(content), str(photos)]
    mixed += [
        bytearray(content),
        "gone.jpg",
        memoryview(content),
        path.open("rb"),
        astronaut[:, :, 0],
        np.zeros((3, 3)),
    ]
    found = list(recognizer.stream(mixed))  # type: ignore[arg-type]
    in_folder = sorted(str(each) for each in photos.iterdir() if each.suffix == ".jpg")
    names = [str(path), "ndarray", "JpegImageFile", "bytes", "bytes", "NoneType", "BytesIO", *in_folder]
    names += ["bytearray", "gone.jpg", "memoryview", "BufferedReader", "ndarray", "ndarray"]
    assert [prediction.source for prediction in found] == names
    errors = [index for index, prediction in enumerate(found) if prediction.error]
    assert errors == [3, 5, names.index("gone.jpg")]
    assert "a value of type NoneType is not an image" in found[5].error
    expected = recognizer.predict(path)
    for index in (0, 1, 2, 4, 6, len(names) - 6, len(names) - 4, len(names) - 3):
        assert same(found[index], expected), names[index]
    assert len(found[-2]) == 1 and len(found[-1]) == 0
    with path.open("rb") as file:
        for one in (astronaut, content, file, PillowImage.open(path)):
            (prediction,) = recognizer.stream(one)
            assert same(prediction, expected)
    batch = list(recognizer.stream(np.stack([astronaut, astronaut[:, ::-1]])))
    assert len(batch) == 2 and same(batch[0], expected)


def test_arrays_of_opencv_are_taken_as_they_are(recognizer: Recognizer, astronaut: Image, photos: Path) -> None:
    opencv = np.ascontiguousarray(astronaut[:, :, ::-1])
    expected = recognizer.predict(astronaut)
    found = recognizer.predict(opencv, bgr=True)
    assert same(found, expected) and not same(recognizer.predict(opencv), expected)
    np.testing.assert_array_equal(np.asarray(found.annotate()), np.asarray(expected.annotate()))
    both = list(recognizer.stream([opencv, photos / "astronaut.jpg", astronaut[:, :, 0]], bgr=True))
    assert same(both[0], expected) and same(both[1], expected) and len(both[2]) == 1
    assert same(mftn.predict(opencv, bgr=True, threads=2), expected)


def test_predict_takes_the_settings_of_load(astronaut: Image) -> None:
    for settings in ({"engine": "onnxruntime"}, {"flip": False}, {"detect_size": 256}):
        found = mftn.predict(astronaut, **settings)  # type: ignore[arg-type]
        assert same(found, mftn.load(**settings).predict(astronaut))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="detect_size is 2"):
        mftn.predict(astronaut, detect_size=2)


def test_a_streams_predictions_show_their_images_and_keep_few(recognizer: Recognizer, astronaut: Image) -> None:
    def arrays() -> Iterator[Image]:
        for number in range(2 * READ_AHEAD_IMAGES):
            yield np.roll(astronaut, number, axis=1)

    for number, prediction in enumerate(recognizer.stream(arrays())):
        assert prediction.kept is not None
        np.testing.assert_array_equal(prediction.kept.image(), np.roll(astronaut, number, axis=1))


def test_values_wait_until_there_is_room(astronaut: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many large arrays there are, few live at once."""
    monkeypatch.setattr("mftn.recognize.THREAD_BYTES", 3 * astronaut.nbytes)
    recognizer, made, living = mftn.load(detector="none", threads=1), 0, list["weakref.ref[Image]"]()

    def arrays() -> Iterator[Image]:
        nonlocal made
        for _ in range(40):
            made += 1
            image = astronaut.copy()
            living.append(weakref.ref(image))
            yield image

    most = 0
    for _ in recognizer.stream(arrays()):
        most = max(most, sum(each() is not None for each in living))
    assert made == 40 and most <= 5
    before = threading.active_count()
    stream = recognizer.stream(arrays())
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert threading.active_count() <= before + 1
