"""From a data set as its owners give it to aligned crops, a manifest and a description.

Every face stays: where the detector finds none, the annotated box or the whole picture is taken and flagged, so that
splits keep their size. Work is done in parts of a few faces; a part's rows are written when its crops are, so a run
that was stopped at any moment goes on where it was, and ends with the same bytes.
"""

import hashlib
import io
import json
import multiprocessing
import os
import shutil
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image as PillowImage

from mftn.data.duplicates import connected, near_pairs
from mftn.data.manifest import SCHEMA
from mftn.data.records import SPLITS, Record, Split
from mftn.data.splits import assign_splits
from mftn.errors import DataError, ImageError, OutputError
from mftn.faces import Detector, load_detector
from mftn.faces.align import ARCFACE, align, similarity_transform
from mftn.faces.boxes import choose_face, detect_near
from mftn.files import atomic_write, write_bytes
from mftn.images import read_image
from mftn.types import Box, Detection, Image

PART = 64
"""Faces a part: what is done again, at most, after a run was stopped."""


@dataclass(frozen=True, slots=True)
class Preparation:
    """How crops are cut.

    Attributes:
        size: Side of the crops in pixels.
        template: Where the five landmarks go, as fractions of the side.
        whole: The box of the crop, in fractions of its side, that an annotated box or a whole picture fills.
        detector: Name of the face detector; "none" cuts by annotated boxes or takes whole pictures.
        min_score: Faces below this score count as not found.
        format: png keeps every pixel; jpg is smaller.
        quality: Of jpg, 1 to 100.
    """

    size: int
    template: tuple[tuple[float, float], ...]
    whole: Box
    detector: str = "yunet"
    min_score: float = 0.3
    format: Literal["png", "jpg"] = "png"
    quality: int = 95


@dataclass(frozen=True, slots=True)
class Shares:
    """What is split off where the owners give no split, stratified by expression.

    Attributes:
        valid: Share of the training faces (of all, without official splits) that validate.
        test: Share of all faces that test, without official splits.
        seed: Of the choice.
    """

    valid: float = 0.1
    test: float = 0.2
    seed: int = 0


def arcface_preparation(size: int = 112, view: float = 1.0, **others: Any) -> Preparation:
    """Crops as the published alignment (face.evoLVe, ArcFace) cuts them.

    Args:
        size: Side of the crops in pixels.
        view: The share of the side that the network sees; the rest is margin.
        **others: The other fields of `Preparation`.
    """
    return _preparation(ARCFACE, size, view, others)


def ferplus_preparation(size: int = 96, view: float = 0.875, **others: Any) -> Preparation:
    """Crops framed as FER2013 frames its faces, with a margin for augmentation.

    The median landmarks of FERPlus's training pictures are ArcFace's template scaled by 1.068 and moved by
    (−0.034, −0.121) of the side (YuNet, every 14th picture). So an aligned face looks as the data set shows it,
    and little black comes in from outside its 48×48 pixels.

    Args:
        size: Side of the crops in pixels.
        view: The share of the side that the network sees.
        **others: The other fields of `Preparation`.
    """
    return _preparation(ARCFACE * 1.068 + (-0.034, -0.121), size, view, others)


def _preparation(framed: NDArray[np.float64], size: int, view: float, others: dict[str, Any]) -> Preparation:
    template = (framed - 0.5) * view + 0.5
    margin = (1 - view) / 2
    points = tuple((round(float(x), 6), round(float(y), 6)) for x, y in template)
    return Preparation(size, points, (margin, margin, 1 - margin, 1 - margin), **others)


def prepare(
    records: Iterable[Record],
    out: str | Path,
    preparation: Preparation,
    *,
    root: str | Path = "",
    shares: Shares | None = None,
    about: dict[str, Any] | None = None,
    workers: int = 2,
    part_size: int = PART,
    skip_damaged: bool = False,
    on_part: Callable[[int], None] | None = None,
) -> Path:
    """Write crops, `manifest.parquet` and `dataset.json`, or go on with a run that was stopped.

    Args:
        records: The faces, in an order that is the same at every run.
        out: The folder to make, or to complete.
        preparation: How crops are cut.
        root: Source files are noted relative to it.
        shares: What is split off where the owners give no split.
        about: More for `dataset.json`: name, licence, options.
        workers: Processes; 1 works in this one.
        part_size: Faces a part.
        skip_damaged: Leave out pictures that cannot be read and name them in `dataset.json`, instead of stopping.
        on_part: Called with the number of faces done, after each part.

    Returns:
        The manifest's path.

    Raises:
        DataError: `out` was prepared with other settings, or cannot be written to.
        ImageError: A picture cannot be read.
    """
    out, shares = Path(out), shares or Shares()
    manifest = out / "manifest.parquet"
    settings = (about or {}) | {
        "preparation": asdict(preparation),
        "shares": asdict(shares),
        "skip_damaged": skip_damaged,
    }
    settings = json.loads(json.dumps(settings))  # as it will be read back
    with _explained(out):
        parts = out / ".parts"
        _open(out, parts, settings)
        if not manifest.exists():
            names = []
            task = _Task(out, str(root), preparation, skip_damaged)
            for name, done in _run(task, _in_parts(records, part_size), workers):
                names.append(name)
                if on_part:
                    on_part(done)
            _finish(out, [parts / name for name in names], settings, shares)
        shutil.rmtree(parts, ignore_errors=True)
    return manifest


@contextmanager
def _explained(out: Path) -> Iterator[None]:
    """The system's refusals as errors that say what to do."""
    try:
        yield
    except OSError as error:
        reason = str(error) if isinstance(error, OutputError) else f"{error.filename or out}: {error.strerror or error}"
        raise DataError(
            f"{reason}; put it right and give the same command again: it goes on where it stopped"
        ) from error


def _open(out: Path, parts: Path, settings: dict[str, Any]) -> None:
    """Make the folder, or see that what lies there came from the same settings."""
    complete, begun = out / "dataset.json", parts / "settings.json"
    for file in (complete, begun):
        if file.exists():
            before = json.loads(file.read_text(encoding="utf-8"))
            if differing := [key for key in settings if before.get(key) != settings[key]]:
                raise DataError(
                    f"{out}: was prepared with another {' and '.join(differing)}; choose another folder or remove it"
                )
    if (out / "manifest.parquet").exists() and not complete.exists():
        raise DataError(f"{out}: holds a manifest but no dataset.json; choose another folder or remove it")
    if not (out / "manifest.parquet").exists():
        parts.mkdir(parents=True, exist_ok=True)
        write_bytes(begun, json.dumps(settings).encode())


def _in_parts(records: Iterable[Record], size: int) -> Iterator[tuple[str, list[Record]]]:
    iterator, number = iter(records), 0
    while part := list(islice(iterator, size)):
        yield f"{number:06d}.parquet", part
        number += 1


@dataclass(frozen=True, slots=True)
class _Task:
    """What every worker knows."""

    out: Path
    root: str
    preparation: Preparation
    skip_damaged: bool


def _run(task: _Task, parts: Iterator[tuple[str, list[Record]]], workers: int) -> Iterator[tuple[str, int]]:
    """Name and faces of every part in order, once it is written; few parts wait at a time, so memory stays flat."""
    if workers <= 1:
        worker = _Worker(task)
        for name, records in parts:
            yield name, worker(name, records)
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy threads and locks of this process
    pool = ProcessPoolExecutor(workers, context, _start_worker, (task,))
    waiting: deque[tuple[str, Future[int]]] = deque()
    try:
        for name, records in parts:
            waiting.append((name, pool.submit(_work, name, records)))
            if len(waiting) >= 4 * workers:
                first, future = waiting.popleft()
                yield first, future.result()
        for name, future in waiting:
            yield name, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


_worker: "_Worker"


def _start_worker(task: _Task) -> None:
    global _worker  # noqa: PLW0603 (one detector a process)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _worker = _Worker(task)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent:
        wait([parent.sentinel])
        os._exit(1)


def _work(name: str, records: list[Record]) -> int:
    return _worker(name, records)


class _Worker:
    """Detects, aligns and writes the faces of a part."""

    def __init__(self, task: _Task) -> None:
        self.task = task
        chosen = task.preparation.detector
        self.detector: Detector | None = None
        if chosen != "none":
            self.detector = load_detector(chosen, min_score=task.preparation.min_score, threads=1)

    def __call__(self, name: str, records: list[Record]) -> int:
        """Write a part unless it is there, and return its number of faces."""
        file = self.task.out / ".parts" / name
        crops = [f"{record.name}.{self.task.preparation.format}" for record in records]
        if not (file.exists() and pq.read_table(file, columns=["path"])["path"].to_pylist() == crops):
            for folder in {Path(crop).parent for crop in crops}:
                (self.task.out / folder).mkdir(parents=True, exist_ok=True)
            rows = [self._row(record, crop) for record, crop in zip(records, crops, strict=True)]
            content = io.BytesIO()
            pq.write_table(pa.Table.from_pylist(rows, SCHEMA.append(pa.field("damaged", pa.string()))), content)
            write_bytes(file, content.getvalue())
        return len(records)

    def _row(self, record: Record, crop_name: str) -> dict[str, Any]:
        source = record.source
        noted = os.path.relpath(source, self.task.root) if self.task.root else source.name
        row: dict[str, Any] = {
            "path": crop_name,
            "split": record.split,
            "label": record.label,
            "votes": record.votes,
            "source": noted if record.pixels is None else f"{noted}:{record.where.rpartition(':')[2]}",
            "face": record.face,
        }
        try:
            image = read_image(_square(record.pixels) if record.pixels is not None else source)
        except ImageError as error:
            if self.task.skip_damaged:
                return row | {"damaged": str(error)}
            raise ImageError(f"{error} (named in {record.where}), or leave it out with --skip-damaged") from error
        face = self._find(image, record.box)
        crop, cut_by, residual = _cut(image, face, record.box, self.task.preparation)
        content = _encode(crop, _is_grey(image), self.task.preparation)
        (self.task.out / crop_name).write_bytes(content)
        grey = np.asarray(PillowImage.fromarray(crop).convert("L"))
        return row | {
            "cut_by": cut_by,
            "face_found": face is not None,
            "box": face.box if face else record.box,
            "landmarks": face.landmarks.ravel() if face and face.landmarks is not None else None,
            "detector": self.task.preparation.detector,
            "score": face.score if face else None,
            "residual": residual,
            "blur": laplacian_variance(grey),
            "brightness": float(grey.mean()),
            "sha256": hashlib.sha256(content).hexdigest(),
            "phash": perceptual_hash(grey),
        }

    def _find(self, image: Image, box: Box | None) -> Detection | None:
        """The face that the record is about; around the annotated box where there is one."""
        if self.detector is None:
            return None
        if box is None:
            return choose_face(self.detector.detect(image), image)
        return detect_near(self.detector, image, box, margin=0.5, min_overlap=0.2)


def _square(pixels: bytes) -> NDArray[np.uint8]:
    side = int(len(pixels) ** 0.5)
    return np.frombuffer(pixels, np.uint8).reshape(side, side)


def _cut(
    image: Image, face: Detection | None, box: Box | None, preparation: Preparation
) -> tuple[Image, str, float | None]:
    """The crop, what it was cut by, and how far its landmarks lie from the template, in sides."""
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
        side = min(height, width)  # of a long picture the centre, rather than black bars
    # A square is moved as a face is: the template's points, laid into the square, are its landmarks.
    inset = np.array(preparation.whole[:2])
    scale = side / (preparation.whole[2] - preparation.whole[0])
    landmarks = np.array(middle) - side / 2 + (template - inset) * scale
    return align(image, landmarks.astype(np.float32), preparation.size, template), "box" if box else "picture", None


def _is_grey(image: Image) -> bool:
    coarse = image[::16, ::16]  # colour shows here at once, and spares the look at every pixel
    return all(bool((view[..., :1] == view[..., 1:]).all()) for view in (coarse, image))


def _encode(crop: Image, grey: bool, preparation: Preparation) -> bytes:
    content = io.BytesIO()
    picture = PillowImage.fromarray(crop).convert("L" if grey else "RGB")
    if preparation.format == "png":
        picture.save(content, "PNG")
    else:
        picture.save(content, "JPEG", quality=preparation.quality, subsampling=0)
    return content.getvalue()


def laplacian_variance(grey: NDArray[np.uint8]) -> float:
    """Variance of the four-neighbour Laplacian of an H×W picture: low where it is blurred."""
    x = grey.astype(np.float32)
    laplacian = x[:-2, 1:-1] + x[2:, 1:-1] + x[1:-1, :-2] + x[1:-1, 2:] - 4 * x[1:-1, 1:-1]
    return float(laplacian.var())


def perceptual_hash(grey: NDArray[np.uint8]) -> bytes:
    """256 bits of an H×W picture's low frequencies (imagehash's phash, 16×16)."""
    import imagehash

    return np.packbits(imagehash.phash(PillowImage.fromarray(grey), hash_size=16).hash).tobytes()


def _finish(out: Path, parts: list[Path], settings: dict[str, Any], shares: Shares) -> None:
    """Join the parts, complete the splits, write dataset.json, and last the manifest: it makes the folder complete."""
    if not parts:
        raise DataError(f"{out}: there is no face to prepare")
    columns = ["split", "label", "source", "phash", "face_found", "damaged"]
    every = pa.concat_tables(pq.read_table(part, columns=columns) for part in parts).to_pydict()
    kept = [index for index, reason in enumerate(every["damaged"]) if reason is None]
    split, labels, sources, hashes, found = ([every[name][i] for i in kept] for name in columns[:5])
    split = complete_splits(split, labels, sources, hashes, shares)
    voted = pq.read_table(parts[0], columns=["votes"])["votes"].null_count == 0
    expressions = Counter((own, label or "none") for own, label in zip(split, labels, strict=True))
    splits = [name for name in SPLITS if name in split]
    description = settings | {
        "classes": 8 if voted or "contempt" in labels else 7,
        "pictures": {name: split.count(name) for name in splits},
        "expressions": {
            name: {label: count for (own, label), count in sorted(expressions.items()) if own == name}
            for name in splits
        },
        "without_face": dict(Counter(own for own, face in zip(split, found, strict=True) if not face)),
        "damaged": [reason for reason in every["damaged"] if reason],
    }
    write_bytes(out / "dataset.json", json.dumps(description, indent=1, ensure_ascii=False).encode())
    start = 0
    with atomic_write(out / "manifest.parquet") as partial, pq.ParquetWriter(partial, SCHEMA) as writer:
        for part in parts:
            table = pq.read_table(part)
            table = table.filter(pc.is_null(table["damaged"])).drop_columns(["damaged"])
            table = table.set_column(1, "split", pa.array(split[start : start + table.num_rows], pa.string()))
            start += table.num_rows
            writer.write_table(table)


def complete_splits(
    split: list[Split | None], labels: list[str | None], sources: list[str], hashes: list[bytes], shares: Shares
) -> list[Split]:
    """The owners' splits, completed: all three where there is none, validation out of train where it is missing.

    Near duplicates, and the faces of one picture, stay together.
    """
    if None in split:
        open_split, wanted = None, {"valid": shares.valid, "test": shares.test}
    elif "valid" not in split and "train" in split:
        open_split, wanted = "train", {"valid": shares.valid}
    else:
        return split  # type: ignore[return-value]  # none is None here
    chosen = [index for index, name in enumerate(split) if name == open_split]
    _, first, picture = np.unique([sources[index] for index in chosen], return_index=True, return_inverse=True)
    same_picture = np.column_stack([first[picture], np.arange(len(chosen))])
    pairs = np.concatenate([near_pairs(hashes[index] for index in chosen)[:, :2], same_picture])
    groups = connected(pairs, len(chosen))
    made = assign_splits([labels[index] or "none" for index in chosen], groups, wanted, shares.seed)  # type: ignore[arg-type]
    completed = list(split)
    for index, name in zip(chosen, made, strict=True):
        completed[index] = name
    return completed  # type: ignore[return-value]
