"""Box geometry: overlap, suppression, detection around a known box, choice of the main face."""

from collections.abc import Iterable
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mftn.faces import Detector
from mftn.types import Box, Detection, Image

Over = Literal["union", "smaller"]
"""What an intersection is divided by: the union of both areas, or the smaller area."""

NESTED_REACH, NESTED_AREA = 0.9, 0.6
"""Limits for a false face inside a larger one: the distance between the centres in half sides of the larger box, and
the share of the larger area."""


def overlap(first: ArrayLike, second: ArrayLike, over: Over = "union") -> NDArray[np.floating]:
    """Shared area of boxes as a fraction of their area, 0 to 1; 0 for boxes without area.

    Args:
        first: A box (left, top, right, bottom), or an array of boxes (…, 4).
        second: As `first`; both are broadcast against each other.
        over: What the intersection is divided by.

    Returns:
        The broadcast shape without its last axis.
    """
    first, second = np.asarray(first), np.asarray(second)
    corner = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2])
    shared = np.maximum(corner, 0).prod(axis=-1)
    whole = area(first) + area(second) - shared if over == "union" else np.minimum(area(first), area(second))
    return np.divide(shared, whole, out=np.zeros_like(shared, np.result_type(shared, np.float32)), where=whole > 0)


def area(boxes: ArrayLike) -> NDArray[np.floating]:
    """Area of boxes (…, 4) in square pixels; 0 where left and right, or top and bottom, are swapped."""
    boxes = np.asarray(boxes)
    return np.maximum(boxes[..., 2:] - boxes[..., :2], 0).prod(axis=-1)


def non_maximum_suppression(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    max_overlap: float,
    over: Over = "union",
    max_boxes: int | None = None,
) -> NDArray[np.intp]:
    """Indices of the boxes to keep, from the highest score to the lowest.

    Args:
        boxes: (n, 4) left, top, right, bottom.
        scores: (n,).
        max_overlap: Boxes that overlap a better one by more than this are removed.
        over: What the intersection is divided by.
        max_boxes: Largest number of boxes to keep; None for all.
    """
    order = np.argsort(-scores, kind="stable")
    kept: list[np.intp] = []
    while len(order) and (max_boxes is None or len(kept) < max_boxes):
        best, order = order[0], order[1:]
        kept.append(best)
        order = order[overlap(boxes[best], boxes[order], over) <= max_overlap]
    return np.array(kept, dtype=np.intp)


def without_nested(boxes: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Mask (n,) of the boxes (n, 4), sorted from best to worst, that are not part of a better face.

    On a large face, an eye, a cheek or teeth may be detected as a separate face. Such a box is much smaller and its
    centre is well inside the face; that of a person beside or behind is near the edge of the larger box or outside.
    """
    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    within = (np.abs(centre[:, None] - centre) < NESTED_REACH * half).all(axis=-1)  # row in column
    smaller = area(boxes)[:, None] < NESTED_AREA * area(boxes)
    return np.logical_not(np.tril(within & smaller).any(axis=1))


def shift(face: Detection, x: float, y: float) -> Detection:
    """A face moved by (x, y) pixels: from a crop into the image it was cropped from."""
    left, top, right, bottom = face.box
    landmarks = None if face.landmarks is None else face.landmarks + np.array([x, y], np.float32)
    return Detection((left + x, top + y, right + x, bottom + y), face.score, landmarks)


def surroundings(image: Image, box: ArrayLike, margin: float) -> tuple[Image, tuple[int, int]]:
    """A box of an H×W×3 image with a border of `margin` times its longer side, and its corner (x, y) in pixels."""
    left, top, right, bottom = np.asarray(box)
    reach = margin * max(right - left, bottom - top)
    x, y = max(int(left - reach), 0), max(int(top - reach), 0)
    return image[y : max(int(bottom + reach), y + 1), x : max(int(right + reach), x + 1)], (x, y)


def turn_points(points: NDArray[np.floating], turns: int, shape: tuple[int, ...]) -> NDArray[np.floating]:
    """Map points (…, 2) in `np.rot90(image, turns)` back to the image, whose shape is (H, W, …)."""
    x, y = points[..., 0], points[..., 1]
    height, width = shape[:2]
    back = [(x, y), (width - y, x), (width - x, height - y), (y, height - x)]
    return np.stack(back[turns], axis=-1)


def turns_upright(face: Detection) -> int:
    """Number of counterclockwise quarter turns, 0 to 3, that bring a face closest to upright."""
    if face.landmarks is None:
        return 0
    x, y = face.landmarks[1] - face.landmarks[0]
    return round(float(np.arctan2(y, x)) / (np.pi / 2)) % 4


def detect_near(
    detector: Detector, image: Image, box: Box, *, margin: float, min_overlap: float, turns: int = 0
) -> Detection | None:
    """The face that best overlaps a known box, searched for only around that box.

    Args:
        detector: Finds faces.
        image: H×W×3.
        box: The expected location of the face; it may extend beyond the image.
        margin: Width of the searched border around the box, in units of its longer side.
        min_overlap: Lowest intersection over union of the box and the face.
        turns: Counterclockwise quarter turns that bring the face upright.

    Returns:
        The face in the image's coordinates; None if there is none.
    """
    region, (x, y) = surroundings(image, box, margin)
    if not region.size:
        return None
    faces = detector.detect(np.ascontiguousarray(np.rot90(region, turns)))
    found = [shift(_turned_back(face, turns, region.shape), x, y) for face in faces]
    best = max(found, key=lambda face: float(overlap(face.box, box)), default=None)
    return best if best and overlap(best.box, box) >= min_overlap else None


def _turned_back(face: Detection, turns: int, shape: tuple[int, ...]) -> Detection:
    left, top, right, bottom = np.sort(turn_points(np.reshape(face.box, (2, 2)), turns, shape), axis=0).ravel().tolist()
    landmarks = None if face.landmarks is None else turn_points(face.landmarks, turns, shape).astype(np.float32)
    return Detection((left, top, right, bottom), face.score, landmarks)


def choose_face(faces: Iterable[Detection], image: Image) -> Detection | None:
    """The main face of an image of one person: large and central; None if there is none."""
    height, width = image.shape[:2]
    centre = np.array([width / 2, height / 2])

    def prominence(face: Detection) -> float:
        left, top, right, bottom = face.box
        away = np.hypot(*(np.array([left + right, top + bottom]) / 2 - centre))
        return float(np.sqrt(area(face.box)) - away)

    return max(faces, key=prominence, default=None)
