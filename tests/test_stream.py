"""Many images in one stream: order, failures, memory and threads."""

import io
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

import mftn
from mftn.engines import BATCH
from mftn.errors import ImageError
from mftn.recognize import READ_AHEAD_IMAGES, Recognizer
from mftn.sources import Kind, Source
from mftn.types import Detection, Image


def test_a_stream_keeps_order_and_goes_on_after_bad_images(tmp_path: Path, photos: Path) -> None:
    (tmp_path / "text.jpg").write_text("hello")
    sources = [photos / "grace_hopper.jpg", tmp_path / "text.jpg", tmp_path / "gone.jpg", photos / "astronaut.jpg"]
    predictions = list(mftn.load().stream(sources))
    assert [prediction.source for prediction in predictions] == [str(source) for source in sources]
    assert [bool(prediction.error) for prediction in predictions] == [False, True, True, False]
    with pytest.raises(ImageError, match=r"text\.jpg"):
        mftn.predict(tmp_path / "text.jpg")


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
        alone = Recognizer(engine, Grid(count), 1)
        (crop,) = alone.crops(astronaut, [Grid(count).detect(astronaut)[number]])
        expected = alone.probabilities(crop[None])[0]
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
    engine = mftn.load().engine  # may start threads of its own
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError):
        list(Recognizer(engine, Broken(), 2).stream([tmp_path / "a.png"] * 9))
    deadline = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)  # the thread that reads ahead ends at its next item
    assert threading.active_count() <= before


def test_an_error_follows_the_predictions_of_the_images_before_it() -> None:
    class Detector:
        def detect(self, image: Image) -> list[Detection]:
            if image[0, 0, 0] == 5:
                raise ZeroDivisionError
            return []

    def images(last: int) -> Iterator[Image]:
        yield from (np.full((8, 8), number, np.uint8) for number in range(last))
        raise KeyError("gone")

    for last, error in ((4, KeyError), (9, ZeroDivisionError)):
        found = []
        with pytest.raises(error):
            found.extend(Recognizer(mftn.load().engine, Detector(), 2).stream(images(last)))
        assert len(found) == min(last, 5)


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


class SlowFile(io.BytesIO):
    """A file that lets other threads run between its operations."""

    def seek(self, *arguments: int) -> int:
        position = super().seek(*arguments)
        time.sleep(0.005)
        return position

    def read(self, size: int | None = -1) -> bytes:
        time.sleep(0.005)
        return super().read(size)


@pytest.mark.parametrize("opened", [False, True])
def test_a_file_or_pillow_image_given_several_times_is_read_by_one_thread_at_a_time(photos: Path, opened: bool) -> None:
    recognizer, file = mftn.load(threads=4), SlowFile((photos / "astronaut.jpg").read_bytes())
    found = list(recognizer.stream([PillowImage.open(file) if opened else file] * 8))
    assert [prediction.error for prediction in found] == [None] * 8
    assert len({str(prediction.to_dict()) for prediction in found}) == 1 and len(found[0]) == 1
