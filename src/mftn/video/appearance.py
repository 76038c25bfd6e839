"""The appearance of a face, to decide from frame to frame whether it is still the same person."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from mftn.types import Box, Detection, Image

CELLS = 24
"""Rows and columns of the thumbnails that are compared."""

MIN_KNOWN_SHARE = 0.4
"""Share of the cells that must be known in both thumbnails."""

SURE_CORRELATION = 0.8
"""Correlation of aligned crops that makes further comparisons unnecessary."""

CONTEXT_MARGIN = 0.25
"""Border around a box that is also compared, in box sides: hair and collars differ more than faces."""

BOX_PENALTY = 0.15
"""Subtracted from the correlation of boxes, because boxes of different persons are more alike than aligned crops."""


@dataclass(frozen=True, slots=True, eq=False)
class Appearance:
    """A face as two thumbnails, NaN where they are black or white.

    Attributes:
        aligned: 24×24 brightness of the aligned crop; its landmarks may jitter even if the box is steady.
        boxed: 24×24 brightness of the box and its context.
        box: The face's box.
    """

    aligned: NDArray[np.float32]
    boxed: NDArray[np.float32]
    box: Box


def appearance(image: Image, face: Detection, crop: Image) -> Appearance:
    """The appearance of a face; unknown if the face extends beyond the image.

    Args:
        image: The image, H×W×3.
        face: A face in it.
        crop: The face's aligned crop.
    """
    left, top, right, bottom = face.box
    if left < 0 or top < 0 or right > image.shape[1] or bottom > image.shape[0]:
        unknown = np.full((CELLS, CELLS), np.nan, np.float32)
        return Appearance(unknown, unknown, face.box)
    return Appearance(_small(crop), _patch(image, face.box), face.box)


def alike(before: Appearance, now: Appearance, image: Image) -> float | None:
    """Correlation of a face's earlier and current appearance, -1 to 1; None where too little is known.

    The highest of three: of the aligned crops, of the boxes, and, if the face did not move, at the earlier location.

    Args:
        before: The earlier appearance.
        now: The current appearance.
        image: The current image, H×W×3.
    """
    aligned = _correlation(before.aligned, now.aligned)
    if aligned is not None and aligned >= SURE_CORRELATION:
        return aligned
    boxed = [_correlation(before.boxed, patch) for patch in (now.boxed, _patch(image, before.box))]
    found = [value - BOX_PENALTY for value in boxed if value is not None] + ([] if aligned is None else [aligned])
    return max(found, default=None)


def _patch(image: Image, box: Box) -> NDArray[np.float32]:
    """The part of the image in and around a box."""
    height, width = image.shape[:2]
    across, down = CONTEXT_MARGIN * (box[2] - box[0]), CONTEXT_MARGIN * (box[3] - box[1])
    left, right = (int(np.clip(edge, 0, width)) for edge in (box[0] - across, box[2] + across))
    top, bottom = (int(np.clip(edge, 0, height)) for edge in (box[1] - down, box[3] + down))
    if right - left < 2 or bottom - top < 2:
        return np.full((CELLS, CELLS), np.nan, np.float32)
    step = max(min(right - left, bottom - top) // (3 * CELLS), 1)
    return _small(image[top:bottom:step, left:right:step])


def _small(region: Image) -> NDArray[np.float32]:
    grey = PillowImage.fromarray(np.ascontiguousarray(region)).convert("L")
    cells = np.asarray(grey.resize((CELLS, CELLS), PillowImage.Resampling.BOX), np.float32)
    return np.where((cells > 4) & (cells < 251), cells, np.float32(np.nan))


def _correlation(first: NDArray[np.float32], second: NDArray[np.float32]) -> float | None:
    known = ~(np.isnan(first) | np.isnan(second))
    if known.mean() < MIN_KNOWN_SHARE:
        return None
    a, b = first[known], second[known]
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum()) / norm if norm else None
