"""Alignment: move faces so that eyes, nose and mouth are where the network expects them.

The template is face.evoLVe's (ArcFace's). A least-squares similarity transform, which never flips a face, is applied
with bilinear interpolation and a black border; large faces are shrunk first to avoid aliasing.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image as PillowImage

from mftn.types import Image

ARCFACE = np.array(
    [
        (38.29459953, 51.69630051),
        (73.53179932, 51.50139999),
        (56.02519989, 71.73660278),
        (41.54930115, 92.3655014),
        (70.72990036, 92.20410156),
    ]
) / 112  # fmt: skip
"""Where the five landmarks go, as fractions of the crop's side (5×2)."""


def similarity_transform(source: ArrayLike, target: ArrayLike) -> NDArray[np.float64]:
    """The rotation, uniform scale and shift that bring `source` closest to `target`, without reflection.

    Source: Umeyama, Least-squares estimation of transformation parameters between two point patterns, 1991.

    Args:
        source: n×2 points.
        target: n×2 points.

    Returns:
        2×3 matrix M with target ≈ M · (x, y, 1).

    Raises:
        ValueError: The shapes differ, or all source points are the same.
    """
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    if source.shape != target.shape or source.ndim != 2 or source.shape[1] != 2:
        raise ValueError(f"needs two n×2 arrays of the same length, got {source.shape} and {target.shape}")
    centre, goal = source.mean(axis=0), target.mean(axis=0)
    x, y = source - centre, target - goal
    spread = (x**2).sum()
    if spread == 0:
        raise ValueError("the source points are all the same: no scale can be estimated")
    # In the plane the best rotation and scale together are one complex number.
    real, imaginary = (x * y).sum() / spread, (x[:, 0] * y[:, 1] - x[:, 1] * y[:, 0]).sum() / spread
    linear = np.array([[real, -imaginary], [imaginary, real]])
    return np.column_stack([linear, goal - linear @ centre])


def align(image: Image, landmarks: ArrayLike, size: int | tuple[int, int], template: ArrayLike = ARCFACE) -> Image:
    """Crop a face from an image so that its landmarks lie on the template.

    Args:
        image: H×W×3.
        landmarks: 5×2 pixel coordinates; the centre of the first pixel is (0.5, 0.5).
        size: Height and width of the crop, or one side.
        template: 5×2 fractions; in a rectangle they span the central square.

    Returns:
        The crop, height×width×3; black beyond the image.
    """
    height, width = (size, size) if isinstance(size, int) else size
    side = min(height, width)
    target = np.asarray(template, np.float64) * side + ((width - side) / 2, (height - side) / 2)
    to_source = _invert(similarity_transform(landmarks, target))

    # Keep only the region that the crop comes from, and shrink it by an integer factor if the face is large.
    corners = np.array([(0, 0), (width, 0), (0, height), (width, height)]) @ to_source[:, :2].T + to_source[:, 2]
    left, top = np.clip(np.floor(corners.min(axis=0)).astype(int) - 2, 0, (image.shape[1] - 1, image.shape[0] - 1))
    right, bottom = np.clip(np.ceil(corners.max(axis=0)).astype(int) + 2, (left + 1, top + 1), image.shape[1::-1])
    region = PillowImage.fromarray(image[top:bottom, left:right])
    factor = max(1, int(np.hypot(*to_source[:, 0])))
    region = region.reduce(factor)
    to_source[:, 2] -= (left, top)
    crop = region.transform(
        (width, height),
        PillowImage.Transform.AFFINE,
        (to_source / factor).ravel().tolist(),
        PillowImage.Resampling.BILINEAR,
    )
    return np.asarray(crop)


def _invert(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    linear = np.linalg.inv(matrix[:, :2])
    return np.column_stack([linear, -linear @ matrix[:, 2]])
