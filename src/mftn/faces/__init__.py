"""Find and align faces."""

from typing import Protocol

from mftn.types import Detection, Image


class Detector(Protocol):
    """What finds faces."""

    def detect(self, image: Image) -> list[Detection]:
        """Faces of an H×W×3 picture, from the highest score to the lowest."""
        ...


def load_detector(name: str = "yunet", *, min_score: float | None = None, threads: int = 1) -> Detector:
    from mftn.faces.yunet import YuNet

    return YuNet(min_score=0.5 if min_score is None else min_score, threads=threads)
