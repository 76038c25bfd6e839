"""Settings of the random augmentation in training; kept apart, so that reading a configuration needs no torch."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Ranges of the random changes; each is drawn uniformly within ± its value unless stated otherwise.

    Attributes:
        flip: Probability of a horizontal flip.
        rotation: Degrees.
        scale: Natural logarithm of the scale factor.
        aspect: Natural logarithm of the ratio of width to height.
        translation: Fraction of the side.
        brightness: In standard deviations of the normalised input.
        contrast: Natural logarithm of the factor.
        noise: Largest standard deviation of added noise, normalised; each image draws its own.
        blur: Probability of a 3×3 binomial blur.
        defocus: Probability of a Gaussian blur.
        defocus_sigma: Its smallest and largest standard deviation, as fractions of the side.
        low_resolution: Probability of scaling the image down and up again.
        low_resolution_side: Smallest and largest side of the reduced image, in pixels.
        jpeg: Probability of compressing the image as JPEG.
        jpeg_quality: Its lowest and highest quality, 1 to 100.
        erasing: Probability of erasing a rectangle (Zhong et al., 2020).
        erasing_area: Smallest and largest area of the rectangle, as fractions.
        policy: Also apply RandAugment (two operations of magnitude 9) or TrivialAugment to each image, which is slow.
    """

    flip: float = 0.5
    rotation: float = 0.0
    scale: float = 0.0
    aspect: float = 0.0
    translation: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    noise: float = 0.0
    blur: float = 0.0
    defocus: float = 0.0
    defocus_sigma: tuple[float, float] = (0.005, 0.05)
    low_resolution: float = 0.0
    low_resolution_side: tuple[float, float] = (12.0, 48.0)
    jpeg: float = 0.0
    jpeg_quality: tuple[float, float] = (5.0, 60.0)
    erasing: float = 0.0
    erasing_area: tuple[float, float] = (0.02, 0.1)
    policy: Literal["none", "randaugment", "trivialaugment"] = "none"
