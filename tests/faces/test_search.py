"""Faces of every size and turn, found by both detectors in images made of two photographs."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as PillowImage
from PIL import ImageDraw

from mftn.errors import ConfigError
from mftn.face_tracker import FaceTracker
from mftn.faces import DETECTORS, Detector, load_detector
from mftn.faces.align import align
from mftn.faces.boxes import overlap, turn_points, turns_upright, without_nested
from mftn.faces.levels import TILE, TILE_OVERLAP, Level, shrink, tiles
from mftn.faces.yunet import YuNet
from mftn.recognize import load
from mftn.types import Image

FACES = {"astronaut.jpg": (180, 71, 270, 176), "grace_hopper.jpg": (195, 115, 345, 330)}


@pytest.fixture(scope="module", params=DETECTORS)
def detector(request: pytest.FixtureRequest) -> Detector:
    return load_detector(request.param)


@pytest.fixture(scope="module")
def images(photos: Path) -> dict[str, PillowImage.Image]:
    return {name: PillowImage.open(photos / name).convert("RGB") for name in FACES}


def with_faces_of(height: float, images: dict[str, PillowImage.Image], size: tuple[int, int], count: int) -> tuple:
    """An image of this size (width, height) with so many faces in a row or in rows, and their boxes."""
    canvas, boxes = PillowImage.new("RGB", size, (118, 118, 118)), []
    columns = round((count * size[0] / size[1]) ** 0.5)
    for index in range(count):
        name = list(FACES)[index % 2]
        left, top, right, bottom = FACES[name]
        scale, margin = height / (bottom - top), (bottom - top) // 3
        part = images[name].crop((left - margin, top - margin, right + margin, bottom + margin))
        part = part.resize((round(part.width * scale), round(part.height * scale)), PillowImage.Resampling.LANCZOS)
        row, column = divmod(index, columns)
        at = np.array([(column + 0.37) * size[0] / columns, (row + 0.3) * size[1] / -(-count // columns)]).astype(int)
        canvas.paste(part, tuple(at.tolist()))
        inner = np.array([margin, margin, right - left + margin, bottom - top + margin]) * scale
        boxes.append(inner + np.tile(at, 2))
    return np.asarray(canvas), boxes


def hits(detector: Detector, image: Image, boxes: list[np.ndarray]) -> int:
    faces = detector.detect(image)
    return sum(any(overlap(face.box, box) > 0.4 for face in faces) for box in boxes)


@pytest.mark.parametrize("width", [350, 960, 1400, 3000])
def test_a_portrait_shows_one_face_however_large(
    detector: Detector, images: dict[str, PillowImage.Image], width: int
) -> None:
    portrait = images["grace_hopper.jpg"].crop((165, 85, 375, 360))
    enlarged = portrait.resize((width, round(width * 275 / 210)), PillowImage.Resampling.BICUBIC)
    assert len(detector.detect(np.asarray(enlarged))) == 1


@pytest.mark.parametrize("hidden", [0.0, 0.15, 0.25])
@pytest.mark.parametrize("height", [140, 320])
def test_a_second_face_partly_behind_a_large_one_is_found(
    detector: Detector, images: dict[str, PillowImage.Image], height: int, hidden: float
) -> None:
    (left, top, right, bottom), behind = FACES["astronaut.jpg"], np.array(FACES["grace_hopper.jpg"])
    head = images["astronaut.jpg"].resize((1536, 1536), PillowImage.Resampling.BICUBIC).crop((400, 150, 950, 650))
    front = np.array([left * 3 - 400, top * 3 - 150, right * 3 - 400, bottom * 3 - 150])
    scale = height / (behind[3] - behind[1])
    other = images["grace_hopper.jpg"]
    other = other.resize((round(other.width * scale), round(other.height * scale)), PillowImage.Resampling.BICUBIC)
    canvas = PillowImage.new("RGB", (1400, 900), (118, 118, 118))
    behind = behind * scale
    at = (round(200 + front[2] - hidden * (behind[2] - behind[0]) - behind[0]), round(350 - behind[1]))
    canvas.paste(other, at)
    mask = PillowImage.new("L", head.size, 0)
    ImageDraw.Draw(mask).ellipse(tuple((front + np.array([-20, -90, 20, 30])).tolist()), fill=255)
    canvas.paste(head, (200, 250), mask)
    boxes = [front + np.array([200, 250, 200, 250]), behind + np.tile(at, 2)]
    assert hits(detector, np.asarray(canvas), boxes) == 2


def test_a_feature_is_nested_and_a_neighbour_is_not() -> None:
    face, teeth, neighbour, twin = (0, 0, 100, 140), (30, 90, 60, 115), (80, 20, 150, 120), (10, 5, 105, 140)
    kept = without_nested(np.array([face, teeth, neighbour, twin], np.float32))
    assert kept.tolist() == [True, False, True, True]
    assert without_nested(np.array([teeth, face], np.float32)).all()  # nothing goes for the sake of a worse box
    assert without_nested(np.empty((0, 4), np.float32)).tolist() == []


@pytest.mark.parametrize("size", [(3600, 1600), (9000, 500)])
def test_faces_of_60_pixels_in_large_images(
    detector: Detector, images: dict[str, PillowImage.Image], size: tuple[int, int]
) -> None:
    image, boxes = with_faces_of(60, images, size, 12)
    assert hits(detector, image, boxes) == 12
    assert len(detector.detect(image)) == 12  # once each, though tiles overlap


@pytest.mark.parametrize("height", [130, 400, 900])
def test_faces_larger_than_what_tiles_share(images: dict[str, PillowImage.Image], height: int) -> None:
    image, boxes = with_faces_of(height, images, (4000, 1500), 4 if height < 500 else 2)
    detector = load_detector()
    assert hits(detector, image, boxes) == len(boxes) == len(detector.detect(image))


def test_detect_size_limits_the_search(images: dict[str, PillowImage.Image]) -> None:
    image, boxes = with_faces_of(60, images, (3600, 800), 6)
    assert hits(load_detector(detect_size=960), image, boxes) == 0
    assert hits(load_detector(detect_size=3600), image, boxes) == 6
    assert len(load(detect_size=3600).predict(image).faces) == 6
    with pytest.raises(ConfigError, match="detect_size is 5; it must be at least 64"):
        load_detector(detect_size=5)


@given(st.integers(1, 3000), st.integers(1, 3000))
def test_tiles_cover_an_image_and_overlap(height: int, width: int) -> None:
    image = np.broadcast_to(np.uint8(0), (height, width, 3))
    parts = tiles(Level(image, np.zeros(2, np.float32), np.ones(2, np.float32)))
    for axis, length in ((0, width), (1, height)):
        starts = [int(part.corner[axis]) for part in parts]
        ends = [start + part.image.shape[1 - axis] for start, part in zip(starts, parts, strict=True)]
        spans = sorted(set(zip(starts, ends, strict=True)))
        assert spans[0][0] == 0 and spans[-1][1] == length
        assert all(end - start <= TILE for start, end in spans)
        assert all(first[1] - second[0] >= TILE_OVERLAP for first, second in pairwise(spans))


@pytest.mark.parametrize("factor", [1, 2, 5, 70])
def test_shrinking_in_bands_agrees_with_pillow(astronaut: Image, factor: int) -> None:
    image = astronaut[:333, :501]
    small = shrink(image, factor, lambda work, items: [work(item) for item in items])
    np.testing.assert_array_equal(small, np.asarray(PillowImage.fromarray(image).reduce(factor)))


@pytest.mark.parametrize("turns", [1, 2, 3])
@pytest.mark.parametrize("name", FACES)
def test_turned_photographs_give_the_upright_faces_landmarks(
    detector: Detector, photos: Path, name: str, turns: int
) -> None:
    image = np.array(PillowImage.open(photos / name).convert("RGB"))
    upright = detector.detect(image)[0]
    turned = np.ascontiguousarray(np.rot90(image, turns))
    (face,) = detector.detect(turned)
    width = np.linalg.norm(upright.landmarks[1] - upright.landmarks[0])
    there = turn_points(upright.landmarks, -turns % 4, turned.shape)
    assert np.linalg.norm(face.landmarks - there, axis=1).mean() < 0.15 * width
    left, top, right, bottom = face.box
    assert left < right and top < bottom and (face.landmarks > (left, top)).all()
    assert turns_upright(upright) == 0 and turns_upright(face) == -turns % 4
    crops = [align(pixels, each.landmarks, 96).astype(int) for pixels, each in ((image, upright), (turned, face))]
    difference = np.abs(crops[0] - crops[1]).mean()  # alignment turns the face upright
    assert difference < 0.6 * np.abs(crops[0] - crops[1][::-1]).mean()
    assert difference < 0.7 * np.abs(crops[0] - crops[1][:, ::-1]).mean()


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_expressions_do_not_depend_on_the_turn(photos: Path, turns: int) -> None:
    recognizer = load()
    for name in FACES:
        image = np.array(PillowImage.open(photos / name).convert("RGB"))
        (upright,) = recognizer.predict(image).faces
        (face,) = recognizer.predict(np.ascontiguousarray(np.rot90(image, turns))).faces
        assert face.expression == upright.expression


def test_one_of_two_faces_may_be_upside_down(photos: Path) -> None:
    hopper = np.array(PillowImage.open(photos / "grace_hopper.jpg").convert("RGB"))[60:400, 100:440]
    faces = load_detector().detect(np.concatenate([hopper, hopper[::-1, ::-1]], axis=1))
    assert sorted(turns_upright(face) for face in faces) == [0, 2]


def test_images_without_a_face_stay_without_one_when_turned(detector: Detector) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (700, 500, 3), dtype=np.uint8)
    assert detector.detect(noise) == []


def test_a_lying_face_is_followed_at_and_between_detections(photos: Path) -> None:
    image = np.rot90(np.array(PillowImage.open(photos / "grace_hopper.jpg").convert("RGB")))
    tracker = FaceTracker(load(), detect_every=3)
    for number in range(5):
        (face,) = tracker.update(np.ascontiguousarray(image[number * 3 :]), number / 25)
        assert face.track == 1 and turns_upright(face) == 3


def test_yunet_runs_once_on_a_small_size() -> None:
    assert len(YuNet(detect_size=160)._sides(1000)) == 1
