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
    # Threads that wait would otherwise spin, and take the cores from decoding and detection beside them.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors only: its warnings are for those who export
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
