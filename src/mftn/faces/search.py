"""The search for faces of every size and turn, alike for all detectors.

A detector's network knows upright faces within a range of sizes. So an image is looked at on several scales, large
scales in tiles, and what was found on all of them is merged. Where a face is doubtful or none was found, the image is
turned by quarters and looked at again.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, inf, log
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from mftn.faces.align import ARCFACE, similarity_transform
from mftn.faces.boxes import non_maximum_suppression, overlap, turn_points, without_nested
from mftn.runtime import Pool
from mftn.types import Box, Detection, Image

Rows = NDArray[np.float32]
"""Faces (n, 15): left, top, right, bottom, five landmarks (x, y), score."""

SCALE_STEP = 2.75
"""Largest factor between two scales that are looked at in tiles."""

TILE, TILE_OVERLAP = 576, 128
"""Largest side of a tile, whose features still fit the processor's cache, and of what neighbours share, in pixels: a
face larger than that is found on the next smaller scale too."""

TILE_EDGE = 0.1
"""Boxes that come so near to where a tile was cut, in units of their longer side, may be of half a face."""

STRICTER = 0.1
"""By what share of the way from the lowest score to 1 faces must score higher where an image has many scales or is
turned: the more is looked at, the more is taken for a face."""

UNLIKE_A_FACE = 0.08
"""Root mean square distance of landmarks from the alignment template, in sides of the crop, that raises doubts."""

MOST_FACES = 2000
"""Faces reported of one image, the best ones: with a minimum score near 0 nearly every location would be a face."""

MOST_TURNED = 1000
"""Doubtful faces that are looked at again, turned; the best ones."""

TURNED_SIDE, TURNED_MARGIN = 160, 0.6
"""Pixels to which a doubtful face and its surroundings are scaled, and how far these reach, in sides of the box."""


@dataclass(frozen=True, slots=True)
class Level:
    """A part of an image on one scale.

    Attributes:
        image: Its pixels.
        corner: Where it begins in the source, (x, y).
        factor: The source's pixels per pixel in x and y.
        uncut: The box inside which faces are whole, in its pixels: a tile's borders cut others in two.
    """

    image: Image
    corner: NDArray[np.float32]
    factor: NDArray[np.float32]
    uncut: Box = (-inf, -inf, inf, inf)

    def part(self, left: int, top: int, right: int, bottom: int) -> "Level":
        """A cut-out in pixels of this scale."""
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
        """The faces that no border of a tile cuts."""
        near = TILE_EDGE * (rows[:, 2:4] - rows[:, :2]).max(axis=1, keepdims=True)
        first, last = np.array(self.uncut[:2]), np.array(self.uncut[2:])
        return rows[((rows[:, :2] - near >= first) & (rows[:, 2:4] + near <= last)).all(axis=1)]

    def placed(self, rows: Rows) -> Rows:
        """Faces in the source's pixels."""
        points = rows[:, :14] * np.tile(self.factor, 7) + np.tile(self.corner, 7)
        return np.column_stack([points, rows[:, 14]])


class SearchingDetector(ABC):
    """A detector whose network looks at one image on its own scale, as subclasses say.

    Args:
        min_score: Lowest score to report, 0 to 1; `default_score` if None.
        max_overlap: Of two boxes that overlap more than this (intersection over union) the better stays.
        detect_size: Pixels of the image's longer side on the largest scale; chosen from the image's size if None.
        turned: Look again, turned by quarters, where a face is doubtful or none was found.
        threads: Parts of an image looked at at once; 0 for as many as there are cores.
    """

    first_side: ClassVar[int]
    """Pixels of the image's longer side on the smallest scale."""
    whole_side: ClassVar[int]
    """Up to so many pixels of the longer side a scale is looked at without tiles."""
    finest: ClassVar[float]
    """Share of a large image's resolution that the largest scale has."""
    enlarges: ClassVar[bool]
    """Whether images smaller than the first scale are enlarged to it."""
    default_score: ClassVar[float]
    sure_score: ClassVar[float]
    """Faces below this score are looked at again, turned."""

    def __init__(
        self, *, min_score: float | None, max_overlap: float, detect_size: int | None, turned: bool, threads: int
    ) -> None:
        self.min_score = self.default_score if min_score is None else min_score
        self.max_overlap, self.detect_size, self.turned = max_overlap, detect_size, turned
        self.threads = threads or os.cpu_count() or 1
        self.pool = Pool(self.threads) if self.threads > 1 else None

    @abstractmethod
    def look(self, image: Image) -> Rows:
        """Faces of an H×W×3 image on its own scale, in its pixels."""

    @abstractmethod
    def look_first(self, image: Image) -> Rows:
        """The same on the smallest scale, where faces may fill the image."""

    def detect(self, image: Image) -> list[Detection]:
        """Faces of an H×W×3 image, from the highest score to the lowest."""
        rows = self._merged(self._search(self._levels(image, self._sides(max(image.shape[:2])))))
        if self.turned:
            rows = self._look_turned(image, rows)
        return [
            Detection(
                box=(float(row[0]), float(row[1]), float(row[2]), float(row[3])),
                score=float(row[14]),
                landmarks=row[4:14].reshape(5, 2).copy(),
            )
            for row in rows
        ]

    def _sides(self, longer: int) -> list[int]:
        """Pixels of the longer side on every scale, from the smallest to the largest."""
        size = self.detect_size or max(self.whole_side, round(longer * self.finest))
        first = min(self.first_side, size if self.enlarges else min(size, longer))
        last = min(size, longer)
        if last <= 1.5 * first:
            return [first]
        steps = (first < self.whole_side) + max(ceil(log(last / self.whole_side, SCALE_STEP) - 0.1), 0)
        return [first, *(round(first * (last / first) ** (step / steps)) for step in range(1, steps + 1))]

    def _levels(self, image: Image, sides: list[int], corner: tuple[int, int] = (0, 0)) -> list[Level]:
        """The image, which begins at a corner of a larger one, on all scales."""
        height, width = image.shape[:2]
        levels: list[Level] = []
        for side in reversed(sides):  # each from the next larger one
            scale = side / max(height, width)
            size = max(1, round(width * scale)), max(1, round(height * scale))
            image = self._resized(image, size)
            factor = np.array([width / size[0], height / size[1]], np.float32)
            levels.insert(0, Level(image, np.array(corner, np.float32), factor))
        return levels

    def _resized(self, image: Image, size: tuple[int, int]) -> Image:
        """An H×W×3 image of another size (width, height)."""
        if size == image.shape[1::-1]:
            return image
        if max(image.shape[:2]) > self.whole_side:  # Pillow would copy a large image as a whole
            image = shrink(image, max(image.shape[:2]) // max(size), self._run)
        bilinear = PillowImage.Resampling.BILINEAR
        return np.asarray(PillowImage.fromarray(image).resize(size, bilinear, reducing_gap=2.0))

    def _search(self, levels: list[Level], turns: int = 0) -> Rows:
        """Faces on all levels, turned by quarters counterclockwise; in the source's pixels, not merged."""
        strict = self.min_score + STRICTER * (1 - self.min_score)
        looks = [(self.look_first, levels[0], strict if turns else self.min_score)]
        for level in levels[1:]:
            whole = max(level.image.shape[:2]) <= self.whole_side
            least = self.min_score if whole and level is levels[-1] and not turns else strict
            looks += [(self.look, part, least) for part in ([level] if whole else tiles(level))]

        def run(look: tuple[Callable[[Image], Rows], Level, float]) -> Rows:
            see, level, least = look
            rows = see(np.ascontiguousarray(np.rot90(level.image, turns)))
            return level.placed(level.whole(turn_back(rows[rows[:, 14] >= least], turns, level.image.shape)))

        return np.concatenate(self._run(run, looks))

    def _run(self, work: Callable[[Any], Any], items: list[Any]) -> list[Any]:
        return list(self.pool.map(work, items) if self.pool and len(items) > 1 else map(work, items))

    def _merged(self, rows: Rows) -> Rows:
        """One row per face, from the highest score to the lowest."""
        rows = rows[non_maximum_suppression(rows[:, :4], rows[:, 14], self.max_overlap, most=MOST_FACES)]
        return rows[without_nested(rows[:, :4])]

    def _look_turned(self, image: Image, rows: Rows) -> Rows:
        """Put right what was taken for upright, and find what is not upright where nothing else was found."""
        rows, turns = rows.copy(), set() if len(rows) else {1, 2, 3}
        for index in np.flatnonzero(self._is_doubtful(rows))[:MOST_TURNED]:
            found = self._look_around(image, rows[index])
            if found:
                turns.add(found[0])
                rows[index] = found[1]
        if not turns:
            return rows
        levels = self._levels(image, self._sides(min(max(image.shape[:2]), self.whole_side)))
        return self._merged(np.concatenate([rows, *(self._search(levels, turn) for turn in sorted(turns))]))

    def _is_doubtful(self, rows: Rows) -> NDArray[np.bool_]:
        unlike = np.array([unlikeness(row[4:14].reshape(5, 2)) for row in rows], np.float32)
        return (rows[:, 14] < self.sure_score) | (unlike > UNLIKE_A_FACE)

    def _look_around(self, image: Image, row: Rows) -> tuple[int, Rows] | None:
        """The turn in which a face looks better than upright, and what was found so."""
        left, top, right, bottom = row[:4]
        reach = TURNED_MARGIN * max(right - left, bottom - top)
        x, y = max(int(left - reach), 0), max(int(top - reach), 0)
        region = image[y : max(int(bottom + reach), y + 1), x : max(int(right + reach), x + 1)]
        if not region.size:
            return None
        levels = self._levels(region, [TURNED_SIDE], (x, y))
        best = None
        for turn in (1, 2, 3):
            for other in self._search(levels, turn):
                if other[14] > (best[1] if best else row)[14] and overlap(other[:4], row[:4]) >= 0.3:
                    best = turn, other
        return best


def shrink(image: Image, factor: int, run: Callable[[Callable[[int], None], list[int]], object]) -> Image:
    """An H×W×3 image reduced by a whole factor, in bands, so that no second copy of a large image is made."""
    if factor <= 1:
        return image
    height, width = image.shape[:2]
    small = np.empty((-(-height // factor), -(-width // factor), 3), np.uint8)
    rows = max(1, 64 // factor)

    def reduce(top: int) -> None:
        band = image[top * factor : (top + rows) * factor]
        small[top : top + rows] = np.asarray(PillowImage.fromarray(band).reduce(factor))

    run(reduce, list(range(0, len(small), rows)))
    return small


def tiles(level: Level) -> list[Level]:
    """Parts of a level that overlap and together cover it."""
    height, width = level.image.shape[:2]
    return [level.part(left, top, right, bottom) for top, bottom in _spans(height) for left, right in _spans(width)]


def _spans(length: int) -> list[tuple[int, int]]:
    """Where tiles begin and end along one side; all are about as long."""
    count = max(ceil((length - TILE_OVERLAP) / (TILE - TILE_OVERLAP)), 1)
    tile = ceil((length + (count - 1) * TILE_OVERLAP) / count)
    starts = np.linspace(0, length - tile, count).round().astype(int).tolist()
    return [(start, start + tile) for start in starts]


def turn_back(rows: Rows, turns: int, shape: tuple[int, ...]) -> Rows:
    """Faces found in `np.rot90(image, turns)` in the coordinates of an image of this shape.

    Landmarks keep their order: the left eye stays the one that was left in the turned image.
    """
    points = turn_points(rows[:, :14].reshape(-1, 7, 2), turns, shape)
    corners = np.sort(points[:, :2], axis=1).reshape(-1, 4)
    return np.column_stack([corners, points[:, 2:].reshape(-1, 10), rows[:, 14]]).astype(np.float32)


def unlikeness(landmarks: NDArray[np.float32]) -> float:
    """Root mean square distance of aligned landmarks from the template, as a fraction of the crop's side."""
    transform = similarity_transform(landmarks, ARCFACE)
    apart = landmarks @ transform[:, :2].T + transform[:, 2] - ARCFACE
    return float(np.sqrt((apart**2).sum(axis=1).mean()))


def bordered(image: Image, border: int) -> Image:
    """An image inside a black border, where a face that fills it has surroundings."""
    height, width = image.shape[:2]
    canvas = np.zeros((height + 2 * border, width + 2 * border, 3), np.uint8)
    canvas[border : border + height, border : border + width] = image
    return canvas
