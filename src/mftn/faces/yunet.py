"""YuNet, a small face detector with five landmarks, on onnxruntime (weights: OpenCV Zoo, MIT).

On the first scale, the image has 256 pixels inside a black border: faces that fill it are found there, with reliable
landmarks (they drift on faces above about 300 pixels). Source: Wu et al., YuNet: a tiny millisecond-level face
detector, 2023.
"""

from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from mftn.faces.levels import Rows
from mftn.faces.search import SearchingDetector
from mftn.runtime import Session
from mftn.types import Image

STRIDES = (8, 16, 32)
"""Pixels per cell of the network's three output maps."""


class YuNet(SearchingDetector):
    """Finds faces with YuNet.

    Args:
        min_score: Lowest score to report, 0 to 1; 0.5 if None.
        max_overlap: Of two boxes that overlap by more than this (intersection over union), the better is kept.
        threads: Parts of an image processed at once; 0 for as many as there are cores.
        detect_size: Pixels of the image's longer side on the largest scale; chosen from its size if None.
        turned: Detect again in quarter turns where a face is doubtful or none was found.
    """

    first_side, whole_side, finest, enlarges = 256, 960, 1.0, True
    default_score, sure_score = 0.5, 0.9

    def __init__(
        self,
        min_score: float | None = None,
        max_overlap: float = 0.3,
        threads: int = 1,
        detect_size: int | None = None,
        turned: bool = True,
    ) -> None:
        super().__init__(
            min_score=min_score, max_overlap=max_overlap, detect_size=detect_size, turned=turned, threads=threads
        )
        weights = files("mftn.faces") / "weights" / "yunet.onnx"
        # One thread per pass: a pass is too small to split, and two passes in parallel are twice as fast.
        self.session = Session(weights.read_bytes(), 1)

    def detect_on_first_scale(self, image: Image) -> Rows:
        """Faces of a small H×W×3 image, including faces that fill it: a black border gives them surroundings."""
        border = max(image.shape[:2]) // 4
        rows = self.detect_on_scale(image, border)
        rows[:, :14] -= border
        return rows

    def detect_on_scale(self, image: Image, border: int = 0) -> Rows:
        """Faces of an H×W×3 image on its own scale, in pixels of the image within its border."""
        height, width = image.shape[:2]
        canvas = np.zeros((3, *(-(-(side + 2 * border) // 32) * 32 for side in (height, width))), np.float32)
        canvas[:, border : border + height, border : border + width] = image.transpose(2, 0, 1)[::-1]  # BGR
        return self.decode(canvas)

    def decode(self, canvas: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the network on a BGR canvas (3, H, W) whose sides are multiples of 32.

        Returns:
            (n, 15): left, top, right, bottom, five landmarks (x, y), score, before suppression.
        """
        outputs = self.session.run(None, {"input": canvas[None]})
        rows = []
        for stride, confidences, geometry in zip(STRIDES, outputs[::2], outputs[1::2], strict=True):
            columns = confidences.shape[3]
            score = np.sqrt(confidences[0].prod(axis=0)).ravel()
            kept = np.flatnonzero(score >= self.min_score)
            cell = np.stack([kept % columns, kept // columns], axis=1).astype(np.float32)  # (n, 2)
            shape = geometry[0].reshape(14, -1)[:, kept].T  # (n, 14)
            centre = (cell + shape[:, :2]) * stride
            half = np.exp(shape[:, 2:4]) * (stride / 2)
            landmarks = (shape[:, 4:].reshape(-1, 5, 2) + cell[:, None]) * stride
            rows.append(np.column_stack([centre - half, centre + half, landmarks.reshape(-1, 10), score[kept]]))
        return np.concatenate(rows).astype(np.float32)
