"""The networks and detectors that requests choose, loaded once."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np

from mftn.engines import DEFAULT_MODEL, Engine, Flipped, list_models, load_engine
from mftn.errors import did_you_mean
from mftn.faces import Detector, DetectorName, load_detector
from mftn.recognize import Recognizer
from mftn.serve.refusals import RefusedError
from mftn.serve.settings import Settings

MAX_DETECTORS = 8
"""Detectors that are kept: one per combination of detector, score and size that requests choose."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What a request may choose; None for the server's default.

    Attributes:
        model: Name of an installed model; never a path.
        detector: Finds faces.
        min_score: Lowest detector score of a face, 0 to 1.
        detect_size: Largest size at which images are searched for faces.
        flip: Average with the horizontal flip.
    """

    model: str | None = None
    detector: DetectorName | None = None
    min_score: float | None = None
    detect_size: int | None = None
    flip: bool = True


class Recognizers:
    """Loads what requests choose, and keeps it. Thread-safe.

    Args:
        settings: The server's defaults.

    Attributes:
        default: Name of the server's default model for clients; of a file, its name without the folder.
        names: The installed models.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings, self._lock = settings, Lock()
        self._engines: dict[tuple[str, bool], Engine] = {}
        self._detectors: OrderedDict[tuple[DetectorName, float | None, int | None], Detector] = OrderedDict()
        self.default = Path(settings.model or DEFAULT_MODEL).name
        self.names = [card.name for card in list_models()]

    def get(self, choice: Choice) -> Recognizer:
        """The recognizer for a request; loading it takes up to a second the first time.

        Raises:
            RefusedError: 422, there is no such model.
            ConfigError: A number is out of its range.
        """
        name = choice.model or self.default
        if name not in (self.default, *self.names):
            raise RefusedError(422, "unknown_model", f"no model {name[:80]}; {did_you_mean(name, self.names)}")
        detector = choice.detector or self._settings.detector
        same = detector == self._settings.detector
        score = choice.min_score if choice.min_score is not None or not same else self._settings.min_score
        size = choice.detect_size or self._settings.detect_size
        with self._lock:
            return Recognizer(self._engine(name, choice.flip), self._detector(detector, score, size))

    def warm_up(self) -> Recognizer:
        """Load the server's default model and run it once, so that the first request does not wait."""
        recognizer = self.get(Choice())
        crop = np.zeros((1, *recognizer.engine.spec.size, 3), np.uint8)
        recognizer.engine.probabilities(crop)
        recognizer.detector.detect(np.zeros((512, 512, 3), np.uint8))
        return recognizer

    def _engine(self, name: str, flip: bool) -> Engine:
        if (name, flip) not in self._engines:
            if flip:
                self._engines[name, True] = Flipped(self._engine(name, False))
            else:
                settings = self._settings
                model = settings.model if name == self.default else name
                self._engines[name, False] = load_engine(model, threads=settings.threads, engine=settings.engine)
        return self._engines[name, flip]

    def _detector(self, name: DetectorName, score: float | None, size: int | None) -> Detector:
        key = (name, score, size)
        if key not in self._detectors:
            threads = self._settings.threads
            self._detectors[key] = load_detector(name, min_score=score, threads=threads, detect_size=size)
        self._detectors.move_to_end(key)
        while len(self._detectors) > MAX_DETECTORS:
            self._detectors.popitem(last=False)
        return self._detectors[key]
