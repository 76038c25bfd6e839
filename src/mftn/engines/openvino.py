"""OpenVINO, on the processor; it runs the same ONNX file and is the fastest engine for int8."""

from __future__ import annotations

from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mftn.engines import BATCH, Arithmetic, EngineName, in_batches
from mftn.errors import ConfigError, ModelError
from mftn.runtime import PerProcess
from mftn.spec import ModelSpec


class OpenVinoEngine:
    """Runs an exported ONNX model.

    Args:
        model: The file's bytes.
        source: Its name in messages.
        threads: Processor threads; 0 for all cores.
        arithmetic: "fast" computes in bfloat16 where the processor has its instructions.

    Raises:
        ConfigError: OpenVINO is not installed.
        ModelError: The bytes are no ONNX model, or none that this package exported.
    """

    name: EngineName = "openvino"

    def __init__(self, model: bytes, source: str, threads: int = 0, arithmetic: Arithmetic = "exact") -> None:
        self._network = PerProcess(_Network, model, source, threads, arithmetic)
        self.spec = ModelSpec.from_json(self._network().metadata, source)

    def probabilities(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """RGB crops (B, H, W, 3) to calibrated probabilities (B, K)."""
        return in_batches(self._network().run, crops, BATCH, len(self.spec.labels))


class _Network:
    """A compiled network and the lock on its only request, whose buffers callers would share."""

    def __init__(self, model: bytes, source: str, threads: int, arithmetic: Arithmetic) -> None:
        try:
            import openvino
        except ImportError as error:
            raise ConfigError("the engine openvino is not installed: pip install 'mftn[openvino]'") from error
        core = openvino.Core()
        try:
            network = core.read_model(model)
            self.metadata: str = network.get_rt_info(["framework", "mftn"]).astype(str)
        except RuntimeError as error:
            raise ModelError(f"{source}: not a complete ONNX model, or no export of mftn") from error
        # Left to itself OpenVINO rounds to bfloat16 where it can, and gives other results than ONNX Runtime.
        options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
        if arithmetic == "exact" or "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            options["INFERENCE_PRECISION_HINT"] = "f32"
        else:
            options["INFERENCE_PRECISION_HINT"] = "bf16"
        if threads:
            options["INFERENCE_NUM_THREADS"] = threads
        self.compiled = core.compile_model(network, "CPU", options)
        self.lock = Lock()

    def run(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        with self.lock:
            probabilities: NDArray[np.float32] = self.compiled({"images": crops})["probabilities"].copy()
        return probabilities
