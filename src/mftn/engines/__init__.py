"""Run an exported network: crops in, probabilities out. Nothing here imports torch."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from mftn.errors import ConfigError, UnknownModelError
from mftn.spec import ModelSpec

EngineName = Literal["auto", "onnxruntime", "openvino"]
"""What runs an exported model; auto is OpenVINO where it is installed, which is the faster one (docs/speed.md)."""

DEFAULT_MODEL = "mftn_mobile_ferplus"

BATCH = 32
"""Crops that a network sees at once: its memory grows with them, its speed hardly does any more."""


class Engine(Protocol):
    """Something that runs an exported model.

    Attributes:
        name: What `load_engine` calls it.
        spec: What the model says of itself.
    """

    name: EngineName
    spec: ModelSpec

    def probabilities(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """RGB crops (B, H, W, 3) to calibrated probabilities (B, K); B may be 0, or more than memory takes at once."""
        ...


def in_batches(
    run: Callable[[NDArray[np.uint8]], NDArray[np.float32]], crops: NDArray[np.uint8], size: int, classes: int
) -> NDArray[np.float32]:
    """Probabilities (B, K) of crops (B, H, W, 3), of which `run` sees at most `size` at once."""
    parts = [run(crops[start : start + size]) for start in range(0, len(crops), size)]
    return np.concatenate([np.empty((0, classes), np.float32), *parts])


class Flipped:
    """An engine with horizontal-flip test-time augmentation: the mean of its outputs for a crop and the flipped crop.

    Args:
        engine: Runs on both.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine, self.name, self.spec = engine, engine.name, engine.spec

    def probabilities(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """RGB crops (B, H, W, 3) to calibrated probabilities (B, K)."""
        return in_batches(self._average, crops, BATCH // 2, len(self.spec.labels))

    def _average(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        both = self.engine.probabilities(np.concatenate([crops, crops[:, :, ::-1]]))  # (2B, K)
        average: NDArray[np.float32] = both.reshape(2, len(crops), -1).mean(axis=0)
        return average


@dataclass(frozen=True, slots=True)
class ModelCard:
    """A model that ships, as its card describes it.

    Attributes:
        name: What `load` takes.
        summary: One line.
        input: Size and colour of its crops.
        parameters: Number of weights.
        megabytes: Size of its file.
        accuracy: Measured shares by what they were measured on.
        licence: Of the weights.
    """

    name: str
    summary: str
    input: str
    parameters: int
    megabytes: float
    accuracy: dict[str, float]
    licence: str


def list_models() -> list[ModelCard]:
    """Cards of the models that ship with the package."""
    folder = files("mftn.engines") / "weights"
    cards = sorted((item for item in folder.iterdir() if item.name.endswith(".json")), key=lambda item: item.name)
    return [ModelCard(**json.loads(card.read_text(encoding="utf-8"))) for card in cards]


def load_engine(model: str | Path | None = None, *, threads: int = 0, engine: EngineName = "auto") -> Engine:
    """Load a model that ships by its name, or an exported file by its path.

    Args:
        model: Name or path; the default model if None.
        threads: Processor threads; 0 for all cores.
        engine: What runs it.

    Raises:
        ModelError: There is no such model, or the file is no export of this package.
        ConfigError: There is no such engine, or it is not installed.
    """
    path = find_model(model)
    source = path.stem if _shipped(path.stem) == path else str(path)
    if engine == "auto":
        engine = installed_engines()[-1]
    if engine == "openvino":
        from mftn.engines.openvino import OpenVinoEngine

        return OpenVinoEngine(path.read_bytes(), source, threads)
    if engine == "onnxruntime":
        from mftn.engines.onnx import OnnxEngine

        return OnnxEngine(path.read_bytes(), source, threads)
    raise ConfigError(f"{engine}: no such engine; there are onnxruntime, openvino and auto")


def installed_engines() -> list[EngineName]:
    """The engines that can be used, the fastest last."""
    return ["onnxruntime", "openvino"] if find_spec("openvino") else ["onnxruntime"]


def find_model(model: str | Path | None = None) -> Path:
    """The file of a model that ships, by its name, or the path itself.

    Raises:
        ModelError: There is neither.
    """
    name = str(model or DEFAULT_MODEL)
    if Path(name).name == name and _shipped(name).is_file():
        return _shipped(name)
    if Path(name).is_file():
        return Path(name)
    known = ", ".join(card.name for card in list_models())
    raise UnknownModelError(f"{name}: neither a model file nor a model that ships ({known})")


def _shipped(name: str) -> Path:
    return Path(str(files("mftn.engines") / "weights" / f"{name}.onnx"))
