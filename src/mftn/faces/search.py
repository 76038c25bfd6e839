"""The search for faces of every size and rotation, shared by all detectors.

A detector's network finds upright faces within a range of sizes. An image is therefore searched on several scales,
large scales in tiles, and the faces of all scales are merged. Where a face is doubtful or none was found, the image is
searched again in quarter turns.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from math import ceil, log
from typing import ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from mftn.faces.align import ARCFACE, similarity_transform
from mftn.faces.boxes import non_maximum_suppression, overlap, surroundings, turn_points, without_nested
from mftn.faces.levels import Level, Rows, shrink, tiles
from mftn.runtime import Pool
from mftn.types import Detection, Image

T = TypeVar("T")
R = TypeVar("R")

BILINEAR = PillowImage.Resampling.BILINEAR

SCALE_STEP = 2.75
"""Largest factor between two scales that are searched in tiles."""

STRICTER = 0.1
"""How much higher faces must score on additional scales or in a rotated image, as a fraction of the range from the
lowest score to 1: the larger the search, the more false positives."""

UNLIKE_A_FACE = 0.08
"""Root mean square distance of landmarks from the alignment template, in sides of the crop, above which a face is
doubtful."""

MAX_FACES = 2000
"""Faces reported per image, best first: with a minimum score near 0 nearly every location would be a face."""

MAX_TURNED = 1000
"""Doubtful faces per image that are searched again in quarter turns, best first."""

TURNED_SIDE, TURNED_MARGIN = 160, 0.6
"""Side in pixels to which a doubtful face and its margin are scaled, and the margin's width in sides of the box."""


class SearchingDetector(ABC):
    """A detector whose network searches one image on its own scale; subclasses say how.

    Args:
        min_score: Lowest score to report, 0 to 1; `default_score` if None.
        max_overlap: Of two boxes that overlap by more than this (intersection over union), the better is kept.
        detect_size: Pixels of the image's longer side on the largest scale; chosen from the image's size if None.
        turned: Detect again in quarter turns where a face is doubtful or none was found.
        threads: Parts of an image processed at once; 0 for as many as there are cores.
    """

    first_side: ClassVar[int]
    """Pixels of the image's longer side on the smallest scale."""
    whole_side: ClassVar[int]
    """Largest longer side in pixels of a scale that is searched without tiles."""
    finest: ClassVar[float]
    """Resolution of the largest scale of a large image, as a fraction of the image's."""
    enlarges: ClassVar[bool]
    """Whether images smaller than the first scale are enlarged to it."""
    default_score: ClassVar[float]
    sure_score: ClassVar[float]
    """Faces below this score are searched again in quarter turns."""

    def __init__(
        self, *, min_score: float | None, max_overlap: float, detect_size: int | None, turned: bool, threads: int
    ) -> None:
        self.min_score = self.default_score if min_score is None else min_score
        self.max_overlap, self.detect_size, self.turned = max_overlap, detect_size, turned
        self.threads = threads or os.cpu_count() or 1
        self.pool = Pool(self.threads) if self.threads > 1 else None

    @abstractmethod
    def detect_on_scale(self, image: Image) -> Rows:
        """Faces of an H×W×3 image on its own scale, in its pixels."""

    @abstractmethod
    def detect_on_first_scale(self, image: Image) -> Rows:
        """The same on the smallest scale, where faces may fill the image."""

    def detect(self, image: Image) -> list[Detection]:
        """Faces of an H×W×3 image, from the highest score to the lowest."""
        rows = self._merged(self._search(self._levels(image, self._sides(max(image.shape[:2])))))
        if self.turned:
            rows = self._detect_turned(image, rows)
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

    def _levels(self, image: Image, sides: list[int], corner: tuple[int, int] = (0, 0)) -> Iterator[Level]:
        """The image on all scales, from the largest to the smallest; `corner` is where it begins in a larger image.

        They are made lazily, so that one can be searched while the next is made.
        """
        height, width = image.shape[:2]
        pillow: PillowImage.Image | None = None  # the image as a Pillow image, once converted
        for side in reversed(sides):  # each from the next larger one
            scale = side / max(height, width)
            size = max(1, round(width * scale)), max(1, round(height * scale))
            if size != image.shape[1::-1]:
                if max(image.shape[:2]) > self.whole_side:  # Pillow would copy a large image as a whole
                    image, pillow = shrink(image, max(image.shape[:2]) // max(size), self._run), None
                pillow = (pillow or PillowImage.fromarray(image)).resize(size, BILINEAR, reducing_gap=2.0)
                image = np.asarray(pillow)
            factor = np.array([width / size[0], height / size[1]], np.float32)
            yield Level(image, np.array(corner, np.float32), factor, smallest=side == sides[0])

    def _search(self, levels: Iterable[Level], turns: int = 0) -> Rows:
        """Faces on all levels rotated by counterclockwise quarter turns; in the source's pixels, not merged."""
        strict = self.min_score + STRICTER * (1 - self.min_score)

        def run(level: Level, least: float) -> Rows:
            detect = self.detect_on_first_scale if level.smallest else self.detect_on_scale
            rows = detect(np.ascontiguousarray(np.rot90(level.image, turns)))
            return level.placed(level.whole(turn_back(rows[rows[:, 14] >= least], turns, level.image.shape)))

        found: list[Iterable[Rows]] = []
        for number, level in enumerate(levels):
            if level.smallest:  # in this thread, while others search the larger ones
                found.append([run(level, strict if turns else self.min_score)])
                continue
            whole = max(level.image.shape[:2]) <= self.whole_side
            least = self.min_score if whole and number == 0 and not turns else strict
            found.append(self._run(partial(run, least=least), [level] if whole else tiles(level)))
        return np.concatenate([rows for level in reversed(found) for rows in level])

    def _run(self, work: Callable[[T], R], items: list[T]) -> Iterator[R]:
        """Start work on all items; yields the results in order."""
        return self.pool.map(work, items) if self.pool else map(work, items)

    def _merged(self, rows: Rows) -> Rows:
        """One row per face, from the highest score to the lowest."""
        rows = rows[non_maximum_suppression(rows[:, :4], rows[:, 14], self.max_overlap, max_boxes=MAX_FACES)]
        return rows[without_nested(rows[:, :4])]

    def _detect_turned(self, image: Image, rows: Rows) -> Rows:
        """Correct faces wrongly detected as upright, and search in quarter turns if nothing was found."""
        rows, turns = rows.copy(), set() if len(rows) else {1, 2, 3}
        for index in np.flatnonzero(self._is_doubtful(rows))[:MAX_TURNED]:
            found = self._detect_around(image, rows[index])
            if found:
                turns.add(found[0])
                rows[index] = found[1]
        if not turns:
            return rows
        levels = list(self._levels(image, self._sides(min(max(image.shape[:2]), self.whole_side))))
        return self._merged(np.concatenate([rows, *(self._search(levels, turn) for turn in sorted(turns))]))

    def _is_doubtful(self, rows: Rows) -> NDArray[np.bool_]:
        unlike = np.array([unlikeness(row[4:14].reshape(5, 2)) for row in rows], np.float32)
        return (rows[:, 14] < self.sure_score) | (unlike > UNLIKE_A_FACE)

    def _detect_around(self, image: Image, row: Rows) -> tuple[int, Rows] | None:
        """The rotation in which a face scores higher than upright, and the face found in it; None if there is none."""
        region, corner = surroundings(image, row[:4], TURNED_MARGIN)
        if not region.size:
            return None
        levels = list(self._levels(region, [TURNED_SIDE], corner))
        best = None
        for turn in (1, 2, 3):
            for other in self._search(levels, turn):
                if other[14] > (best[1] if best else row)[14] and overlap(other[:4], row[:4]) >= 0.3:
                    best = turn, other
        return best


def turn_back(rows: Rows, turns: int, shape: tuple[int, ...]) -> Rows:
    """Map faces found in `np.rot90(image, turns)` back to an image of this shape.

    Landmarks keep their order: the left eye is the one on the left in the rotated image.
    """
    points = turn_points(rows[:, :14].reshape(-1, 7, 2), turns, shape)
    corners = np.sort(points[:, :2], axis=1).reshape(-1, 4)
    return np.column_stack([corners, points[:, 2:].reshape(-1, 10), rows[:, 14]]).astype(np.float32)


def unlikeness(landmarks: NDArray[np.float32]) -> float:
    """Root mean square distance of aligned landmarks from the template, as a fraction of the crop's side."""
    transform = similarity_transform(landmarks, ARCFACE)
    apart = landmarks @ transform[:, :2].T + transform[:, 2] - ARCFACE
    return float(np.sqrt((apart**2).sum(axis=1).mean()))
