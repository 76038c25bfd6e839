"""Non-maximum suppression: of overlapping boxes the best stays."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray


def non_maximum_suppression(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    max_overlap: float,
    over: Literal["union", "smaller"] = "union",
) -> NDArray[np.intp]:
    """Indices of the boxes that stay, from the highest score to the lowest.

    Args:
        boxes: (n, 4) left, top, right, bottom.
        scores: (n,).
        max_overlap: Boxes that overlap a better one more than this go.
        over: What the intersection is divided by: the union of both areas, or the smaller one.
    """
    area = np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1)
    order = np.argsort(-scores, kind="stable")
    kept = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(best)
        corner = np.minimum(boxes[best, 2:], boxes[order, 2:]) - np.maximum(boxes[best, :2], boxes[order, :2])
        shared = np.prod(np.maximum(corner, 0), axis=1)
        whole = area[best] + area[order] - shared if over == "union" else np.minimum(area[best], area[order])
        order = order[shared <= max_overlap * whole]
    return np.array(kept, dtype=np.intp)
