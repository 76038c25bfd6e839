"""Converts a trained network to the single file that prediction needs."""

from mftn.export.onnx import Export, export_onnx
from mftn.spec import Precision

__all__ = ["Export", "Precision", "export_onnx"]
