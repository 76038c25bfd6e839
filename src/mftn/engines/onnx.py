"""ONNX Runtime, on the processor."""

import numpy as np
from numpy.typing import NDArray

from mftn.engines import ADVICE, BATCH, EngineName, check_shapes, in_batches
from mftn.errors import ModelError
from mftn.runtime import Session
from mftn.spec import ModelSpec


class OnnxEngine:
    """Runs an exported ONNX model.

    Args:
        model: The file's bytes.
        source: Its name in messages.
        threads: Processor threads; 0 for all cores.

    Raises:
        ModelError: The bytes are not an ONNX model, or the network does not match its description.
    """

    name: EngineName = "onnxruntime"

    def __init__(self, model: bytes, source: str, threads: int = 0) -> None:
        try:
            self.session = Session(model, threads)
        except Exception as error:  # onnxruntime's error classes are not public
            reason = str(error).strip()[:200]
            raise ModelError(f"{source}: not a complete ONNX model ({reason}); {ADVICE}") from error
        metadata = self.session.metadata
        if "mftn" not in metadata:
            raise ModelError(
                f"{source}: an ONNX model, but not exported by mftn: it has no description of its labels; {ADVICE}"
            )
        self.spec = ModelSpec.from_json(metadata["mftn"], source)
        check_shapes(self.spec, self.session.shapes, source)

    def probabilities(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """RGB crops (B, H, W, 3) to calibrated probabilities (B, K)."""
        return in_batches(self._run, crops, BATCH, len(self.spec.labels))

    def _run(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        probabilities: NDArray[np.float32] = self.session.run(["probabilities"], {"images": crops})[0]
        return probabilities
