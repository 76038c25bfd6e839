"""From a data set as its owners give it to aligned crops and a manifest.

Every picture stays: where no face is found the whole picture is taken and flagged, so that splits keep
their size.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from mftn.data.records import Record
from mftn.errors import DataError
from mftn.faces import Detector, load_detector
from mftn.faces.align import ARCFACE, align
from mftn.images import read_image
from mftn.types import Box, Detection, Image


@dataclass(frozen=True, slots=True)
class Preparation:
    """How crops are cut.

    Attributes:
        size: Side of the crops in pixels.
        template: Where the five landmarks go, as fractions of the side.
        whole: The box of the crop, in fractions of its side, that a picture without a face fills.
        detector: Name of the face detector.
        min_score: Faces below this score count as not found.
    """

    size: int
    template: tuple[tuple[float, float], ...]
    whole: Box
    detector: str = "yunet"
    min_score: float = 0.3


def ferplus_preparation(size: int = 96, view: float = 0.875) -> Preparation:
    """Crops framed as FER2013 frames its faces, with a margin for augmentation.

    The median landmarks of FERPlus's training pictures are ArcFace's template scaled by 1.068 and moved by
    (−0.034, −0.121) of the side (YuNet, every 14th picture). So an aligned face looks as the data set shows it,
    and little black comes in from outside its 48×48 pixels.

    Args:
        size: Side of the crops in pixels.
        view: The share of the side that the network sees.
    """
    framed = ARCFACE * 1.068 + (-0.034, -0.121)
    template = (framed - 0.5) * view + 0.5
    margin = (1 - view) / 2
    points = tuple((round(float(x), 6), round(float(y), 6)) for x, y in template)
    return Preparation(size, points, (margin, margin, 1 - margin, 1 - margin))


def prepare(
    records: Iterable[Record],
    out: str | Path,
    preparation: Preparation,
    workers: int = 2,
    progress: Callable[[Iterator[Any]], Iterable[Any]] = iter,
) -> Path:
    """Write `SPLIT/NAME.png` crops and `manifest.parquet` into a new folder.

    Args:
        records: The pictures with their labels.
        out: The folder to make; it must not hold a manifest yet.
        preparation: How crops are cut.
        workers: Processes that detect and align.
        progress: Wraps the iterator over finished pictures, for a progress bar.

    Returns:
        The manifest's path.

    Raises:
        DataError: `out` holds a prepared data set already.
        ImageError: A picture cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    out = Path(out)
    manifest = out / "manifest.parquet"
    if manifest.exists():
        raise DataError(f"{manifest}: is there already; prepare into another folder or remove this one")
    records = list(records)
    for split in {record.split for record in records}:
        (out / split).mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(workers, initializer=_start_worker, initargs=(out, preparation)) as pool:
        rows = list(progress(pool.map(_prepare_one, records, chunksize=32)))
    counts = Counter(row["split"] for row in rows)
    description = {"preparation": asdict(preparation), "pictures": dict(counts)} | {
        "without_face": dict(Counter(row["split"] for row in rows if not row["face_found"]))
    }
    (out / "dataset.json").write_text(json.dumps(description, indent=1), encoding="utf-8")
    temporary = manifest.with_suffix(".partial")
    pq.write_table(pa.Table.from_pylist(rows), temporary)
    temporary.replace(manifest)  # last: a folder with a manifest is complete
    return manifest


_worker: tuple[Path, Preparation, Detector]


def _start_worker(out: Path, preparation: Preparation) -> None:
    global _worker  # noqa: PLW0603 (one detector a process)
    _worker = (out, preparation, load_detector(preparation.detector, min_score=preparation.min_score, threads=1))


def _prepare_one(record: Record) -> dict[str, Any]:
    out, preparation, detector = _worker
    image = read_image(record.path)
    face = choose_face(detector.detect(image), image)
    if face is None or face.landmarks is None:
        crop = _whole(image, preparation)
    else:
        crop = align(image, face.landmarks, preparation.size, np.asarray(preparation.template, np.float32))
    path = Path(record.split) / record.path.with_suffix(".png").name
    PillowImage.fromarray(crop).convert("L" if _is_grey(image) else "RGB").save(out / path)
    return {
        "path": path.as_posix(),
        "split": record.split,
        "votes": list(record.votes),
        "source": record.path.name,
        "face_found": face is not None,
        "box": list(face.box) if face else None,
        "score": face.score if face else None,
        "landmarks": face.landmarks.ravel().tolist() if face and face.landmarks is not None else None,
    }


def choose_face(faces: list[Detection], image: Image) -> Detection | None:
    """The face a picture of one person is about: large and central; None where there is none."""
    height, width = image.shape[:2]
    centre, diagonal = np.array([width / 2, height / 2]), np.hypot(height, width)

    def prominence(face: Detection) -> float:
        left, top, right, bottom = face.box
        away = np.hypot(*(np.array([left + right, top + bottom]) / 2 - centre)) / diagonal
        return float(np.sqrt(max(right - left, 0) * max(bottom - top, 0)) / diagonal - away)

    return max(faces, key=prominence, default=None)


def _whole(image: Image, preparation: Preparation) -> Image:
    """The whole picture, scaled into the part of the crop that an average picture fills."""
    left, top, right, bottom = (round(edge * preparation.size) for edge in preparation.whole)
    crop: NDArray[np.uint8] = np.zeros((preparation.size, preparation.size, 3), np.uint8)
    scaled = PillowImage.fromarray(image).resize((right - left, bottom - top), PillowImage.Resampling.BILINEAR)
    crop[top:bottom, left:right] = np.asarray(scaled)
    return crop


def _is_grey(image: Image) -> bool:
    return bool((image[..., :1] == image[..., 1:]).all())
