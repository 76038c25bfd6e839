"""8-bit arithmetic: quantises an exported network, calibrated on real faces.

The file contains QuantizeLinear and DequantizeLinear pairs, which both ONNX Runtime and OpenVINO turn into 8-bit
kernels. Weights have a scale per channel and only 7 bits: without VNNI instructions, sums of 8-bit products overflow.
"""

import tempfile
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static


class _Faces(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, crops: NDArray[np.uint8], batch: int = 32) -> None:
        self.batches = iter([crops[i : i + batch] for i in range(0, len(crops), batch)])

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        batch = next(self.batches, None)
        return None if batch is None else {"images": batch}


def quantise(proto: onnx.ModelProto, crops: NDArray[np.uint8]) -> onnx.ModelProto:
    """Quantise convolutions and matrix products to 8 bits, with ranges from crops (n, H, W, 3)."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "int8.onnx"
        quantize_static(
            proto,
            out,
            _Faces(crops),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["Conv", "MatMul", "Gemm"],
        )
        return onnx.load(out)
