"""The pipeline: images → faces → crops → probabilities → predictions."""

from __future__ import annotations

import math
import os
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain, groupby
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mftn.download import is_address
from mftn.engines import (
    BATCH,
    Calibration,
    Engine,
    EngineName,
    Flipped,
    Precision,
    find_model,
    load_engine,
    tempered,
)
from mftn.errors import ImageError, ModelError
from mftn.faces import Detector, DetectorName, WholeImage, load_detector
from mftn.faces.align import align
from mftn.image_cache import CachedImage, value_bytes
from mftn.images import as_value, name_in_messages, name_of, read_image
from mftn.limits import check_choice, check_range, check_switch
from mftn.read_ahead import ReadAhead
from mftn.runtime import MemoryBudget
from mftn.sources import Source, find_sources
from mftn.types import Detection, Face, Image, Prediction

if TYPE_CHECKING:
    from mftn.images import ImageSource

T = TypeVar("T")

READ_AHEAD_IMAGES = 16
"""Images that `stream` reads ahead, besides those that its threads are working on."""

ENOUGH_FACES, MAX_WAIT_S = 8, 0.02
"""Number of faces above which a larger batch is hardly faster, and seconds that `stream` waits for as many faces from
images that are still being read or searched."""

THREAD_BYTES = 200_000_000
"""Bytes per thread of `stream` for images and crops; a larger image waits for its turn and is processed alone."""

BYTES_PER_PIXEL = 15
"""Memory per pixel while an image is decoded and its faces are detected: Pillow's copies and ours."""

ONE_IMAGE = (str, bytes, bytearray, memoryview, os.PathLike, Source)
"""Types of sources of `stream` that are a single image or path, although some of them are iterable."""


@dataclass(frozen=True, slots=True)
class Located:
    """An image whose faces were located but not yet classified: `Recognizer.locate` returns it for `classify`.

    Attributes:
        prediction: The prediction, without faces yet.
        faces: The detected faces.
        crops: (n, H, W, 3); None if they would take more memory than the image, which is then kept instead.
        image: The image, if there are no crops.
        value: The image as it was given to `stream`, unless as a path; its prediction keeps it.
    """

    prediction: Prediction
    faces: Sequence[Detection]
    crops: NDArray[np.uint8] | None
    image: Image | None = None
    value: ImageSource | None = None

    @property
    def nbytes(self) -> int:
        """Memory in bytes of its pixels and its value."""
        return sum(pixels.nbytes for pixels in (self.crops, self.image) if pixels is not None) + value_bytes(self.value)


class Recognizer:
    """Recognises faces and their expressions; create one with `load` and use it for many images.

    It can be shared by threads, used after a fork, and pickled.

    Args:
        engine: Runs the exported network.
        detector: Finds faces; None treats each image as one face.
        workers: Threads that read and detect in `stream`; 0 for one per core.
        calibration: The images that probabilities are calibrated for, as in `load`.
    """

    def __init__(
        self, engine: Engine, detector: Detector | None, workers: int = 0, calibration: Calibration = "general"
    ) -> None:
        self.engine, self.detector, self.calibration = engine, detector or WholeImage(), calibration
        self.workers = workers or os.cpu_count() or 1

    def __repr__(self) -> str:
        detector = "none" if isinstance(self.detector, WholeImage) else type(self.detector).__name__.lower()
        flip = isinstance(self.engine, Flipped)
        return f"Recognizer(model={self.engine.spec.name}, {detector=!s}, engine={self.engine.name}, {flip=})"

    def predict(self, image: ImageSource, *, bgr: bool = False) -> Prediction:
        """Recognise the expressions in one image.

        Args:
            image: A file's path, its http(s) address (up to 100 MB and 60 s), its content as bytes or a binary file
                object, a Pillow image, or an array of shape H×W (grey) or H×W×3 (RGB): uint8, uint16 or floating point
                from 0 to 1.
            bgr: The array's channels are blue, green, red, as OpenCV reads them.

        Returns:
            Its faces, from the highest detector score to the lowest; none if no face was found.

        Raises:
            ImageError: The image cannot be read.
        """
        name, value = name_of(image), as_value(image, bgr)
        (prediction,) = self.classify([self.locate(read_image(value, name=name_in_messages(image)), name)])
        return _keep(prediction, value)

    def stream(
        self, sources: ImageSource | Source | Iterable[ImageSource | Source], *, bgr: bool = False
    ) -> Iterator[Prediction]:
        """Yield predictions for many images, one by one, in order.

        Reading and detection run in one thread per core, in parallel with the network, which classifies the faces of
        several images at once. About twenty images are read ahead, fewer if they or their faces take much memory. An
        image that cannot be read yields a prediction with `error`, and the stream continues.

        Args:
            sources: Any mixture of files, folders, globs, results of `find_sources`, and images as in `predict`; an
                array N×H×W×3 is a batch. They are consumed lazily: a prediction does not wait for the next source. An
                array or a Pillow image must not be modified, or moved to another frame, until its prediction has been
                yielded. An exception of the iterable follows the predictions of the sources before it.
            bgr: The channels of arrays are blue, green, red.
        """
        pool, budget = ThreadPoolExecutor(self.workers), MemoryBudget(self.workers * THREAD_BYTES)
        items = ReadAhead(_numbered(_each(sources), budget), READ_AHEAD_IMAGES)
        waiting: deque[Future[Located]] = deque()
        try:
            while True:
                for number, item in items.take(READ_AHEAD_IMAGES + self.workers - len(waiting), wait=not waiting):
                    waiting.append(pool.submit(self._find, item, number, budget, bgr))
                if not waiting:
                    return
                ready = _ready(waiting)
                done = deque(zip(self.classify(ready), [image.value for image in ready], strict=True))
                del ready
                while done:
                    prediction = _keep(*done.popleft())
                    budget.release()
                    yield prediction
        finally:
            items.close()
            budget.close()
            pool.shutdown(cancel_futures=True)

    def track(
        self,
        source: str | os.PathLike[str] | int,
        *,
        start: float = 0.0,
        end: float | None = None,
        every: int = 1,
        fps: float | None = None,
        detect_every: int = 5,
        smooth: float = 0.3,
    ) -> Iterator[Prediction]:
        """Yield predictions for a video or a camera, one per frame, with `frame`, `time` and each face's `track`.

        Probabilities are averaged over time, around each frame of a video and over the earlier frames of a camera;
        flips are omitted. Needs `mftn[video]`. A video's predictions are delayed by `smooth` seconds of later frames;
        if these exceed 256 MB or 100 frames, predictions come without their images. A video that ends early, or has
        damaged packets, yields the frames that could be read and a warning at the end.

        Args:
            source: A video's path, a camera's number, or the address of a video or a stream.
            start: Of a video, the timestamp in seconds of the first frame to read.
            end: Of a video, the timestamp in seconds of the last frame to read; None for all.
            every: Read every Nth frame.
            fps: Instead, read the frames nearest to this many evenly spaced times per second.
            detect_every: Interval in frames between detections in the whole image.
            smooth: Seconds over which probabilities are averaged, up to 60; 0 turns smoothing off.

        Raises:
            ImageError: The video cannot be opened, or has no frames.
            MissingExtraError: PyAV is not installed.
            ConfigError: A number is out of range.
        """
        from mftn.track_video import track_faces

        return track_faces(
            self, source, start=start, end=end, every=every, fps=fps, detect_every=detect_every, smooth=smooth
        )

    def crops(self, image: Image, faces: Iterable[Detection]) -> NDArray[np.uint8]:
        """The aligned crop of each face in an H×W×3 image, (n, H, W, 3), as the network receives it."""
        info = self.engine.spec
        faces = list(faces)
        crops = np.empty((len(faces), *info.size, 3), np.uint8)
        for crop, face in zip(crops, faces, strict=True):
            crop[:] = crop_face(image, face, info.size, info.template)
        return crops

    def probabilities(self, crops: NDArray[np.uint8]) -> NDArray[np.floating[Any]]:
        """The calibrated probabilities (n, K) of crops (n, H, W, 3).

        Raises:
            ModelError: The network's output is not finite.
        """
        rows, spec = self.engine.probabilities(crops), self.engine.spec
        if not np.isfinite(rows).all():
            raise ModelError(f"{spec.name or spec.architecture}: its probabilities are not finite; use another model")
        return tempered(rows, spec.general_temperature) if self.calibration == "general" else rows

    def locate(self, image: Image, source: str) -> Located:
        """The first half of `predict`, for programs with their own threads: detect and crop the faces.

        Args:
            image: H×W×3.
            source: The image's name in the prediction.
        """
        height, width = image.shape[:2]
        faces, prediction = self.detector.detect(image), Prediction(source, width, height, ())
        crop_bytes = 3 * math.prod(self.engine.spec.size)
        if len(faces) > BATCH and len(faces) * crop_bytes > image.nbytes:  # their crops would take more memory
            return Located(prediction, faces, None, image)
        return Located(prediction, faces, self.crops(image, faces))

    def classify(self, found: Sequence[Located]) -> Iterator[Prediction]:
        """The second half: yield the predictions of several images, whose faces are classified in one batch."""
        rows = chain.from_iterable(self.probabilities(crops).tolist() for crops in self._batches(found))
        labels, model = self.engine.spec.labels, self.engine.spec.name or None
        for image in found:
            faces = tuple(
                Face(face.box, face.score, face.landmarks, dict(zip(labels, next(rows), strict=True)))
                for face in image.faces
            )
            yield replace(image.prediction, faces=faces, model=model)

    def _find(self, source: Source | ImageSource, number: int, budget: MemoryBudget, bgr: bool) -> Located:
        """The first half for one source of `stream`; a failure is stored in the prediction's `error`."""
        path, value = source.name if isinstance(source, Source) else name_of(source), None
        try:
            if isinstance(source, Source):
                if source.error:
                    raise ImageError(source.error)
                given: ImageSource = source.path if source.content is None else source.content
                name = path
            else:
                given = value = as_value(source, bgr)
                name = name_in_messages(source)
            size = value_bytes(given)
            image = read_image(given, lambda pixels: budget.take(number, size + pixels * BYTES_PER_PIXEL), name)
            found = replace(self.locate(image, path), value=value)
        except ImageError as error:
            no_crops = np.empty((0, *self.engine.spec.size, 3), np.uint8)
            found = Located(Prediction(path, 0, 0, (), str(error)), [], no_crops)
        budget.keep(number, found.nbytes)
        return found

    def _batches(self, found: Sequence[Located]) -> Iterator[NDArray[np.uint8]]:
        """The crops of several images in order; those that were not kept are made in batches."""
        for kept, images in groupby(found, key=lambda each: each.image is None):
            if kept:
                yield np.concatenate([each.crops for each in images if each.crops is not None])
                continue
            for each in images:
                assert each.image is not None
                for start in range(0, len(each.faces), BATCH):
                    yield self.crops(each.image, each.faces[start : start + BATCH])


def _each(sources: Any) -> Iterator[ImageSource | Source]:
    """The images of a stream's sources: values and addresses unchanged, and the images that paths expand to."""
    one = isinstance(sources, ONE_IMAGE) or hasattr(sources, "read") or not isinstance(sources, Iterable)
    one = one or (isinstance(sources, np.ndarray) and sources.ndim < 4)
    for given in [sources] if one else sources:
        if isinstance(given, str | os.PathLike | Source) and not is_address(given):
            yield from find_sources([given])
        else:
            yield given


def _numbered(items: Iterable[T], budget: MemoryBudget) -> Iterator[tuple[int, T]]:
    """Number the items; images given as values wait until there is memory for them."""
    for number, item in enumerate(items):
        if size := value_bytes(item):
            budget.take(number, size)
        yield number, item


def _ready(waiting: deque[Future[Located]]) -> list[Located]:
    """Take the next image, and those after it that can be classified in the same batch."""
    ready = [waiting.popleft().result()]
    faces, until = len(ready[0].faces), monotonic() + MAX_WAIT_S
    while waiting and faces < BATCH:
        if faces < ENOUGH_FACES:
            wait([waiting[0]], until - monotonic())
        if not waiting[0].done() or waiting[0].exception():  # an error is raised when it is its image's turn
            break
        ready.append(waiting.popleft().result())
        faces += len(ready[-1].faces)
    return ready


def _keep(prediction: Prediction, value: ImageSource | None) -> Prediction:
    """Keep an image that was given as a value with its prediction."""
    if value is None or isinstance(value, str | os.PathLike):
        return prediction
    return replace(prediction, kept=CachedImage(value))


def crop_face(image: Image, face: Detection, size: tuple[int, int], template: ArrayLike) -> Image:
    """Align a face to a template; without landmarks, crop the largest central region with the same aspect ratio.

    Args:
        image: H×W×3.
        face: A face in it.
        size: Height and width of the crop in pixels.
        template: Where the landmarks go: 5×2 fractions of the crop's side.

    Returns:
        The crop, height×width×3; black beyond the image.
    """
    if face.landmarks is not None:
        return align(image, face.landmarks, size, template)
    from PIL import Image as PillowImage

    height, width = image.shape[:2]
    scale = min(height / size[0], width / size[1])
    half_height, half_width = size[0] * scale / 2, size[1] * scale / 2
    box = (width / 2 - half_width, height / 2 - half_height, width / 2 + half_width, height / 2 + half_height)
    whole = PillowImage.fromarray(image)
    return np.asarray(whole.resize(size[::-1], PillowImage.Resampling.BILINEAR, box=box, reducing_gap=3.0))


def load(
    model: str | Path | None = None,
    *,
    detector: DetectorName = "yunet",
    min_score: float | None = None,
    threads: int = 0,
    engine: EngineName = "auto",
    precision: Precision = "exact",
    flip: bool = True,
    calibration: Calibration = "general",
    detect_size: int | None = None,
    mirror: bool | None = None,
) -> Recognizer:
    """Load a model and a face detector once, for many images.

    Args:
        model: Name of an installed model (`list_models` lists them), or an exported file; the default model if None.
        detector: "yunet", "mtcnn", or "none" to treat each image as one face crop.
        min_score: Lowest detector score of a face, 0 to 1; if None, 0.5 for YuNet and 0.8 for MTCNN.
        threads: CPU threads; 0 for all cores.
        engine: What runs the network: "onnxruntime", "openvino", or "auto" for the fastest one installed.
        precision: "exact" computes in float32; "fast" lets OpenVINO compute the network in bfloat16 where the CPU
            supports it, which is two to three times faster and changes about 6 labels in 1,000.
        flip: Average the outputs for every face and its horizontal flip: more accurate, at twice the computation.
        calibration: The images that probabilities are calibrated for; labels are not affected. "general" is for faces
            from anywhere, and presumes no expression to be more frequent; "training" is for images like the training
            data, for which the model is more confident.
        detect_size: Largest size, in pixels of the longer side, at which images are searched for faces; smaller is
            faster but misses more small faces. None chooses it from the image's size.
        mirror: Deprecated name of `flip`.

    Raises:
        ModelError: There is no such model.
        ConfigError: A setting is not one of those listed, or a number is out of range.
    """
    if min_score is not None:
        check_range("min_score", min_score, 0, 1)
    check_range("threads", threads, 0, whole=True)
    check_choice("calibration", calibration, get_args(Calibration))
    flip = _renamed(flip, mirror)
    check_switch("flip", flip)
    with ThreadPoolExecutor(1) as pool:  # while the network is compiled
        finder = pool.submit(load_detector, detector, min_score=min_score, threads=threads, detect_size=detect_size)
        network = load_engine(model, threads=threads, engine=engine, precision=precision)
    return Recognizer(Flipped(network) if flip else network, finder.result(), threads, calibration)


def predict(
    image: ImageSource,
    model: str | Path | None = None,
    *,
    detector: DetectorName = "yunet",
    min_score: float | None = None,
    threads: int = 0,
    engine: EngineName = "auto",
    precision: Precision = "exact",
    flip: bool = True,
    calibration: Calibration = "general",
    detect_size: int | None = None,
    bgr: bool = False,
    mirror: bool | None = None,
) -> Prediction:
    """Recognise the expressions in one image; if settings vary between calls, `load` is faster.

    The model stays loaded for the next call, and is reloaded if its file has changed.

    Args:
        image: As in `Recognizer.predict`.
        model: As in `load`.
        detector: As in `load`.
        min_score: As in `load`.
        threads: As in `load`.
        engine: As in `load`.
        precision: As in `load`.
        flip: As in `load`.
        calibration: As in `load`.
        detect_size: As in `load`.
        bgr: As in `Recognizer.predict`.
        mirror: Deprecated name of `flip`.

    Raises:
        ImageError: The image cannot be read.
        ModelError: There is no such model.
        ConfigError: A setting is not one of those listed, or a number is out of range.
    """
    flip = _renamed(flip, mirror)
    file = find_model(model).resolve()
    state = file.stat()
    version = (file, state.st_mtime_ns, state.st_size, state.st_ino)
    recognizer = _loaded(
        model,
        version,
        detector=detector,
        min_score=min_score,
        threads=threads,
        engine=engine,
        precision=precision,
        flip=flip,
        calibration=calibration,
        detect_size=detect_size,
    )
    return recognizer.predict(image, bgr=bgr)


@lru_cache(maxsize=2)
def _loaded(model: str | Path | None, _version: tuple[object, ...], **options: Any) -> Recognizer:
    return load(model, **options)


def _renamed(flip: bool, mirror: bool | None) -> bool:
    if mirror is None:
        return flip
    warnings.warn("mirror has been renamed: use flip", DeprecationWarning, stacklevel=3)
    return mirror
