"""How faces are framed: where their landmarks are in a crop, how large it is, and how it is stored."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mftn.data.records import CropFormat
from mftn.faces import DetectorName
from mftn.faces.align import ARCFACE
from mftn.types import Box


@dataclass(frozen=True, slots=True)
class Preparation:
    """How faces are cropped.

    Attributes:
        size: Side of the crops in pixels.
        template: Where the five landmarks go, as fractions of the side.
        whole: The box of the crop, in fractions of its side, that an annotated box or a whole image fills.
        detector: Name of the face detector; "none" cuts by annotated boxes or takes whole images.
        min_score: Faces below this score count as not found.
        format: png keeps every pixel; jpg is smaller.
        quality: JPEG quality, 1 to 100.
    """

    size: int
    template: tuple[tuple[float, float], ...]
    whole: Box
    detector: DetectorName = "yunet"
    min_score: float = 0.3
    format: CropFormat = "png"
    quality: int = 95


def arcface_preparation(size: int = 112, view: float = 1.0, **others: Any) -> Preparation:
    """Crops as the published alignment (face.evoLVe, ArcFace) cuts them.

    Args:
        size: Side of the crops in pixels.
        view: The share of the side that the network sees; the rest is margin.
        **others: The other fields of `Preparation`.
    """
    return _preparation(ARCFACE, size, view, others)


def ferplus_preparation(size: int = 96, view: float = 0.875, **others: Any) -> Preparation:
    """Crops framed as FER2013 frames its faces, with a margin for augmentation.

    The median landmarks of FERPlus's training images are ArcFace's template scaled by 1.068 and moved by
    (−0.034, −0.121) of the side (YuNet, every 14th image). Aligned faces therefore look as they do in the data set,
    with little black border from outside its 48×48 pixels.

    Args:
        size: Side of the crops in pixels.
        view: The share of the side that the network sees.
        **others: The other fields of `Preparation`.
    """
    return _preparation(ARCFACE * 1.068 + (-0.034, -0.121), size, view, others)


def _preparation(framed: NDArray[np.float64], size: int, view: float, others: dict[str, Any]) -> Preparation:
    template = (framed - 0.5) * view + 0.5
    margin = (1 - view) / 2
    points = tuple((round(float(x), 6), round(float(y), 6)) for x, y in template)
    return Preparation(size, points, (margin, margin, 1 - margin, 1 - margin), **others)
