"""From a trained network to the one file that prediction needs."""

from mftn.export.onnx import export_onnx

__all__ = ["export_onnx"]
