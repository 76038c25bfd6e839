"""Find faces and align them. Detectors share one interface and run on onnxruntime."""

import difflib
from typing import Protocol

from mftn.errors import ConfigError
from mftn.types import Detection, Image

DETECTORS = ("yunet", "mtcnn")
"""What finds faces; "none" takes each image as one face."""


class Detector(Protocol):
    """What finds faces."""

    def detect(self, image: Image) -> list[Detection]:
        """Faces of an H×W×3 picture, from the highest score to the lowest."""
        ...


class WholeImage:
    """Takes each image as one face, for images that are face crops already."""

    def detect(self, image: Image) -> list[Detection]:
        """One face whose box is the H×W×3 image; it has neither score nor landmarks."""
        height, width = image.shape[:2]
        return [Detection((0.0, 0.0, float(width), float(height)), None, None)]


def load_detector(name: str = "yunet", *, min_score: float | None = None, threads: int = 1) -> Detector:
    """Load a face detector.

    Args:
        name: "yunet" (default, fast), "mtcnn" (the published alignment), or "none" to take each image as one face.
        min_score: Faces below this score are left out, 0 to 1; the detector's own default if None.
        threads: Processor threads; 0 for all cores.

    Raises:
        ConfigError: There is no such detector.
    """
    if name == "yunet":
        from mftn.faces.yunet import YuNet

        return YuNet(threads=threads) if min_score is None else YuNet(min_score, threads=threads)
    if name == "mtcnn":
        from mftn.faces.mtcnn import MTCNN

        return MTCNN(threads=threads) if min_score is None else MTCNN(min_score, threads=threads)
    if name == "none":
        return WholeImage()
    near = difflib.get_close_matches(name, (*DETECTORS, "none"), n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(DETECTORS)} and none"
    raise ConfigError(f"{name}: no such face detector; {hint}")
