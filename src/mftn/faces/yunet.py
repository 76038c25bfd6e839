"""YuNet, a small face detector with five landmarks, on onnxruntime (weights: OpenCV Zoo, MIT).

The first scale shows the image at 256 pixels inside a black border, where faces that fill it are found and landmarks
hold (they drift on faces above about 300 pixels). Source: Wu et al., YuNet: a tiny millisecond-level face detector,
2023.
"""

from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from mftn.faces.levels import Rows, bordered
from mftn.faces.search import SearchingDetector
from mftn.runtime import Session
from mftn.types import Image

STRIDES = (8, 16, 32)
"""Pixels per cell of the network's three output maps."""


class YuNet(SearchingDetector):
    """Finds faces with YuNet.

    Args:
        min_score: Lowest score to report, 0 to 1; 0.5 if None.
        max_overlap: Of two boxes that overlap more than this (intersection over union) the better stays.
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
        # One thread per pass: a pass is too small to share, and two passes at once are twice as fast.
        self.session = Session(weights.read_bytes(), 1)

    def detect_on_first_scale(self, image: Image) -> Rows:
        """Faces of a small H×W×3 image, those that fill it included."""
        border = max(image.shape[:2]) // 4
        rows = self.detect_on_scale(bordered(image, border))
        rows[:, :14] -= border
        return rows

    def detect_on_scale(self, image: Image) -> Rows:
        """Faces of an H×W×3 image on its own scale."""
        height, width = (-(-side // 32) * 32 for side in image.shape[:2])
        canvas = np.zeros((3, height, width), np.float32)
        canvas[:, : image.shape[0], : image.shape[1]] = image.transpose(2, 0, 1)[::-1]  # BGR
        return self.decode(canvas)

    def decode(self, canvas: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the network on a BGR canvas (3, H, W) whose sides are multiples of 32.

        Returns:
            (n, 15): left, top, right, bottom, five landmarks (x, y), score, before suppression.
        """
        outputs = self.session.run(None, {"input": canvas[None]})
        rows = []
        for level, stride in enumerate(STRIDES):
            classes, objects, boxes, points = (outputs[kind * 3 + level][0] for kind in range(4))  # (N, ·)
            score = np.sqrt(np.clip(classes[:, 0], 0, 1) * np.clip(objects[:, 0], 0, 1))
            kept = np.flatnonzero(score >= self.min_score)
            columns = canvas.shape[2] // stride
            cell = np.stack([kept % columns, kept // columns], axis=1).astype(np.float32)  # (n, 2)
            centre = (cell + boxes[kept, :2]) * stride
            half = np.exp(boxes[kept, 2:]) * (stride / 2)
            landmarks = (points[kept].reshape(-1, 5, 2) + cell[:, None]) * stride
            rows.append(np.column_stack([centre - half, centre + half, landmarks.reshape(-1, 10), score[kept]]))
        return np.concatenate(rows).astype(np.float32)
