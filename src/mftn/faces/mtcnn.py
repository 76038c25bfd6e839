"""MTCNN, the cascade behind the published alignment, on onnxruntime (weights: the package mtcnn, MIT).

P-Net proposes boxes over an image pyramid, R-Net refines them on 24×24 patches, and O-Net on 48×48 patches, where it
also predicts five landmarks. Source: Zhang et al., Joint face detection and alignment using multi-task cascaded
convolutional networks, 2016.
"""

from importlib.resources import files

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from mftn.faces.boxes import non_maximum_suppression
from mftn.faces.levels import Rows, bordered
from mftn.faces.search import SearchingDetector
from mftn.runtime import Session
from mftn.types import Image

CELL, STRIDE = 12, 2
"""P-Net's window and step, in pixels of a pyramid level."""


class MTCNN(SearchingDetector):
    """Finds faces with MTCNN.

    Args:
        min_score: Lowest score of the last network, 0 to 1; 0.8 if None.
        min_face: Side in pixels of the smallest face found at the largest scale; smaller takes longer.
        thresholds: Lowest scores that pass P-Net and R-Net.
        pyramid: Factor between two levels of the pyramid, 0 to 1.
        threads: Processor threads; 0 for all cores.
        detect_size: Pixels of the image's longer side on the largest scale; chosen from its size if None.
        turned: Detect again in quarter turns where a face is doubtful or none was found.
    """

    first_side, whole_side, finest, enlarges = 1280, 1280, 0.5, False
    default_score, sure_score = 0.8, 0.97

    def __init__(
        self,
        min_score: float | None = None,
        min_face: int = 20,
        thresholds: tuple[float, float] = (0.6, 0.7),
        pyramid: float = 0.709,
        threads: int = 1,
        detect_size: int | None = None,
        turned: bool = True,
    ) -> None:
        super().__init__(
            min_score=min_score,
            max_overlap=0.45,
            detect_size=detect_size,
            turned=turned,
            threads=1,  # the networks use `threads` instead
        )
        weights = files("mftn.faces") / "weights"
        self.proposal, self.refinement, self.output = (
            Session((weights / f"{name}.onnx").read_bytes(), threads) for name in ("pnet", "rnet", "onet")
        )
        self.min_face, self.thresholds, self.pyramid = min_face, thresholds, pyramid

    def detect_on_first_scale(self, image: Image) -> Rows:
        """Faces of an H×W×3 image.

        A face that fills the image is often missed because it has no surroundings, so where nothing is found a second
        pass adds a black border of a fifth of the longer side.
        """
        rows = self.detect_on_scale(image)
        if not len(rows):
            border = round(max(image.shape[:2]) / 5)
            rows = self.detect_on_scale(bordered(image, border))
            rows[:, :14] -= border
        return rows

    def detect_on_scale(self, image: Image) -> Rows:
        """Faces of an H×W×3 image on its own scale."""
        whole = PillowImage.fromarray(image)
        boxes = self._propose(whole)

        probabilities, offsets = self._run_on_patches(self.refinement, whole, boxes, 24)
        boxes, scores, offsets = _keep(probabilities >= self.thresholds[1], boxes, probabilities, offsets)
        chosen = non_maximum_suppression(boxes, scores, 0.7)
        boxes = _square(_moved(boxes[chosen], offsets[chosen]))

        probabilities, offsets, points = self._run_on_patches(self.output, whole, boxes, 48)
        boxes, scores, offsets, points = _keep(probabilities >= self.min_score, boxes, probabilities, offsets, points)
        # Landmarks are fractions of the patch the network saw, so they are placed before the box moves.
        landmarks = boxes[:, None, :2] + points.reshape(-1, 2, 5).transpose(0, 2, 1) * _sides(boxes)[:, None]
        boxes = _moved(boxes, offsets)
        chosen = non_maximum_suppression(boxes, scores, 0.7, over="smaller")
        return np.column_stack([boxes, landmarks.reshape(-1, 10), scores])[chosen]

    def _propose(self, image: PillowImage.Image) -> NDArray[np.float32]:
        """Square candidate boxes (n, 4) from P-Net."""
        found, offsets = [np.empty((0, 4), np.float32)], [np.empty((0, 4), np.float32)]
        scores = [np.empty(0, np.float32)]
        scale = CELL / self.min_face
        while min(image.size) * scale >= CELL:
            level = image.resize(
                (round(image.width * scale), round(image.height * scale)), PillowImage.Resampling.BILINEAR
            )
            probabilities, regression = self.proposal.run(
                ["probabilities", "boxes"], {"images": np.asarray(level, np.float32).transpose(2, 0, 1)[None]}
            )
            rows, columns = np.nonzero(probabilities[0, 1] >= self.thresholds[0])
            corner = np.stack([columns, rows], axis=1) * STRIDE
            boxes = (np.concatenate([corner, corner + CELL], axis=1) / scale).astype(np.float32)
            score = probabilities[0, 1, rows, columns]
            chosen = non_maximum_suppression(boxes, score, 0.5)
            found.append(boxes[chosen])
            scores.append(score[chosen])
            offsets.append(regression[0, :, rows[chosen], columns[chosen]])
            scale *= self.pyramid
        boxes, score, offset = np.concatenate(found), np.concatenate(scores), np.concatenate(offsets)
        chosen = non_maximum_suppression(boxes, score, 0.7)
        return _square(_moved(boxes[chosen], offset[chosen]))

    def _run_on_patches(
        self, network: object, image: PillowImage.Image, boxes: NDArray[np.float32], side: int
    ) -> list[NDArray[np.float32]]:
        """Run a network on the patches in all boxes at once: face probabilities (n,), then its other outputs."""
        patches = np.empty((len(boxes), side, side, 3), np.float32)
        for patch, box in zip(patches, np.rint(boxes).astype(int), strict=True):
            left, top, right, bottom = box.tolist()
            # Pillow's crop is black where it extends beyond the image.
            crop = image.crop((left, top, max(right, left + 1), max(bottom, top + 1)))
            patch[:] = np.asarray(crop.resize((side, side), PillowImage.Resampling.BILINEAR))
        probabilities, *others = network.run(None, {"images": patches.transpose(0, 3, 1, 2)})  # type: ignore[attr-defined]
        return [probabilities[:, 1], *others]


def _keep(chosen: NDArray[np.bool_], *arrays: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    return [array[chosen] for array in arrays]


def _sides(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    return boxes[:, 2:] - boxes[:, :2]


def _moved(boxes: NDArray[np.float32], offsets: NDArray[np.float32]) -> NDArray[np.float32]:
    """Boxes moved by offsets in units of their own sides."""
    return boxes + offsets * np.tile(_sides(boxes), 2)


def _square(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Boxes grown to squares about their centres."""
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = _sides(boxes).max(axis=1, keepdims=True, initial=0) / 2
    return np.concatenate([centre - half, centre + half], axis=1)
