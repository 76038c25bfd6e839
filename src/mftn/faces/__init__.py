"""Find faces and align them. Detectors share one interface and run on onnxruntime."""

from typing import Literal, Protocol, get_args

from mftn.limits import check_choice, check_range
from mftn.types import Detection, Image

DetectorName = Literal["yunet", "mtcnn", "none"]
"""Face detectors; "none" treats each image as one face."""

DETECTORS: tuple[Literal["yunet", "mtcnn"], ...] = ("yunet", "mtcnn")
"""The detectors that search for faces: all but "none"."""

SMALLEST_SIZE = 64
"""Smallest `detect_size` in pixels; below it no detector finds a face."""


class Detector(Protocol):
    """Finds faces in an image."""

    def detect(self, image: Image) -> list[Detection]:
        """Faces in an H×W×3 image, from the highest score to the lowest."""
        ...


class WholeImage:
    """Treats each image as one face, for images that are already face crops."""

    def detect(self, image: Image) -> list[Detection]:
        """One face whose box is the H×W×3 image; it has neither score nor landmarks."""
        height, width = image.shape[:2]
        return [Detection((0.0, 0.0, float(width), float(height)), None, None)]


def load_detector(
    name: DetectorName = "yunet", *, min_score: float | None = None, threads: int = 1, detect_size: int | None = None
) -> Detector:
    """Load a face detector.

    Args:
        name: "yunet" (default, fast), "mtcnn" (the published alignment), or "none" to treat each image as one face.
        min_score: Lowest score of a face, 0 to 1; if None, 0.5 for YuNet and 0.8 for MTCNN.
        threads: Processor threads; 0 for all cores.
        detect_size: Largest size, in pixels of the longer side, at which images are searched for faces; smaller is
            faster and misses more small faces. None is the image's full size (MTCNN: half of it for large images).

    Raises:
        ConfigError: There is no such detector, or the size is too small.
    """
    check_choice("detector", name, get_args(DetectorName))
    if detect_size is not None:
        check_range("detect_size", detect_size, SMALLEST_SIZE)
    if name == "yunet":
        from mftn.faces.yunet import YuNet

        return YuNet(min_score, threads=threads, detect_size=detect_size)
    if name == "mtcnn":
        from mftn.faces.mtcnn import MTCNN

        return MTCNN(min_score, threads=threads, detect_size=detect_size)
    return WholeImage()
