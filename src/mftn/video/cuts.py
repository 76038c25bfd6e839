"""Shot cuts: whether a frame shows a different scene from one shortly before it.

The structure of two grey thumbnails is compared after undoing the camera's movement between them. Gradual changes of
brightness are removed, and black or white counts as unknown, so that a flash, a fade or a pan is not a cut.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from mftn.types import Image

HEIGHT, WIDTH = 36, 64
"""Pixels of a thumbnail, whatever the frame's shape."""

MAX_SHIFT = (9, 16)
"""Largest camera movement from frame to frame in rows and columns: a quarter of the image."""

SAME_SCENE_CORRELATION = 0.65
"""Lowest structural correlation at which two thumbnails show the same scene."""

BLOCK_SHAPE = (6, 8)
"""Rows and columns of a block."""

SAME_BLOCK_CORRELATION, SAME_BLOCKS_SHARE = 0.9, 0.3
"""The scene is also the same if this share of blocks has this correlation; a caption or passer-by may hide the rest."""

MIN_CONTRAST = 0.02
"""Standard deviation (of brightness 0 to 1) below which an image or block has too little structure to compare."""


@dataclass(frozen=True, slots=True, eq=False)
class Thumbnail:
    """The structure of an image.

    Attributes:
        structure: 36×64 brightness without gradual changes; 0 where unknown.
        spectrum: Fourier transform of `structure`, zero-padded to twice its sides.
        plain: Whether it has too little structure to compare.
    """

    structure: NDArray[np.float32]
    spectrum: NDArray[np.complex64]
    plain: bool


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two thumbnails compared.

    Attributes:
        same: Whether they may show the same scene; also True if one of them has too little structure to compare.
        shift: Movement of the scene from the first to the second, as (x, y) fractions of the frame's sides.
    """

    same: bool
    shift: tuple[float, float] = (0.0, 0.0)


def thumbnail(image: Image) -> Thumbnail:
    """The structure of an H×W×3 image."""
    step = max(min(image.shape[0] // (2 * HEIGHT), image.shape[1] // (2 * WIDTH)), 1)
    small = PillowImage.fromarray(np.ascontiguousarray(image[::step, ::step])).convert("L")
    grey = np.asarray(small.resize((WIDTH, HEIGHT), PillowImage.Resampling.BOX), np.float32) / 255
    known = (grey > 0.02) & (grey < 0.98)
    structure = np.where(known, grey - _blurred(grey, 6), 0).astype(np.float32)
    spectrum = np.fft.rfft2(structure, (2 * HEIGHT, 2 * WIDTH)).astype(np.complex64)
    return Thumbnail(structure, spectrum, bool(structure.std() < MIN_CONTRAST or known.mean() < 0.3))


def compare(first: Thumbnail, second: Thumbnail) -> Comparison:
    """Whether two frames may show the same scene, and how it moved between them."""
    if first.plain or second.plain:
        return Comparison(True)
    matches = np.fft.irfft2(first.spectrum.conj() * second.spectrum, (2 * HEIGHT, 2 * WIDTH))
    near = matches[np.ix_(np.arange(-MAX_SHIFT[0], MAX_SHIFT[0] + 1), np.arange(-MAX_SHIFT[1], MAX_SHIFT[1] + 1))]
    y, x = (int(k) - reach for k, reach in zip(np.unravel_index(near.argmax(), near.shape), MAX_SHIFT, strict=True))
    a = first.structure[max(-y, 0) : HEIGHT - max(y, 0), max(-x, 0) : WIDTH - max(x, 0)]
    b = second.structure[max(y, 0) : HEIGHT - max(-y, 0), max(x, 0) : WIDTH - max(-x, 0)]
    same = (
        _alike(a, b) >= SAME_SCENE_CORRELATION
        or _unchanged(a, b) >= SAME_BLOCKS_SHARE
        or _unchanged(first.structure, second.structure) >= SAME_BLOCKS_SHARE  # a person moved, the camera did not
    )
    return Comparison(same, (x / WIDTH, y / HEIGHT))


def _alike(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Correlation, -1 to 1, of the pixels known in both."""
    known = (a != 0) & (b != 0)
    norm = float(np.sqrt((a[known] ** 2).sum() * (b[known] ** 2).sum()))
    return float((a[known] * b[known]).sum()) / norm if norm else 0.0


def _unchanged(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Share of the blocks with contrast that look the same."""
    p, q = _blocks(a), _blocks(b)
    energy, other = (p**2).mean(axis=1), (q**2).mean(axis=1)
    shown = np.maximum(energy, other) > MIN_CONTRAST**2
    if not shown.any():
        return 0.0
    alike = (p * q).mean(axis=1)[shown] / np.sqrt(energy * other + 1e-12)[shown]
    return float((alike > SAME_BLOCK_CORRELATION).mean())


def _blocks(structure: NDArray[np.float32]) -> NDArray[np.float32]:
    """Blocks of 6×8 pixels, (n, 48)."""
    rows, columns = structure.shape[0] // BLOCK_SHAPE[0], structure.shape[1] // BLOCK_SHAPE[1]
    cut = structure[: rows * BLOCK_SHAPE[0], : columns * BLOCK_SHAPE[1]].reshape(
        rows, BLOCK_SHAPE[0], columns, BLOCK_SHAPE[1]
    )
    return cut.swapaxes(1, 2).reshape(rows * columns, -1)


def _blurred(grey: NDArray[np.floating], radius: int) -> NDArray[np.float32]:
    """Means over squares of 2·radius + 1 pixels."""
    side = 2 * radius + 1
    total = np.pad(np.pad(grey, radius, mode="edge"), ((1, 0), (1, 0))).cumsum(0, np.float64).cumsum(1)
    sums = total[side:, side:] - total[:-side, side:] - total[side:, :-side] + total[:-side, :-side]
    return (sums / side**2).astype(np.float32)
