"""The geometry of boxes."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.ops import box_iou, nms

from mftn.faces import WholeImage, load_detector
from mftn.faces.boxes import choose_face, detect_near, non_maximum_suppression, overlap, shift
from mftn.types import Detection, Image

edges = st.integers(0, 40)
boxes = st.lists(
    st.tuples(edges, edges, st.integers(1, 30), st.integers(1, 30)).map(
        lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
    ),
    min_size=1,
    max_size=12,
).map(lambda rows: np.array(rows, np.float32))


@given(boxes, boxes)
def test_overlap_agrees_with_torchvision(first: np.ndarray, second: np.ndarray) -> None:
    expected = box_iou(torch.from_numpy(first), torch.from_numpy(second)).numpy()
    np.testing.assert_allclose(overlap(first[:, None], second), expected, atol=1e-6)


def test_overlap_of_single_boxes_and_of_boxes_without_area() -> None:
    assert overlap((0, 0, 2, 2), (1, 0, 3, 2)) == pytest.approx(1 / 3)
    assert overlap((0, 0, 2, 2), (1, 0, 2, 1), over="smaller") == 1
    assert overlap((0, 0, 2, 2), (5, 5, 6, 6)) == overlap((1, 1, 1, 1), (1, 1, 1, 1)) == 0
    assert overlap((3, 3, 1, 1), (0, 0, 4, 4)) == 0  # its edges are swapped


@given(boxes, st.integers(0, 10))
def test_suppression_agrees_with_torchvision(boxes: np.ndarray, tenths: int) -> None:
    scores = np.linspace(0.9, 0.5, len(boxes), dtype=np.float32)[::-1].copy()
    limit = tenths / 10 + 0.003  # no share of these small integers lies exactly there
    expected = nms(torch.from_numpy(boxes), torch.from_numpy(scores), limit).tolist()
    assert non_maximum_suppression(boxes, scores, limit).tolist() == expected
    for most in (0, 1, 3, 100):
        assert non_maximum_suppression(boxes, scores, limit, max_boxes=most).tolist() == expected[:most]


def test_suppression_keeps_the_best_of_overlapping_boxes() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 1, 11, 11], [20, 20, 30, 30], [2, 2, 4, 4]], np.float32)
    scores = np.array([0.8, 0.9, 0.5, 0.7], np.float32)
    assert non_maximum_suppression(boxes, scores, 0.3).tolist() == [1, 3, 2]
    assert non_maximum_suppression(boxes, scores, 0.3, over="smaller").tolist() == [1, 2]
    assert non_maximum_suppression(boxes[:0], scores[:0], 0.3).tolist() == []


def test_a_shifted_face_moves_its_landmarks_too() -> None:
    moved = shift(Detection((1, 2, 3, 4), 0.5, np.ones((5, 2), np.float32)), 10, 20)
    assert moved.box == (11, 22, 13, 24) and moved.score == 0.5
    np.testing.assert_array_equal(moved.landmarks, np.array([[11, 21]] * 5, np.float32))
    assert shift(Detection((1, 2, 3, 4), None, None), 1, 1).landmarks is None


def test_a_face_is_found_near_a_known_box_and_nowhere_else(astronaut: Image) -> None:
    detector = load_detector()
    twins = np.concatenate([astronaut, astronaut], axis=1)
    reference = detector.detect(astronaut)[0]
    right = shift(reference, 512, 0)
    moved = shift(right, 15, -10)  # the box is known only roughly
    face = detect_near(detector, twins, moved.box, margin=0.5, min_overlap=0.3)
    assert face and overlap(face.box, right.box) > 0.8
    assert np.abs(face.landmarks - right.landmarks).max() < 6
    assert detect_near(detector, twins, (300, 300, 400, 400), margin=0.5, min_overlap=0.3) is None
    assert detect_near(detector, twins, (-50, 40, -10, 80), margin=0.2, min_overlap=0.3) is None
    assert detect_near(detector, twins, (2000, 40, 2100, 140), margin=0.2, min_overlap=0.3) is None


def test_the_face_that_overlaps_most_is_taken_from_the_surroundings() -> None:
    class TwoFaces:
        def detect(self, image: Image) -> list[Detection]:
            assert image.shape == (30, 40, 3)  # half of the longer side is added on each side
            return [Detection((0, 0, 25, 20), 0.9, None), Detection((10, 10, 31, 20), 0.6, None)]

    image = np.zeros((100, 100, 3), np.uint8)
    face = detect_near(TwoFaces(), image, (40, 50, 60, 60), margin=0.5, min_overlap=0.3)
    assert face and face.box == (40, 50, 61, 60) and face.score == 0.6


def test_the_whole_image_as_one_face_is_near_any_of_its_boxes() -> None:
    image = np.zeros((40, 60, 3), np.uint8)
    (face,) = WholeImage().detect(image)
    assert face.box == (0, 0, 60, 40) and face.score is None and face.landmarks is None
    near = detect_near(WholeImage(), image, face.box, margin=0.75, min_overlap=0.3)
    assert near and near.box == face.box
    assert isinstance(load_detector("none"), WholeImage)


def test_the_large_central_face_is_chosen() -> None:
    image = np.zeros((100, 100, 3), np.uint8)
    faces = [Detection(box, 0.9, None) for box in ((0, 0, 20, 20), (30, 30, 70, 70), (80, 80, 99, 99))]
    assert choose_face(faces, image) is faces[1]
    assert choose_face([], image) is None
