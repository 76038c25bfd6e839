"""Persons keep their numbers at any rate, and lose them at cuts only."""

from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage
from PIL import ImageFilter

from mftn.face_tracker import FaceTracker
from mftn.faces.boxes import overlap
from mftn.recognize import Recognizer, load
from mftn.types import Face, Image

GROUND = (60, 70, 80)


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return load(flip=False, threads=1)


@pytest.fixture(scope="module")
def woman(photos: Path) -> PillowImage.Image:
    return PillowImage.open(photos / "astronaut.jpg").convert("RGB").resize((320, 320))


@pytest.fixture(scope="module")
def other(photos: Path) -> PillowImage.Image:
    image = PillowImage.open(photos / "grace_hopper.jpg").convert("RGB")
    return image.resize((300, round(300 * image.height / image.width)))


def frame(*parts: tuple[PillowImage.Image, int, int], size: tuple[int, int] = (720, 400)) -> Image:
    image = PillowImage.new("RGB", size, GROUND)
    for part, x, y in parts:
        image.paste(part, (x, y))
    return np.asarray(image)


def follow(tracker: FaceTracker, images: Iterable[Image], step: float) -> list[tuple[Face, ...]]:
    return [tracker.update(image, number * step) for number, image in enumerate(images)]


def tracks(seen: Iterable[tuple[Face, ...]]) -> list[set[int | None]]:
    return [{face.track for face in faces} for faces in seen]


def test_people_keep_their_numbers_between_detections(
    recognizer: Recognizer, woman: PillowImage.Image, other: PillowImage.Image
) -> None:
    tracker = FaceTracker(recognizer, detect_every=6, smooth=0.0)
    images = [frame((woman, 5 + 3 * number, 40), (other, 410, 10)) for number in range(14)]
    seen = follow(tracker, images, 0.04)
    assert tracks(seen) == [{1, 2}] * 14
    moving = [min(faces, key=lambda face: face.box[0]) for faces in seen]
    assert len({face.track for face in moving}) == 1 and {face.expression for face in moving} == {"happiness"}
    exact = min(recognizer.predict(images[-1]).faces, key=lambda face: face.box[0])
    assert overlap(moving[-1].box, exact.box) > 0.7


def test_faces_come_from_the_surest_to_the_least_sure(
    recognizer: Recognizer, woman: PillowImage.Image, other: PillowImage.Image
) -> None:
    tracker = FaceTracker(recognizer, detect_every=20, smooth=0.0)
    images = [
        frame((woman.rotate(3 * min(number, 10)), 5, 40), (other.rotate(3 * max(10 - number, 0)), 410, 10))
        for number in range(20)
    ]
    seen = follow(tracker, images, 0.02)
    assert tracks(seen) == [{1, 2}] * 20
    scores = [[face.score or 0.0 for face in faces] for faces in seen]
    assert scores == [sorted(each, reverse=True) for each in scores]
    assert {faces[0].track for faces in seen} == {1, 2}  # the surest is not always the same person


@pytest.mark.parametrize("step", [0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("detect_every", [1, 5])
def test_at_sparse_sampling_one_person_is_one_track(
    recognizer: Recognizer, woman: PillowImage.Image, other: PillowImage.Image, step: float, detect_every: int
) -> None:
    tracker = FaceTracker(recognizer, detect_every)
    places = [(20, 40), (110, 60), (40, 20), (90, 70), (10, 30), (60, 60)]  # up to a face's side from frame to frame
    seen = follow(tracker, [frame((woman, x, y), (other, 410, 10)) for x, y in places], step)
    assert tracks(seen) == [{1, 2}] * 6


def test_a_face_that_jumps_out_of_the_searched_surroundings_is_found_at_once(
    recognizer: Recognizer, woman: PillowImage.Image
) -> None:
    seen = follow(FaceTracker(recognizer, 100), [frame((woman, x, 40)) for x in (0, 4, 8, 380, 384)], 0.04)
    assert [len(faces) for faces in seen] == [1] * 5


def test_a_cut_from_one_person_to_another_starts_a_new_track(
    recognizer: Recognizer, woman: PillowImage.Image, other: PillowImage.Image
) -> None:
    tracker = FaceTracker(recognizer, smooth=0.5)
    shots = [frame((woman, 200, 40))] * 6 + [frame((other.resize((300, 380)), 180, 0))] * 6
    seen = follow(tracker, shots, 0.04)
    assert tracks(seen) == [{1}] * 6 + [{2}] * 6 and tracker.cuts == 1
    alone = recognizer.predict(shots[-1]).faces[0]
    for faces in seen[6:]:
        assert dict(faces[0].probabilities) == pytest.approx(dict(alone.probabilities), abs=0.05)


def test_faces_that_change_in_a_still_scene_are_other_persons(
    recognizer: Recognizer, woman: PillowImage.Image, other: PillowImage.Image
) -> None:
    rng = np.random.default_rng(0)
    room = PillowImage.fromarray(rng.integers(0, 255, (12, 20, 3), np.uint8)).resize((720, 400))
    heads = woman.crop((95, 20, 195, 145)), other.crop((100, 60, 240, 235)).resize((100, 125))
    shots = []
    for number in range(10):
        image = room.copy()
        image.paste(heads[number // 5], (300, 130))
        shots.append(np.asarray(image))
    seen = follow(FaceTracker(recognizer), shots, 0.04)
    assert tracks(seen) == [{1}] * 5 + [{2}] * 5


BRIGHTNESS: dict[str, Callable[[float], float]] = {
    "flash": lambda phase: 3.0 if phase == 0.5 else 1.0,
    "fade out and in": lambda phase: abs(1 - 2 * phase),
    "sunrise": lambda phase: 0.4 + 1.2 * phase,
}


@pytest.mark.parametrize("gain", BRIGHTNESS.values(), ids=BRIGHTNESS)
def test_light_is_no_cut(recognizer: Recognizer, woman: PillowImage.Image, gain: Callable[[float], float]) -> None:
    still = frame((woman, 200, 40)).astype(float)
    images = [np.clip(still * gain(number / 10), 0, 255).astype(np.uint8) for number in range(11)]
    tracker = FaceTracker(recognizer)
    assert set().union(*tracks(follow(tracker, images, 0.04))) == {1} and tracker.cuts == 0


@pytest.mark.parametrize(("detect_every", "step", "found_at"), [(5, 0.04, 5), (100, 0.5, 2)])
def test_a_person_who_enters_is_found_at_the_next_detection(
    recognizer: Recognizer,
    woman: PillowImage.Image,
    other: PillowImage.Image,
    detect_every: int,
    step: float,
    found_at: int,
) -> None:
    images = [frame((woman, 5, 40))] * 2 + [frame((woman, 5, 40), (other, 410, 10))] * 5
    seen = follow(FaceTracker(recognizer, detect_every), images, step)
    assert tracks(seen) == [{1}] * found_at + [{1, 2}] * (7 - found_at)


def test_whole_frames_are_searched_at_the_size_that_was_chosen(
    recognizer: Recognizer, woman: PillowImage.Image
) -> None:
    image = frame((woman, 200, 40))
    assert FaceTracker(recognizer).update(image, 0.0)
    assert not FaceTracker(load(flip=False, threads=1, detect_size=64)).update(image, 0.0)


def test_a_camera_that_tilts_is_no_cut(recognizer: Recognizer, woman: PillowImage.Image) -> None:
    tall = frame((woman, 200, 270), size=(720, 800))
    tracker = FaceTracker(recognizer)
    seen = follow(tracker, [tall[y : y + 400] for y in range(0, 300, 60)], 0.04)
    assert tracker.cuts == 0 and tracks(seen) == [{1}] * 5


@pytest.mark.parametrize("pixels", [10, 60])
def test_a_pan_is_no_cut(
    recognizer: Recognizer, woman: PillowImage.Image, other: PillowImage.Image, pixels: int
) -> None:
    wide = np.concatenate([frame((woman, 200, 40), (other, 520, 0), size=(1200, 400))] * 2, axis=1)
    tracker = FaceTracker(recognizer)
    seen = follow(tracker, [wide[:, x : x + 720] for x in range(0, 6 * pixels, pixels)], 0.04)
    assert tracker.cuts == 0 and tracks(seen) == [tracks(seen)[0]] * 6


def test_a_shot_that_comes_back_at_once_keeps_its_persons(
    recognizer: Recognizer, woman: PillowImage.Image, photos: Path
) -> None:
    still = frame((woman, 200, 40))
    insert = np.asarray(PillowImage.open(photos / "grace_hopper.jpg").convert("RGB").resize((720, 900)))[500:900]
    seen = follow(FaceTracker(recognizer), [still] * 3 + [insert] * 2 + [still] * 3, 0.04)
    assert tracks(seen)[-3:] == [{1}] * 3


def test_the_frame_size_may_change(recognizer: Recognizer, woman: PillowImage.Image) -> None:
    still = PillowImage.fromarray(frame((woman, 200, 40)))
    images = [np.asarray(still)] * 3 + [np.asarray(still.resize((1080, 600)))] * 3
    assert tracks(follow(FaceTracker(recognizer, 100), images, 0.04)) == [{1}] * 6


def test_a_track_ends_after_a_second_of_absence(recognizer: Recognizer, woman: PillowImage.Image) -> None:
    def update(tracker: FaceTracker, timestamps: Iterable[float], image: Image) -> set[int | None]:
        return set().union(*({face.track for face in tracker.update(image, timestamp)} for timestamp in timestamps))

    present, nothing = frame((woman, 200, 40)), np.full((400, 720, 3), 60, np.uint8)
    tracker = FaceTracker(recognizer)
    assert update(tracker, np.arange(0, 0.4, 0.1), present) == {1}
    assert update(tracker, np.arange(0.4, 0.9, 0.1), nothing) == set()
    assert update(tracker, np.arange(0.9, 1.2, 0.1), present) == {1}
    assert update(tracker, np.arange(1.2, 2.7, 0.1), nothing) == set()
    assert update(tracker, [2.7], present) == {2}


def test_times_that_fall_do_no_harm(recognizer: Recognizer, woman: PillowImage.Image) -> None:
    tracker = FaceTracker(recognizer, smooth=0.3)
    image = frame((woman, 200, 40))
    for time in (0.0, 0.04, 50.0, 0.0, 0.04, -9.0, float("nan"), 0.0):
        for face in tracker.update(image, time):
            assert all(0 <= value <= 1 for value in face.probabilities.values())
            assert sum(face.probabilities.values()) == pytest.approx(1, abs=1e-5)


def test_smoothing_calms_probabilities_and_can_be_off(recognizer: Recognizer, woman: PillowImage.Image) -> None:
    rng = np.random.default_rng(0)
    still = frame((woman, 200, 40))
    images = [np.clip(still + rng.normal(0, 25, still.shape), 0, 255).astype(np.uint8) for _ in range(10)]

    def shaking(smooth: float) -> float:
        seen = follow(FaceTracker(recognizer, detect_every=1, smooth=smooth), images, 0.04)
        values = [faces[0].probabilities["happiness"] for faces in seen]
        return sum(abs(b - a) for a, b in pairwise(values))

    assert shaking(0.5) < 0.7 * shaking(0.0)
    alone = recognizer.predict(still).faces[0]
    (first,) = FaceTracker(recognizer, smooth=0.0).update(still, 0.0)
    assert dict(first.probabilities) == pytest.approx(dict(alone.probabilities), abs=1e-5)


def test_smoothing_forgets_by_the_time_that_has_passed(recognizer: Recognizer, woman: PillowImage.Image) -> None:
    tracker = FaceTracker(recognizer, smooth=0.3)
    sharp = frame((woman, 200, 40))
    (before,) = tracker.update(frame((woman.filter(ImageFilter.GaussianBlur(3)), 200, 40)), 0.0)
    (after,) = tracker.update(sharp, 0.9)
    (alone,) = recognizer.predict(sharp).faces
    first, second, expected = (face.probabilities["happiness"] for face in (before, after, alone))
    assert before.track == after.track and abs(first - expected) > 0.05
    assert abs(second - expected) < 0.2 * abs(first - expected)
