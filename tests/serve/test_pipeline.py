"""Many images through one network: who waits for whom."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from mftn.errors import ImageError, TooManyPixelsError
from mftn.recognize import Recognizer
from mftn.serve.pipeline import LARGE_PIXELS, Pipeline
from mftn.serve.recognizers import Choice, Recognizers
from mftn.serve.uploads import Upload


@pytest.fixture
def batches() -> list[int]:
    return []


@pytest.fixture
def pipeline(batches: list[int]) -> Iterator[Pipeline]:
    made = Pipeline(2, 20_000_000, batches.append)
    yield made
    made.close()


def jpeg(image: PillowImage.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=90)
    return out.getvalue()


def test_small_images_do_not_wait_for_large_ones(
    pipeline: Pipeline, recognizers: Recognizers, astronaut_jpeg: bytes
) -> None:
    recognizer, free = recognizers.get(Choice()), threading.Event()
    held = pipeline.run(free.wait, LARGE_PIXELS + 1)
    large = pipeline.predict(recognizer, Upload("large", jpeg(PillowImage.new("RGB", (4000, 2100)))))
    for number in range(6):
        small = pipeline.predict(recognizer, Upload(f"small {number}", astronaut_jpeg)).result(20)
        assert small.source == f"small {number}" and len(small.faces) == 1
    assert not large.done()
    free.set()
    assert held.result(20) and large.result(20).width == 4000


def test_a_large_image_that_is_cancelled_before_its_turn_is_passed_over(
    pipeline: Pipeline, recognizers: Recognizers, monkeypatch: pytest.MonkeyPatch
) -> None:
    located: list[str] = []
    monkeypatch.setattr(Recognizer, "locate", lambda self, image, name: located.append(name))
    recognizer, free = recognizers.get(Choice()), threading.Event()
    held = pipeline.run(free.wait, LARGE_PIXELS + 1)
    content = jpeg(PillowImage.new("RGB", (4000, 2100)))
    large = [pipeline.predict(recognizer, Upload(f"{number}", content)) for number in range(3)]
    # once this one, which comes last, is refused, the others wait for the thread of the large ones
    assert pipeline.predict(recognizer, Upload("text", b"text")).exception(20)
    cancelled = [future.cancel() for future in large]
    free.set()
    pipeline.close()
    assert held.result() and all(cancelled) and not located


def test_faces_that_are_ready_together_go_through_the_network_together(
    pipeline: Pipeline, recognizers: Recognizers, astronaut_jpeg: bytes, batches: list[int]
) -> None:
    recognizer = recognizers.get(Choice())
    expected = recognizer.predict(astronaut_jpeg).to_dict()
    futures = [pipeline.predict(recognizer, Upload("bytes", astronaut_jpeg)) for _ in range(12)]
    results = [future.result(20).to_dict() for future in futures]
    for got in results:
        (face,), (wanted,) = got["faces"], expected["faces"]
        assert got | {"faces": 0} == expected | {"faces": 0} and face["box"] == wanted["box"]
        assert np.allclose(list(face["probabilities"].values()), list(wanted["probabilities"].values()), atol=1e-5)
    assert sum(batches) == 12 and max(batches) > 1


def test_a_crowd_is_classified_beside_the_others(
    pipeline: Pipeline, recognizers: Recognizers, photos: Path, batches: list[int]
) -> None:
    face = PillowImage.open(photos / "astronaut.jpg").crop((150, 30, 300, 220)).resize((75, 95))
    crowd = PillowImage.new("RGB", (75 * 7, 95 * 6), "grey")
    for number in range(42):
        crowd.paste(face, (number % 7 * 75, number // 7 * 95))
    recognizer, content = recognizers.get(Choice()), jpeg(crowd)
    prediction = pipeline.predict(recognizer, Upload("bytes", content)).result(30)
    assert len(prediction.faces) > 32 and prediction.to_dict() == recognizer.predict(content).to_dict()
    assert not batches


def test_what_cannot_be_read_is_named_and_the_next_is_answered(
    pipeline: Pipeline, recognizers: Recognizers, astronaut_jpeg: bytes
) -> None:
    recognizer = recognizers.get(Choice())
    with pytest.raises(ImageError, match=r"^a\.txt: not an image"):
        pipeline.predict(recognizer, Upload("a.txt", b"text")).result(20)
    with pytest.raises(TooManyPixelsError, match=r"^b\.png: has 25 megapixels, and the limit is 20"):
        out = io.BytesIO()
        PillowImage.new("L", (5000, 5000)).save(out, "PNG")
        pipeline.predict(recognizer, Upload("b.png", out.getvalue())).result(20)
    assert len(pipeline.predict(recognizer, Upload("c.jpg", astronaut_jpeg)).result(20).faces) == 1


def test_what_was_accepted_is_finished_before_the_end(recognizers: Recognizers, astronaut_jpeg: bytes) -> None:
    pipeline = Pipeline(1, 20_000_000, lambda faces: None)
    futures = [pipeline.predict(recognizers.get(Choice()), Upload("a", astronaut_jpeg)) for _ in range(5)]
    pipeline.close()
    assert all(future.done() and len(future.result().faces) == 1 for future in futures)
