"""Settings with which workers produce the rows of `mftn predict`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mftn.engines import Calibration, EngineName, Precision, find_model, installed_engines, load_engine
from mftn.errors import ConfigError
from mftn.faces import DetectorName
from mftn.files import sha256_of
from mftn.limits import check_range
from mftn.output import Provenance
from mftn.recognize import Recognizer, load
from mftn.track_video import check_video_options


@dataclass(frozen=True, slots=True)
class Settings:
    """The options of `mftn predict` that affect rows, under the same names, and the threads of each worker.

    Engines run on CPUs, so workers request only CPUs from Ray; GPUs would stay idle.

    Attributes:
        model: As in `mftn.load`. An exported file is needed only on the machine that starts the run.
        detector: As in `mftn.load`.
        min_score: As in `mftn.load`.
        detect_size: As in `mftn.load`.
        engine: As in `mftn.load`; "auto" is resolved on the machine that starts the run.
        precision: As in `mftn.load`; with "fast", rows of machines with other processors may differ.
        flip: As in `mftn.load`.
        calibration: As in `mftn.load`.
        threads: Threads of each worker, and the CPUs that it reserves; one gives the most images per second, two halve
            the memory per CPU.
        start: For videos, as in `mftn.track`.
        end: For videos, as in `mftn.track`.
        every: For videos, as in `mftn.track`.
        fps: For videos, as in `mftn.track`.
        detect_every: For videos, as in `mftn.track`.
        smooth: For videos, as in `mftn.track`.
    """

    model: str | Path | None = None
    detector: DetectorName = "yunet"
    min_score: float | None = None
    detect_size: int | None = None
    engine: EngineName = "auto"
    precision: Precision = "exact"
    flip: bool = True
    calibration: Calibration = "general"
    threads: int = 1
    start: float = 0.0
    end: float | None = None
    every: int = 1
    fps: float | None = None
    detect_every: int = 5
    smooth: float = 0.3

    def checked(self) -> Settings:
        """A copy with the engine resolved, after all options were checked.

        Raises:
            ConfigError: A number is out of range, or the engine is not installed.
            UnknownModelError: There is no such model.
        """
        check_range("threads", self.threads, 1, 64, whole=True)
        if self.min_score is not None:
            check_range("min_score", self.min_score, 0, 1)
        check_video_options(self.start, self.end, self.every, self.fps, self.detect_every, self.smooth)
        find_model(self.model)
        if self.engine != "auto" and self.engine not in installed_engines():
            raise ConfigError(f"{self.engine}: this engine is not installed; install it, or choose auto")
        return replace(self, engine=installed_engines()[-1] if self.engine == "auto" else self.engine)

    def load(self) -> Recognizer:
        """The recognizer of one worker."""
        return load(
            self.model,
            detector=self.detector,
            min_score=self.min_score,
            threads=self.threads,
            engine=self.engine,
            precision=self.precision,
            flip=self.flip,
            calibration=self.calibration,
            detect_size=self.detect_size,
        )

    def provenance(self) -> Provenance:
        """What is stored with the rows; threads do not affect them."""
        settings: dict[str, Any] = asdict(self)
        del settings["model"], settings["threads"]
        file = find_model(self.model)
        return Provenance(load_engine(self.model, threads=1).spec.name or file.stem, sha256_of(file), settings)
