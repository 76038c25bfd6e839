"""OpenVINO, on the processor; it runs the same ONNX file and is the fastest engine for int8."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mftn.engines import ADVICE, BATCH, EngineName, Precision, check_shapes, in_batches
from mftn.errors import ConfigError, ModelError
from mftn.runtime import PerProcess
from mftn.spec import ModelSpec

STREAMS = 2
"""Inference requests that run in parallel."""


class OpenVinoEngine:
    """Runs an exported ONNX model.

    Args:
        model: The file's bytes.
        source: Its name in messages.
        threads: Processor threads; 0 for all cores.
        precision: "fast" computes in bfloat16 where the processor has its instructions.

    Raises:
        ConfigError: OpenVINO is not installed.
        ModelError: The bytes are not an ONNX model, or the network does not match its description.
    """

    name: EngineName = "openvino"

    def __init__(self, model: bytes, source: str, threads: int = 0, precision: Precision = "exact") -> None:
        self._network = PerProcess(_Network, model, source, threads, precision)
        self.spec = ModelSpec.from_json(self._network().metadata, source)
        check_shapes(self.spec, self._network().shapes, source)

    def probabilities(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """RGB crops (B, H, W, 3) to calibrated probabilities (B, K)."""
        return in_batches(self._network().run, crops, BATCH, len(self.spec.labels))


class _Stack(ctypes.Structure):
    _fields_ = (("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@contextmanager
def _restore_signal_stack() -> Iterator[None]:
    """Restore this thread's signal stack afterwards.

    On processors with AMX, OpenVINO replaces the signal stack of the thread that compiles a network, and frees it with
    the network. If another thread frees it, the next signal, Ctrl-C included, crashes the first thread (2026.4).
    """
    if sys.platform != "linux":
        yield
        return
    c_library, before = ctypes.CDLL(None), _Stack()
    c_library.sigaltstack(None, ctypes.byref(before))
    try:
        yield
    finally:
        c_library.sigaltstack(ctypes.byref(before), None)


class _Network:
    """A compiled network, with a lock because callers share the buffers of its requests.

    Crops are divided among `STREAMS` requests, each with its share of the threads: a face and its horizontal flip run
    in parallel, and threads wait for each other less than if all of them worked on every layer.
    """

    @_restore_signal_stack()
    def __init__(self, model: bytes, source: str, threads: int, precision: Precision) -> None:
        try:
            import openvino
        except ImportError as error:
            raise ConfigError("the engine openvino is not installed: pip install 'mftn[openvino]'") from error
        core = openvino.Core()
        try:
            network = core.read_model(model)
            self.metadata: str = network.get_rt_info(["framework", "mftn"]).astype(str)
        except RuntimeError as error:
            raise ModelError(f"{source}: not a complete ONNX model, or not exported by mftn; {ADVICE}") from error
        self.shapes = {
            port.any_name: tuple(None if each.is_dynamic else each.get_length() for each in port.partial_shape)
            for port in (*network.inputs, *network.outputs)
        }
        threads = threads or os.cpu_count() or 1
        streams = min(STREAMS, threads)
        fast = precision == "fast" and "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        options = {
            "NUM_STREAMS": streams,
            "INFERENCE_NUM_THREADS": threads,
            "ENABLE_CPU_PINNING": False,
            # By default, OpenVINO computes in bfloat16 where it can, and its results differ from ONNX Runtime's.
            "INFERENCE_PRECISION_HINT": "bf16" if fast else "f32",
        }
        _unpack_weights(network)
        compiled = core.compile_model(network, "CPU", options)
        self.requests = [compiled.create_infer_request() for _ in range(streams)]
        self.lock = Lock()

    def run(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        parts = np.array_split(np.ascontiguousarray(crops), min(len(self.requests), len(crops)))
        with self.lock:
            running = []
            try:
                for request, part in zip(self.requests, parts, strict=False):
                    request.start_async({"images": part}, share_inputs=True)
                    running.append(request)
            finally:
                for request in running:
                    request.wait()
            return np.concatenate([request.get_tensor("probabilities").data for request in running])


def _unpack_weights(network: Any) -> None:
    """Convert 8-bit weights to float32, as the file specifies.

    OpenVINO would multiply in 8 bits and quantise the other operand too. In 2026.4 that gives wrong results for
    `mftn_face_ferplus` if a request has one thread, and in bfloat16 it crashes the process (division by zero).
    """
    from openvino import opset8

    for node in network.get_ops():
        if node.get_type_name() != "Multiply":
            continue
        values, scale = (node.input_value(index).get_node() for index in range(2))
        if values.get_type_name() != "Convert" or scale.get_type_name() != "Constant":
            continue
        stored = values.input_value(0).get_node()
        if stored.get_type_name() == "Constant":
            node.output(0).replace(opset8.constant(stored.data.astype(np.float32) * scale.data).output(0))
