"""One face: detect it in its image, crop it to the template, store and measure it."""

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from mftn.data.prepare.framing import Preparation
from mftn.data.records import Record
from mftn.faces import Detector, load_detector
from mftn.faces.align import align, similarity_transform
from mftn.faces.boxes import choose_face, detect_near
from mftn.images import read_image
from mftn.types import Box, Detection, Image


class Cropper:
    """Detects, aligns, writes and measures faces; one per process.

    Args:
        out: The data set's folder.
        preparation: How faces are cropped.
    """

    def __init__(self, out: Path, preparation: Preparation) -> None:
        self.out, self.preparation = out, preparation
        self.detector: Detector | None = None
        if preparation.detector != "none":
            self.detector = load_detector(preparation.detector, min_score=preparation.min_score, threads=1)

    def __call__(self, record: Record, path: str) -> dict[str, Any]:
        """Write the crop of a record to a path inside the folder.

        Returns:
            The manifest's columns that are detected or measured.

        Raises:
            ImageError: The source cannot be read.
        """
        image = read_image(record.source if record.pixels is None else _square(record.pixels))
        face = self._find(image, record.box)
        crop, cut_by, residual = make_crop(image, face, record.box, self.preparation)
        content = encode(crop, is_grey(image), self.preparation)
        (self.out / path).write_bytes(content)
        grey = np.asarray(PillowImage.fromarray(crop).convert("L"))
        return {
            "cut_by": cut_by,
            "face_found": face is not None,
            "box": face.box if face else record.box,
            "landmarks": face.landmarks.ravel() if face and face.landmarks is not None else None,
            "detector": self.preparation.detector,
            "score": face.score if face else None,
            "residual": residual,
            "blur": laplacian_variance(grey),
            "brightness": float(grey.mean()),
            "sha256": hashlib.sha256(content).hexdigest(),
            "phash": perceptual_hash(grey),
        }

    def _find(self, image: Image, box: Box | None) -> Detection | None:
        """The record's face; near the annotated box if there is one."""
        if self.detector is None:
            return None
        if box is None:
            return choose_face(self.detector.detect(image), image)
        return detect_near(self.detector, image, box, margin=0.5, min_overlap=0.2)


def _square(pixels: bytes) -> NDArray[np.uint8]:
    side = int(len(pixels) ** 0.5)
    return np.frombuffer(pixels, np.uint8).reshape(side, side)


def make_crop(
    image: Image, face: Detection | None, box: Box | None, preparation: Preparation
) -> tuple[Image, str, float | None]:
    """Crop by the face's landmarks, else by the annotated box, else take the whole image.

    Args:
        image: H×W×3.
        face: The detected face, if any.
        box: The annotated box, if any.
        preparation: How faces are cropped.

    Returns:
        The crop, what it was cropped by, and the root mean square distance of its landmarks from the template, in sides
        of the crop.
    """
    template = np.asarray(preparation.template, np.float64)
    if face is not None and face.landmarks is not None:
        transform = similarity_transform(face.landmarks, template)
        moved = face.landmarks @ transform[:, :2].T + transform[:, 2]
        residual = float(np.sqrt(((moved - template) ** 2).sum(axis=1).mean()))
        return align(image, face.landmarks, preparation.size, template), "landmarks", residual
    height, width = image.shape[:2]
    left, top, right, bottom = box or (0, 0, width, height)
    middle, side = ((left + right) / 2, (top + bottom) / 2), max(right - left, bottom - top)
    if box is None and side > 1.5 * min(height, width):
        side = min(height, width)  # of a long image, take the centre rather than black bars
    # Align the square like a face, with the template's points inside it as landmarks.
    inset = np.array(preparation.whole[:2])
    scale = side / (preparation.whole[2] - preparation.whole[0])
    landmarks = np.array(middle) - side / 2 + (template - inset) * scale
    return align(image, landmarks.astype(np.float32), preparation.size, template), "box" if box else "image", None


def is_grey(image: Image) -> bool:
    """Whether all channels of an H×W×3 image are the same."""
    coarse = image[::16, ::16]  # colour usually shows here already, without checking every pixel
    return all(bool((view[..., :1] == view[..., 1:]).all()) for view in (coarse, image))


def encode(crop: Image, grey: bool, preparation: Preparation) -> bytes:
    """Encode a crop; with one channel if its source is grey."""
    content = io.BytesIO()
    stored = PillowImage.fromarray(crop).convert("L" if grey else "RGB")
    if preparation.format == "png":
        stored.save(content, "PNG")
    else:
        stored.save(content, "JPEG", quality=preparation.quality, subsampling=0)
    return content.getvalue()


def laplacian_variance(grey: NDArray[np.uint8]) -> float:
    """Variance of the four-neighbour Laplacian of an H×W image: low where it is blurred."""
    x = grey.astype(np.float32)
    laplacian = x[:-2, 1:-1] + x[2:, 1:-1] + x[1:-1, :-2] + x[1:-1, 2:] - 4 * x[1:-1, 1:-1]
    return float(laplacian.var())


def perceptual_hash(grey: NDArray[np.uint8]) -> bytes:
    """256 bits of an H×W image's low frequencies (imagehash's phash, 16×16)."""
    import imagehash

    return np.packbits(imagehash.phash(PillowImage.fromarray(grey), hash_size=16).hash).tobytes()
