"""Run an exported network: crops in, probabilities out. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from mftn.engines.installed import DEFAULT_MODEL, ModelCard, find_model, is_shipped, list_models
from mftn.errors import ConfigError, ModelError
from mftn.limits import check_choice
from mftn.spec import ModelSpec

__all__ = [
    "ADVICE",
    "BATCH",
    "DEFAULT_MODEL",
    "Calibration",
    "Engine",
    "EngineName",
    "Flipped",
    "ModelCard",
    "Precision",
    "check_shapes",
    "find_model",
    "in_batches",
    "installed_engines",
    "list_models",
    "load_engine",
    "tempered",
]

EngineName = Literal["auto", "onnxruntime", "openvino"]
"""What runs an exported model; auto is OpenVINO, the faster one (docs/speed.md), where it is installed."""

Precision = Literal["exact", "fast"]
"""exact computes in float32; fast in bfloat16 (about two digits) where OpenVINO and the processor support it."""

Calibration = Literal["general", "training"]
"""What probabilities are calibrated for: faces from anywhere, or images like the model's training images."""

ADVICE = "copy it again, or export its checkpoint: mftn export best.safetensors"
"""What to do about a file that is not an exported model."""

BATCH = 32
"""Largest batch of crops: larger ones need more memory and are hardly faster."""


class Engine(Protocol):
    """Runs an exported model.

    Attributes:
        name: Its name in `load_engine`.
        spec: The model's description.
    """

    name: EngineName
    spec: ModelSpec

    def probabilities(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """RGB crops (B, H, W, 3) to calibrated probabilities (B, K); B may be 0 or any size."""
        ...


def check_shapes(spec: ModelSpec, shapes: Mapping[str, tuple[int | None, ...]], source: str) -> None:
    """Check that a network has the inputs and outputs that its description states.

    Args:
        spec: The description.
        shapes: Shapes of the network's inputs and outputs by name; None for a dynamic dimension.
        source: The file, for messages.

    Raises:
        ModelError: A name is missing, or a shape differs.
    """
    for name, described in {"images": (*spec.size, 3), "probabilities": (len(spec.labels),)}.items():
        batch, *found = shapes.get(name, (0,))
        fits = len(found) == len(described) and all(a in (None, b) for a, b in zip(found, described, strict=True))
        if batch is not None or not fits:
            raise ModelError(
                f"{source}: its description says that {name} has the shape (any, {', '.join(map(str, described))}), "
                f"but the network has {shapes.get(name, 'none')}; export it again"
            )


def in_batches(
    run: Callable[[NDArray[np.uint8]], NDArray[np.float32]], crops: NDArray[np.uint8], size: int, classes: int
) -> NDArray[np.float32]:
    """Probabilities (B, K) of crops (B, H, W, 3), computed by `run` for at most `size` crops at once."""
    parts = [run(crops[start : start + size]) for start in range(0, len(crops), size)]
    return np.concatenate([np.empty((0, classes), np.float32), *parts])


def tempered(probabilities: NDArray[np.floating[Any]], temperature: float) -> NDArray[np.floating[Any]]:
    """Rescale softmax probabilities (n, K) as if the logits were divided by a temperature; rows of zeros stay zero.

    A temperature above 1 makes them less confident; their order does not change.
    """
    if temperature == 1:
        return probabilities
    highest = np.maximum(probabilities.max(axis=1, keepdims=True, initial=0), np.finfo(probabilities.dtype).tiny)
    powers = (probabilities / highest) ** (1 / temperature)
    return powers / np.maximum(powers.sum(axis=1, keepdims=True), 1)


class Flipped:
    """An engine with horizontal-flip test-time augmentation: the mean of its outputs for a crop and the flipped crop.

    Args:
        engine: The engine that runs on both.
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


def load_engine(
    model: str | Path | None = None,
    *,
    threads: int = 0,
    engine: EngineName = "auto",
    precision: Precision = "exact",
) -> Engine:
    """Load an installed model by its name, or an exported file by its path.

    Args:
        model: Name or path; the default model if None.
        threads: Processor threads; 0 for all cores.
        engine: The engine that runs it.
        precision: "fast" needs OpenVINO, and uses bfloat16 if the processor has instructions for it.

    Raises:
        ModelError: There is no such model, or the file was not exported by this package.
        ConfigError: Engine or precision is not one of those listed, or the engine is not installed or does not
            support the precision.
    """
    check_choice("engine", engine, get_args(EngineName))
    check_choice("precision", precision, get_args(Precision))
    path = find_model(model)
    if path.suffix.lower() == ".safetensors":
        raise ModelError(f"{path}: is a checkpoint; export it, and use the ONNX file: mftn export {path}")
    source = path.stem if is_shipped(path) else str(path)
    if engine == "auto":
        engine = installed_engines()[-1]
    if engine == "openvino":
        from mftn.engines.openvino import OpenVinoEngine

        return OpenVinoEngine(path.read_bytes(), source, threads, precision)
    from mftn.engines.onnx import OnnxEngine

    if precision == "fast":
        raise ConfigError("the precision fast needs OpenVINO: pip install 'mftn[openvino]', or choose exact")
    return OnnxEngine(path.read_bytes(), source, threads)


def installed_engines() -> list[EngineName]:
    """The installed engines, the fastest last."""
    return ["onnxruntime", "openvino"] if find_spec("openvino") else ["onnxruntime"]
