"""Predictions for videos: one per frame, with its timestamp, tracked faces and smoothed probabilities."""

from __future__ import annotations

import os
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from mftn.engines import Calibration, EngineName, Flipped
from mftn.errors import ConfigError
from mftn.face_tracker import FaceTracker
from mftn.faces import DetectorName
from mftn.image_cache import CachedImage
from mftn.limits import check_range
from mftn.recognize import Recognizer, load
from mftn.types import Image, Prediction
from mftn.video import Clip, Frame
from mftn.video.smooth import CentredSmoother

MAX_HELD_BYTES = 256_000_000
"""Maximum bytes of images that wait for the end of their smoothing window."""

MAX_SMOOTHING_S = 60.0
MIN_FPS, MAX_FPS = 0.001, 1000.0


class TrackedFrames:
    """Turns frames into predictions, `smooth` seconds later; a camera's at once, averaged over earlier frames only.

    Args:
        clip: The source of the frames.
        recognizer: Detects and classifies; flips are omitted, as predictions are averaged over time instead.
        detect_every: Interval in frames between detections in the whole image.
        smooth: Seconds over which probabilities are averaged; 0 turns smoothing off.
        keep_images: Also yield each prediction's image.
    """

    def __init__(
        self, clip: Clip, recognizer: Recognizer, detect_every: int = 5, smooth: float = 0.3, *, keep_images: bool
    ) -> None:
        engine = recognizer.engine
        if isinstance(engine, Flipped):
            recognizer = Recognizer(engine.engine, recognizer.detector, recognizer.workers, recognizer.calibration)
        self.clip, self.keep_images, self._model = clip, keep_images, engine.spec.name or None
        self._tracker = FaceTracker(recognizer, detect_every, smooth if clip.live else 0.0)
        self._centred = 0.0 if clip.live else smooth  # a camera's frames do not wait for later ones
        self._smoother: CentredSmoother[tuple[Prediction, Image | None]] | None = None

    def push(self, frame: Frame) -> Iterator[tuple[Prediction, Image | None]]:
        """Add a frame, and yield the predictions that are ready, with their images if these are kept."""
        height, width = frame.image.shape[:2]
        if self._smoother is None:
            max_pending = max(MAX_HELD_BYTES // frame.image.nbytes, 1) if self.keep_images else 0
            self._smoother = CentredSmoother(self._centred, max_pending)
        number, time = frame.number, frame.time
        prediction = Prediction(self.clip.source, width, height, (), None, number, time, model=self._model)
        faces = self._tracker.update(frame.image, frame.time)
        held = frame.image if self.keep_images else None
        for ready, (known, image) in self._smoother.push(frame.time, faces, (prediction, held)):
            yield replace(known, faces=ready), image

    def flush(self) -> Iterator[tuple[Prediction, Image | None]]:
        """Yield the remaining predictions, at the end."""
        for ready, (known, image) in self._smoother.flush() if self._smoother else ():
            yield replace(known, faces=ready), image


def track_faces(
    recognizer: Recognizer,
    source: str | os.PathLike[str] | int,
    *,
    start: float = 0.0,
    end: float | None = None,
    every: int = 1,
    fps: float | None = None,
    detect_every: int = 5,
    smooth: float = 0.3,
) -> Iterator[Prediction]:
    """Implementation of `Recognizer.track`."""
    check_video_options(start, end, every, fps, detect_every, smooth)
    clip = Clip(str(source) if isinstance(source, int) else os.fspath(source), start, end, every, fps=fps)
    return _predictions(clip, TrackedFrames(clip, recognizer, detect_every, smooth, keep_images=False))


def check_video_options(
    start: float,
    end: float | None,
    every: int,
    fps: float | None,
    detect_every: int,
    smooth: float,
    as_typed: Callable[[str], str] = str,
) -> None:
    """Reject options of `Recognizer.track`; `as_typed` turns a name into the option as the user typed it.

    Raises:
        ConfigError: A number is out of range, or `fps` is combined with `every`.
    """
    check_range(as_typed("start"), start, 0)
    if end is not None:
        check_range(as_typed("end"), end, start)
    check_range(as_typed("every"), every, 1, whole=True)
    if fps is not None:
        check_range(as_typed("fps"), fps, MIN_FPS, MAX_FPS)
        if every != 1:
            raise ConfigError(f"{as_typed('fps')} and {as_typed('every')} exclude each other; omit one")
    check_range(as_typed("detect_every"), detect_every, 1, whole=True)
    check_range(as_typed("smooth"), smooth, 0, MAX_SMOOTHING_S)


def _predictions(clip: Clip, frames: TrackedFrames) -> Iterator[Prediction]:
    kept = deque[CachedImage]()  # images that no longer fit are released instead of narrowing the smoothing window
    try:
        for frame in clip:
            kept.append(CachedImage(frame.image))
            for prediction, _ in frames.push(frame):
                yield replace(prediction, kept=kept.popleft())
        for prediction, _ in frames.flush():
            yield replace(prediction, kept=kept.popleft())
    finally:
        clip.close()
    if clip.damaged:
        warnings.warn(f"{clip.source}: {clip.damaged} damaged packets skipped", stacklevel=2)
    if cut_off := clip.cut_off():
        warnings.warn(f"{clip.source}: {cut_off}", stacklevel=2)


def track(
    source: str | Path | int,
    model: str | Path | None = None,
    *,
    start: float = 0.0,
    end: float | None = None,
    every: int = 1,
    fps: float | None = None,
    detect_every: int = 5,
    smooth: float = 0.3,
    detector: DetectorName = "yunet",
    min_score: float | None = None,
    threads: int = 0,
    engine: EngineName = "auto",
    calibration: Calibration = "general",
    detect_size: int | None = None,
) -> Iterator[Prediction]:
    """Recognise expressions in a video or from a camera, frame by frame; see `Recognizer.track`.

    Args:
        source: As in `Recognizer.track`.
        model: As in `load`.
        start: As in `Recognizer.track`.
        end: As in `Recognizer.track`.
        every: As in `Recognizer.track`.
        fps: As in `Recognizer.track`.
        detect_every: As in `Recognizer.track`.
        smooth: As in `Recognizer.track`.
        detector: As in `load`.
        min_score: As in `load`.
        threads: As in `load`.
        engine: As in `load`.
        calibration: As in `load`.
        detect_size: As in `load`; frames are searched at 960 pixels unless it is given.

    Raises:
        ImageError: The video cannot be opened, or has no frames.
        MissingExtraError: PyAV is not installed: `pip install 'mftn[video]'`.
        ModelError: There is no such model.
        ConfigError: A setting is not one of those listed, or a number is out of range.
    """
    recognizer = load(
        model,
        detector=detector,
        min_score=min_score,
        threads=threads,
        engine=engine,
        flip=False,
        calibration=calibration,
        detect_size=detect_size,
    )
    return track_faces(
        recognizer, source, start=start, end=end, every=every, fps=fps, detect_every=detect_every, smooth=smooth
    )
