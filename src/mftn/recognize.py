"""The main job: pictures → faces → crops → probabilities → predictions."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mftn.engines import Engine, EngineName, Mirrored, load_engine
from mftn.errors import ConfigError, ImageError
from mftn.faces import Detector, WholeImage, load_detector
from mftn.faces.align import align
from mftn.images import find_images, read_image
from mftn.types import Detection, Face, Image, Prediction

if TYPE_CHECKING:
    from PIL import Image as PillowImage


AHEAD = 16
"""Pictures that `stream` reads ahead, besides those its threads are at."""


@dataclass(frozen=True, slots=True)
class _Found:
    """A picture between detection and network: its prediction without faces, the faces, their crops (n, H, W, 3)."""

    prediction: Prediction
    faces: Sequence[Detection]
    crops: NDArray[np.uint8] | None


class Recognizer:
    """Faces and their expressions in pictures; make one with `load` and use it for many.

    Args:
        engine: The exported network.
        detector: Finds faces; None takes each picture as one face.
        workers: Threads that read and detect in `stream`; 0 for one a core.
    """

    def __init__(self, engine: Engine, detector: Detector | None, workers: int = 0) -> None:
        self.engine, self.detector = engine, detector or WholeImage()
        self.workers = workers or os.cpu_count() or 1

    def predict(self, image: str | Path | PillowImage.Image | NDArray[Any]) -> Prediction:
        """Recognise the expressions in one picture.

        Args:
            image: A file, a Pillow image, or a uint8 array of shape H×W or H×W×3 (RGB).

        Raises:
            ImageError: The picture cannot be read.
        """
        source = str(image) if isinstance(image, str | Path) else type(image).__name__
        (prediction,) = self._classify([self._locate(read_image(image), source)])
        return prediction

    def stream(self, sources: str | Path | Iterable[str | Path | Prediction]) -> Iterator[Prediction]:
        """Predictions for many pictures, one by one, in their order.

        Reading and detection run in a thread a core, beside the network, which takes the faces of all pictures that are
        ready at once; at most some twenty pictures are read ahead. A picture that cannot be read becomes a prediction
        with `error`; the rest goes on.

        Args:
            sources: Files, folders and globs, or what `expand` made of them.
        """
        items = expand([sources] if isinstance(sources, str | Path) else sources)
        pool = ThreadPoolExecutor(self.workers)
        waiting: deque[Future[_Found]] = deque()
        try:
            while True:
                for item in islice(items, AHEAD + self.workers - len(waiting)):
                    waiting.append(pool.submit(self._find, item))
                if not waiting:
                    return
                ready = [waiting.popleft().result()]
                while waiting and waiting[0].done() and len(ready) < AHEAD:
                    ready.append(waiting.popleft().result())
                yield from self._classify(ready)
        finally:
            pool.shutdown(cancel_futures=True)

    def crops(self, image: Image, faces: Iterable[Detection]) -> NDArray[np.uint8]:
        """What the network sees of each face, (n, H, W, 3)."""
        info = self.engine.info
        crops = [crop_face(image, face, info.size, info.template) for face in faces]
        return np.stack(crops) if crops else np.empty((0, *info.size, 3), np.uint8)

    def _find(self, item: str | Prediction) -> _Found:
        """The first half for one item of `stream`; a failure is passed on."""
        if isinstance(item, Prediction):
            return _Found(item, [], None)
        try:
            return self._locate(read_image(item), item)
        except ImageError as error:
            return _Found(_failed(item, error), [], None)

    def _locate(self, image: Image, source: str) -> _Found:
        """Detect and crop; the picture itself is not kept."""
        height, width = image.shape[:2]
        faces = self.detector.detect(image)
        return _Found(Prediction(source, width, height, ()), faces, self.crops(image, faces) if faces else None)

    def _classify(self, found: Sequence[_Found]) -> Iterator[Prediction]:
        """The second half: the faces of several pictures in one batch."""
        crops = [picture.crops for picture in found if picture.crops is not None]
        rows = iter(self.engine.probabilities(np.concatenate(crops)).tolist() if crops else [])
        labels = self.engine.info.labels
        for picture in found:
            faces = tuple(
                Face(face.box, face.score, face.landmarks, dict(zip(labels, next(rows), strict=True)))
                for face in picture.faces
            )
            yield replace(picture.prediction, faces=faces)


def expand(sources: Iterable[str | Path | Prediction]) -> Iterator[str | Prediction]:
    """The pictures behind files, folders and globs; a source without any becomes a prediction with `error`."""
    for source in sources:
        if isinstance(source, Prediction):
            yield source
            continue
        try:
            yield from find_images([source])
        except ImageError as error:
            yield _failed(str(source), error)


def _failed(source: str, error: ImageError) -> Prediction:
    return Prediction(source, 0, 0, (), str(error))


def crop_face(image: Image, face: Detection, size: tuple[int, int], template: NDArray[np.float64]) -> Image:
    """A face aligned to a template; without landmarks, the largest central part of the crop's shape."""
    if face.landmarks is not None:
        return align(image, face.landmarks, size, template)
    from PIL import Image as PillowImage

    height, width = image.shape[:2]
    scale = min(height / size[0], width / size[1])
    half_height, half_width = size[0] * scale / 2, size[1] * scale / 2
    box = (width / 2 - half_width, height / 2 - half_height, width / 2 + half_width, height / 2 + half_height)
    picture = PillowImage.fromarray(image)
    return np.asarray(picture.resize(size[::-1], PillowImage.Resampling.BILINEAR, box=box, reducing_gap=3.0))


def load(
    model: str | Path | None = None,
    *,
    detector: str = "yunet",
    min_score: float | None = None,
    threads: int = 0,
    engine: EngineName = "auto",
    mirror: bool = True,
    detect_size: int | None = None,
) -> Recognizer:
    """Load a model and a face detector once, for many pictures.

    Args:
        model: Name of a model that ships, or an exported file; the default model if None.
        detector: "yunet", "mtcnn", or "none" to take each picture as one face crop.
        min_score: Faces below this score are left out, 0 to 1; the detector's own default if None.
        threads: Processor threads; 0 for all cores.
        engine: What runs the network: "onnxruntime", "openvino", or "auto" for the faster one that is installed.
        mirror: Average every face's answer with its mirror image's: more accurate, and twice the network's work.
        detect_size: Pixels to which an image's longer side is scaled, at most, to look for small faces; fewer are
            faster and miss more of them. None chooses by the image's size.

    Raises:
        ModelError: There is no such model.
        ConfigError: There is no such detector or engine, or a number is out of its range.
    """
    if min_score is not None and not 0 <= min_score <= 1:
        raise ConfigError(f"min_score is {min_score}; it must be 0 to 1")
    if threads < 0:
        raise ConfigError(f"threads is {threads}; give 1 or more, or 0 for all cores")
    network = load_engine(model, threads=threads, engine=engine)
    if mirror:
        network = Mirrored(network)
    finder = load_detector(detector, min_score=min_score, threads=threads, detect_size=detect_size)
    return Recognizer(network, finder, threads)


def predict(
    image: str | Path | PillowImage.Image | NDArray[Any],
    model: str | Path | None = None,
    *,
    detector: str = "yunet",
    min_score: float | None = None,
    threads: int = 0,
) -> Prediction:
    """Recognise the expressions in one picture; `load` is quicker for several settings in turn.

    Args:
        image: A file, a Pillow image, or a uint8 array of shape H×W or H×W×3 (RGB).
        model: As in `load`.
        detector: As in `load`.
        min_score: As in `load`.
        threads: As in `load`.

    Raises:
        ImageError: The picture cannot be read.
        ModelError: There is no such model.
        ConfigError: There is no such detector.
    """
    return _loaded(model, detector, min_score, threads).predict(image)


@lru_cache(maxsize=2)
def _loaded(model: str | Path | None, detector: str, min_score: float | None, threads: int) -> Recognizer:
    return load(model, detector=detector, min_score=min_score, threads=threads)
