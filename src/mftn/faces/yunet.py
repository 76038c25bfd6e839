"""YuNet, a small face detector with five landmarks, on onnxruntime (weights: OpenCV Zoo, MIT).

Two looks at a picture. The close look sees it at 256 pixels inside a black border, where faces that fill the
picture are found and landmarks hold (they drift on faces above about 300 pixels). The wide look sees large
pictures at up to 960 pixels, for small faces. Source: Wu et al., YuNet: a tiny millisecond-level face
detector, 2023.
"""

import os
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from mftn.faces.boxes import non_maximum_suppression
from mftn.runtime import Pool, Session
from mftn.types import Detection, Image

STRIDES = (8, 16, 32)
CLOSE_SIDE, WIDE_SIDE = 256, 960


class YuNet:
    """Find faces.

    Args:
        min_score: Lowest score to report, 0 to 1.
        max_overlap: Of two boxes that overlap more than this (intersection over union) the better stays.
        threads: Both looks at once with more than 1; 0 for as many as there are cores.
        side: Of the close look, in pixels. Smaller than by default, it is the only look: faster, for a cut-out around
            a face whose place is nearly known.
    """

    def __init__(
        self, min_score: float = 0.5, max_overlap: float = 0.3, threads: int = 1, side: int = CLOSE_SIDE
    ) -> None:
        weights = files("mftn.faces") / "weights" / "yunet.onnx"
        # One thread a look: a look is too small to share, and two looks at once are twice as fast.
        self.session = Session(weights.read_bytes(), 1)
        threads = threads or os.cpu_count() or 1
        self.pool = Pool(threads) if threads > 1 else None
        self.min_score, self.max_overlap, self.side = min_score, max_overlap, side

    def detect(self, image: Image) -> list[Detection]:
        """Faces of an H×W×3 picture, from the highest score to the lowest."""
        longer = max(image.shape[:2])
        looks = [(self.side / longer, self.side // 4)]
        if longer > 1.5 * self.side and self.side >= CLOSE_SIDE:
            looks.append((min(WIDE_SIDE / longer, 1.0), 0))
        run = self.pool.map if self.pool and len(looks) > 1 else map
        rows = np.concatenate(list(run(lambda look: self._look(image, *look), looks)))  # (n, 15)
        rows = rows[non_maximum_suppression(rows[:, :4], rows[:, 14], self.max_overlap)]
        return [
            Detection(
                box=(float(row[0]), float(row[1]), float(row[2]), float(row[3])),
                score=float(row[14]),
                landmarks=row[4:14].reshape(5, 2).astype(np.float32),
            )
            for row in rows
        ]

    def _look(self, image: Image, scale: float, border: int) -> NDArray[np.float32]:
        """Detect at one scale, inside a border of so many scaled pixels; rows as in `decode`, in picture pixels."""
        height, width = (max(1, round(side * scale)) for side in image.shape[:2])
        scaled = PillowImage.fromarray(image).resize((width, height), PillowImage.Resampling.BILINEAR, reducing_gap=2.0)
        canvas_size = [-(-(side + 2 * border) // 32) * 32 for side in (height, width)]
        canvas = np.zeros((3, *canvas_size), np.float32)
        inner = canvas[:, border : border + height, border : border + width]
        inner[...] = np.asarray(scaled).transpose(2, 0, 1)[::-1]  # BGR
        rows = self.decode(canvas)
        offset, factor = np.float32(border), np.array([image.shape[1] / width, image.shape[0] / height], np.float32)
        rows[:, :14] = (rows[:, :14] - offset) * np.tile(factor, 7)
        return rows

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
