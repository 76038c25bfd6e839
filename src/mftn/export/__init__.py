"""From a trained network to the one file that prediction needs."""

from mftn.export.onnx import Export, Precision, export_onnx

__all__ = ["Export", "Precision", "export_onnx"]
