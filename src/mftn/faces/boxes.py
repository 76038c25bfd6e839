"""The geometry of boxes: overlap, suppression, a second look around a known box, the choice of one face."""

from collections.abc import Iterable
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mftn.faces import Detector
from mftn.types import Box, Detection, Image

Over = Literal["union", "smaller"]
"""What an intersection is divided by: the union of both areas, or the smaller one."""


def overlap(first: ArrayLike, second: ArrayLike, over: Over = "union") -> NDArray[np.floating]:
    """Share of the boxes' area that they have in common, 0 to 1; 0 for boxes without an area.

    Args:
        first: A box (left, top, right, bottom), or an array of boxes (…, 4).
        second: The same; both are broadcast against each other.
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
    boxes: NDArray[np.float32], scores: NDArray[np.float32], max_overlap: float, over: Over = "union"
) -> NDArray[np.intp]:
    """Indices of the boxes that stay, from the highest score to the lowest.

    Args:
        boxes: (n, 4) left, top, right, bottom.
        scores: (n,).
        max_overlap: Boxes that overlap a better one more than this go.
        over: What the intersection is divided by.
    """
    order = np.argsort(-scores, kind="stable")
    kept = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(best)
        order = order[overlap(boxes[best], boxes[order], over) <= max_overlap]
    return np.array(kept, dtype=np.intp)


def shift(face: Detection, x: float, y: float) -> Detection:
    """A face moved by (x, y) pixels: from a cut-out into the image it was cut from."""
    left, top, right, bottom = face.box
    landmarks = None if face.landmarks is None else face.landmarks + np.array([x, y], np.float32)
    return Detection((left + x, top + y, right + x, bottom + y), face.score, landmarks)


def detect_near(detector: Detector, image: Image, box: Box, *, margin: float, min_overlap: float) -> Detection | None:
    """The face that overlaps a known box best, looked for in the box's surroundings only.

    Args:
        detector: Finds faces.
        image: H×W×3.
        box: Where the face is thought to be; it may reach past the image's edges.
        margin: Pixels around the box that are looked at, in units of its longer side.
        min_overlap: Lowest intersection over union of the box and the face.

    Returns:
        The face in the image's coordinates; None where there is none.
    """
    left, top, right, bottom = box
    reach = margin * max(right - left, bottom - top)
    x, y = max(int(left - reach), 0), max(int(top - reach), 0)
    region = image[y : max(int(bottom + reach), y + 1), x : max(int(right + reach), x + 1)]
    if not region.size:
        return None
    found = [shift(face, x, y) for face in detector.detect(np.ascontiguousarray(region))]
    best = max(found, key=lambda face: float(overlap(face.box, box)), default=None)
    return best if best and overlap(best.box, box) >= min_overlap else None


def choose_face(faces: Iterable[Detection], image: Image) -> Detection | None:
    """The face that an image of one person is about: large and central; None where there is none."""
    height, width = image.shape[:2]
    centre, diagonal = np.array([width / 2, height / 2]), np.hypot(height, width)

    def prominence(face: Detection) -> float:
        left, top, right, bottom = face.box
        away = np.hypot(*(np.array([left + right, top + bottom]) / 2 - centre)) / diagonal
        return float(np.sqrt(area(face.box)) / diagonal - away)

    return max(faces, key=prominence, default=None)
