"""Stores weights in fewer bytes; the arithmetic stays in float32."""

from collections.abc import Callable, Collection

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

LARGE = 16384
"""Tensors with at least this many elements are stored in fewer bytes."""

Stored = Callable[[str, NDArray[np.float32]], tuple[list[onnx.TensorProto], list[onnx.NodeProto]]]
"""Maps a weight's name and values to the stored tensors and to the nodes that restore it when the file is loaded."""


def store_small(proto: onnx.ModelProto, stored: Stored, exact: Collection[str] = ()) -> None:
    """Store large float32 weights in fewer bytes; engines fold the restoring nodes when they load the file.

    Args:
        proto: The model, changed in place.
        stored: How a weight is stored.
        exact: Names of tensors to leave unchanged.
    """
    graph = proto.graph
    large = [
        tensor
        for tensor in graph.initializer
        if tensor.data_type == TensorProto.FLOAT and np.prod(tensor.dims) >= LARGE and tensor.name not in exact
    ]
    restored: list[onnx.NodeProto] = []
    for tensor in large:
        kept, nodes = stored(tensor.name, numpy_helper.to_array(tensor))
        graph.initializer.remove(tensor)
        graph.initializer.extend(kept)
        restored.extend(nodes)
    names = {tensor.name for tensor in large}
    for value in [value for value in graph.value_info if value.name in names]:
        graph.value_info.remove(value)
    for position, node in enumerate(restored):
        graph.node.insert(position, node)


def as_half(name: str, values: NDArray[np.float32]) -> tuple[list[onnx.TensorProto], list[onnx.NodeProto]]:
    """Two bytes per weight."""
    half = numpy_helper.from_array(values.astype(np.float16), f"{name}.half")
    return [half], [helper.make_node("Cast", [half.name], [name], to=TensorProto.FLOAT)]


def as_bytes(name: str, values: NDArray[np.float32]) -> tuple[list[onnx.TensorProto], list[onnx.NodeProto]]:
    """One byte per weight, and a scale for each output of a convolution (O, I, h, w) or a matrix (in, out)."""
    inputs = tuple(range(1, values.ndim)) if values.ndim == 4 else 0
    scale = np.maximum(np.abs(values).max(axis=inputs, keepdims=True) / 127, np.finfo(np.float32).tiny)
    rounded = numpy_helper.from_array(np.round(values / scale).astype(np.int8), f"{name}.int8")
    scales = numpy_helper.from_array(scale.astype(np.float32), f"{name}.scale")
    wide = f"{name}.wide"
    return [rounded, scales], [
        helper.make_node("Cast", [rounded.name], [wide], to=TensorProto.FLOAT),
        helper.make_node("Mul", [wide, scales.name], [name]),
    ]
