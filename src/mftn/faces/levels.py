"""Scales of an image: reduced copies, tiles, borders, and faces mapped back to the source."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import ceil, inf

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from mftn.types import Box, Image

Rows = NDArray[np.float32]
"""Faces (n, 15): left, top, right, bottom, five landmarks (x, y), score."""

TILE, TILE_OVERLAP = 576, 128
"""Longest side of a tile in pixels, whose features still fit the processor's cache, and the overlap of neighbours: a
face larger than the overlap is also found on the next smaller scale."""

TILE_EDGE = 0.1
"""Distance of a box from a tile's cut edge, in units of its longer side, below which its face may be incomplete."""


@dataclass(frozen=True, slots=True)
class Level:
    """A part of an image on one scale.

    Attributes:
        image: Its pixels.
        corner: Its top left corner in the source, (x, y).
        factor: Source pixels per pixel in x and y.
        uncut: The box, in its pixels, inside which faces are complete: a tile's edges cut off others.
        smallest: Whether it is the smallest scale of its image.
    """

    image: Image
    corner: NDArray[np.float32]
    factor: NDArray[np.float32]
    uncut: Box = (-inf, -inf, inf, inf)
    smallest: bool = False

    def part(self, left: int, top: int, right: int, bottom: int) -> "Level":
        """The part inside a box in pixels of this scale."""
        height, width = self.image.shape[:2]
        corner = self.corner + np.array([left, top], np.float32) * self.factor
        uncut = (
            0 if left > 0 else -inf,
            0 if top > 0 else -inf,
            right - left if right < width else inf,
            bottom - top if bottom < height else inf,
        )
        return Level(self.image[top:bottom, left:right], corner, self.factor, uncut)

    def whole(self, rows: Rows) -> Rows:
        """The faces that no edge of a tile cuts off."""
        near = TILE_EDGE * (rows[:, 2:4] - rows[:, :2]).max(axis=1, keepdims=True)
        first, last = np.array(self.uncut[:2]), np.array(self.uncut[2:])
        return rows[((rows[:, :2] - near >= first) & (rows[:, 2:4] + near <= last)).all(axis=1)]

    def placed(self, rows: Rows) -> Rows:
        """Faces in the source's pixel coordinates."""
        points = rows[:, :14] * np.tile(self.factor, 7) + np.tile(self.corner, 7)
        return np.column_stack([points, rows[:, 14]])


def shrink(image: Image, factor: int, run: Callable[[Callable[[int], None], list[int]], Iterable[None]]) -> Image:
    """An H×W×3 image reduced by an integer factor, in bands, so that a large image is never copied whole.

    Args:
        image: The image.
        factor: Pixels of the image per pixel of the result, in each direction.
        run: Calls a function for every item of a list, possibly in several threads.
    """
    if factor <= 1:
        return image
    height, width = image.shape[:2]
    small = np.empty((-(-height // factor), -(-width // factor), 3), np.uint8)
    rows = max(1, 64 // factor)

    def reduce(top: int) -> None:
        band = image[top * factor : (top + rows) * factor]
        small[top : top + rows] = np.asarray(PillowImage.fromarray(band).reduce(factor))

    for _ in run(reduce, list(range(0, len(small), rows))):
        pass
    return small


def tiles(level: Level) -> list[Level]:
    """Overlapping parts that cover a level."""
    height, width = level.image.shape[:2]
    return [level.part(left, top, right, bottom) for top, bottom in _spans(height) for left, right in _spans(width)]


def _spans(length: int) -> list[tuple[int, int]]:
    """Where tiles begin and end along one side; all have about the same length."""
    count = max(ceil((length - TILE_OVERLAP) / (TILE - TILE_OVERLAP)), 1)
    tile = ceil((length + (count - 1) * TILE_OVERLAP) / count)
    starts = np.linspace(0, length - tile, count).round().astype(int).tolist()
    return [(start, start + tile) for start in starts]


def bordered(image: Image, border: int) -> Image:
    """An image with a black border, which gives a face that fills it some surroundings."""
    height, width = image.shape[:2]
    canvas = np.zeros((height + 2 * border, width + 2 * border, 3), np.uint8)
    canvas[border : border + height, border : border + width] = image
    return canvas
