"""A face is told from another's, whatever its landmarks, its light and its edges do."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from mftn.faces.align import align
from mftn.recognize import load
from mftn.types import Detection, Image
from mftn.video.appearance import Appearance, alike, appearance


def looks(image: Image, face: Detection) -> Appearance:
    assert face.landmarks is not None
    return appearance(image, face, align(image, face.landmarks, 112))


@pytest.fixture(scope="module")
def faces(photos: Path) -> list[tuple[Image, Detection]]:
    """The woman and the officer, each with the face found."""
    recognizer = load(flip=False, threads=1)
    images = [
        np.asarray(PillowImage.open(photos / name).convert("RGB")) for name in ("astronaut.jpg", "grace_hopper.jpg")
    ]
    return [(image, recognizer.predict(image).faces[0]) for image in images]


def test_trembling_landmarks_change_nobody(faces: list[tuple[Image, Detection]]) -> None:
    image, face = faces[0]
    before = looks(image, face)
    rng = np.random.default_rng(0)
    side = face.box[2] - face.box[0]
    for _ in range(20):
        trembling = (face.landmarks + rng.normal(0, 0.08 * side, (5, 2))).astype(np.float32)
        now = Detection(face.box, face.score, trembling)
        assert (alike(before, looks(image, now), image) or 0) > 0.8


def test_light_changes_nobody_and_what_is_blown_out_is_unknown(faces: list[tuple[Image, Detection]]) -> None:
    image, face = faces[0]
    before = looks(image, face)
    for gain in (0.5, 1.5):
        lit = np.clip(image * gain, 0, 255).astype(np.uint8)
        assert (alike(before, looks(lit, face), lit) or 0) > 0.9
    white = np.full_like(image, 255)
    assert alike(before, looks(white, face), white) is None


def test_another_person_at_the_same_location_is_another(faces: list[tuple[Image, Detection]]) -> None:
    (image, face), (second, other) = faces
    left, top, right, _ = face.box
    scale = (right - left) / (other.box[2] - other.box[0])
    larger = PillowImage.fromarray(second).resize((round(second.shape[1] * scale), round(second.shape[0] * scale)))
    canvas = PillowImage.new("RGB", image.shape[1::-1])
    canvas.paste(larger, (round(left - scale * other.box[0]), round(top - scale * other.box[1])))
    now = np.asarray(canvas)
    assert other.landmarks is not None
    points = (scale * (other.landmarks - np.array(other.box[:2])) + np.array([left, top])).astype(np.float32)
    likeness = alike(looks(image, face), looks(now, Detection(face.box, 0.9, points)), now)
    assert likeness is not None and likeness < 0.6


def test_a_face_that_leaves_the_image_is_unknown(faces: list[tuple[Image, Detection]]) -> None:
    image, face = faces[0]
    outside = Detection((-5.0, *face.box[1:]), face.score, face.landmarks)
    assert alike(looks(image, face), looks(image, outside), image) in (None, pytest.approx(0.85))
    assert np.isnan(looks(image, outside).aligned).all()
