"""ONNX Runtime sessions, opened alike everywhere."""

from typing import Any


def open_session(model: bytes, threads: int) -> Any:
    """An ONNX Runtime session on the processor.

    Args:
        model: The ONNX file's bytes.
        threads: Processor threads; 0 for all cores.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors only: its warnings are for those who export
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
