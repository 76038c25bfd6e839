"""Export to ONNX: crops in, calibrated probabilities out.

The file takes uint8 crops (B, H, W, 3) named "images" and gives float32 "probabilities" (B, K): grey conversion,
normalisation, both heads, their sum, the temperature and the softmax are all inside. Its metadata holds, under
"mftn", JSON with the model's name, labels, input size and alignment template.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from mftn.files import whole_file
from mftn.models import Baseline, load_model

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey (ITU-R BT.601), as Pillow converts."""


class Normalise(nn.Module):
    """uint8 crops (B, H, W, 3) to a network's input (B, C, H, W): grey conversion and normalisation are one 1×1
    convolution, x ↦ (luma · x / 255 − mean) / std.

    Args:
        description: What a weights file says of its network.
    """

    def __init__(self, description: Mapping[str, Any]) -> None:
        super().__init__()
        channels = description["channels"]
        mix = torch.tensor([LUMA]) if channels == 1 else torch.eye(3)  # (C, 3)
        mean = torch.as_tensor(description["mean"], dtype=torch.float32).expand(channels)
        std = torch.as_tensor(description["std"], dtype=torch.float32).expand(channels)
        self.register_buffer("weight", (mix / (255 * std[:, None]))[:, :, None, None])  # (C, 3, 1, 1)
        self.register_buffer("bias", -mean / std)  # (C,)

    def forward(self, images: Tensor) -> Tensor:
        """uint8 crops (B, H, W, 3) to normalised input (B, C, H, W)."""
        x = images.permute(0, 3, 1, 2).float()  # (B, 3, H, W)
        return nn.functional.conv2d(x, self.weight, self.bias)  # type: ignore[arg-type]


class Deployed(nn.Module):
    """The network with everything around it that prediction needs.

    Args:
        model: The network; it is set to answer with fused logits alone.
        config: What its weights file says of it.
    """

    def __init__(self, model: Baseline, config: dict[str, Any]) -> None:
        super().__init__()
        model.fused_only = True
        self.model = model
        self.normalise = Normalise(config)
        self.temperature: float = config["temperature"]

    def forward(self, images: Tensor) -> Tensor:
        """uint8 crops (B, H, W, 3) to probabilities (B, K)."""
        return (self.model(self.normalise(images)) / self.temperature).softmax(dim=1)


def export_onnx(
    weights: str | Path, out: str | Path, name: str, precision: Literal["fp32", "fp16"] = "fp32"
) -> dict[str, Any]:
    """Write an ONNX file from a weights file of `mftn train` and compare both on random crops.

    Args:
        weights: A safetensors file with its description.
        out: The ONNX file to write.
        name: The model's name in the metadata.
        precision: fp16 stores the weights in half precision; the arithmetic stays in float32.

    Returns:
        "parity", the largest difference of a probability, and "megabytes".
    """
    model, config = load_model(weights)
    deployed = Deployed(model, config).eval()
    height, width = config["size"]
    # Two pictures: with one the exporter would take the batch for a constant.
    crops = torch.randint(0, 256, (2, height, width, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    program = torch.onnx.export(
        deployed, (crops,), input_names=["images"], output_names=["probabilities"],
        dynamic_shapes={"images": {0: torch.export.Dim("batch")}}, dynamo=True, verbose=False,
    )  # fmt: skip
    assert program is not None
    proto = program.model_proto
    for node in proto.graph.node:
        del node.metadata_props[:]  # stack traces with the paths of the machine that exported
    if precision == "fp16":
        _store_half(proto)
    description = {"name": name, "precision": precision} | {
        key: config[key] for key in ("labels", "size", "channels", "template", "temperature", "architecture")
    }
    helper.set_model_props(proto, {"mftn": json.dumps(description)})
    out = Path(out)
    with whole_file(out) as partial:
        onnx.save(proto, partial)

    import onnxruntime

    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    (exported,) = session.run(["probabilities"], {"images": crops.numpy()})
    with torch.no_grad():
        expected = deployed(crops).numpy()
    return {"parity": float(np.abs(exported - expected).max()), "megabytes": out.stat().st_size / 1e6}


def _store_half(proto: onnx.ModelProto) -> None:
    """Keep large float32 weights as float16, cast back when the file is loaded (the cast is folded then)."""
    graph = proto.graph
    casts = []
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < 1024:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    for value in [value for value in graph.value_info if value.name in {node.output[0] for node in casts}]:
        graph.value_info.remove(value)
    for position, node in enumerate(casts):
        graph.node.insert(position, node)
