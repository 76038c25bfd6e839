"""The converter against Keras's arithmetic, written out here with Keras's own layer names and made-up arrays."""

import importlib.util
from pathlib import Path
from types import ModuleType

import h5py
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "convert_facenet", Path(__file__).parents[2] / "tools" / "convert_facenet.py"
    )
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class KerasGraph:
    """Inception-ResNet-v1 layer by layer; each layer's arrays are drawn when it first runs."""

    def __init__(self) -> None:
        self.arrays: dict[str, Tensor] = {}
        self.generator = torch.Generator().manual_seed(0)

    def draw(self, name: str, shape: tuple[int, ...], scale: float, centre: float = 0.0) -> Tensor:
        if name not in self.arrays:
            self.arrays[name] = centre + scale * torch.randn(shape, generator=self.generator)
        return self.arrays[name]

    def conv(self, x: Tensor, name: str, width: int, size: str, stride: int = 1, valid: bool = False) -> Tensor:
        height, wide = map(int, size.split("x"))
        fan_in = height * wide * x.shape[1]
        kernel = self.draw(f"{name}/kernel", (height, wide, x.shape[1], width), (2 / fan_in) ** 0.5)
        x = F.conv2d(x, kernel.permute(3, 2, 0, 1), stride=stride, padding=0 if valid else (height // 2, wide // 2))
        beta, mean = (self.draw(f"{name}_BatchNorm/{kind}", (width,), 0.1) for kind in ("beta", "moving_mean"))
        variance = self.draw(f"{name}_BatchNorm/moving_variance", (width,), 0.05, 1.0)
        column = (slice(None), None, None)
        return F.relu((x - mean[column]) / (variance[column] + 0.001).sqrt() + beta[column])

    def block(self, x: Tensor, name: str, widths: list[list[tuple[str, int, str]]], scale: float, relu: bool) -> Tensor:
        parts = []
        for number, branch in enumerate(widths):
            part = x
            for suffix, width, size in branch:
                part = self.conv(part, f"{name}_Branch_{number}_Conv2d_{suffix}", width, size)
            parts.append(part)
        joined = torch.cat(parts, dim=1)
        kernel = self.draw(f"{name}_Conv2d_1x1/kernel", (1, 1, joined.shape[1], x.shape[1]), 0.02)
        bias = self.draw(f"{name}_Conv2d_1x1/bias", (x.shape[1],), 0.1)
        x = x + scale * F.conv2d(joined, kernel.permute(3, 2, 0, 1), bias)
        return F.relu(x) if relu else x

    def __call__(self, x: Tensor) -> Tensor:
        x = self.conv(x, "Conv2d_1a_3x3", 32, "3x3", 2, valid=True)
        x = self.conv(x, "Conv2d_2a_3x3", 32, "3x3", valid=True)
        x = F.max_pool2d(self.conv(x, "Conv2d_2b_3x3", 64, "3x3"), 3, 2)
        x = self.conv(x, "Conv2d_3b_1x1", 80, "1x1")
        x = self.conv(x, "Conv2d_4a_3x3", 192, "3x3", valid=True)
        x = self.conv(x, "Conv2d_4b_3x3", 256, "3x3", 2, valid=True)
        one, three = ("0a_1x1", 32, "1x1"), ("0b_3x3", 32, "3x3")
        for i in range(1, 6):
            branches = [[("1x1", 32, "1x1")], [one, three], [one, three, ("0c_3x3", 32, "3x3")]]
            x = self.block(x, f"Block35_{i}", branches, 0.17, relu=True)
        x = self.reduce(x, "Mixed_6a", [[(384, "1a")], [(192, "0a"), (192, "0b"), (256, "1a")]])
        for i in range(1, 11):
            long = [("0a_1x1", 128, "1x1"), ("0b_1x7", 128, "1x7"), ("0c_7x1", 128, "7x1")]
            x = self.block(x, f"Block17_{i}", [[("1x1", 128, "1x1")], long], 0.1, relu=True)
        branches_7a = [[(256, "0a"), (384, "1a")], [(256, "0a"), (256, "1a")], [(256, "0a"), (256, "0b"), (256, "1a")]]
        x = self.reduce(x, "Mixed_7a", branches_7a)
        for i in range(1, 7):
            long = [("0a_1x1", 192, "1x1"), ("0b_1x3", 192, "1x3"), ("0c_3x1", 192, "3x1")]
            x = self.block(x, f"Block8_{i}", [[("1x1", 192, "1x1")], long], 1.0 if i == 6 else 0.2, relu=i < 6)
        return x.mean(dim=(2, 3))

    def reduce(self, x: Tensor, name: str, branches: list[list[tuple[int, str]]]) -> Tensor:
        sizes = {"0a": "1x1", "0b": "3x3", "1a": "3x3"}
        parts = []
        for number, branch in enumerate(branches):
            part = x
            for width, place in branch:
                layer = f"{name}_Branch_{number}_Conv2d_{place}_{sizes[place]}"
                part = self.conv(part, layer, width, sizes[place], 2 if place == "1a" else 1, valid=place == "1a")
            parts.append(part)
        return torch.cat([*parts, F.max_pool2d(x, 3, 2)], dim=1)


@pytest.fixture(scope="module")
def graph() -> KerasGraph:
    keras = KerasGraph()
    with torch.no_grad():
        keras(torch.zeros(1, 3, 96, 96))
    return keras


def standardised(images: Tensor) -> Tensor:
    flat = images.flatten(1)
    return ((flat - flat.mean(1, keepdim=True)) / flat.std(1, unbiased=False, keepdim=True)).view_as(images)


def test_the_converted_network_computes_what_keras_did(tool: ModuleType, graph: KerasGraph) -> None:
    images = torch.rand(2, 3, 96, 112, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = graph(standardised(images))
        torch.testing.assert_close(tool.convert(graph.arrays, 3)(images), expected, atol=1e-4, rtol=1e-4)
        grey = images.mean(dim=1, keepdim=True)
        expected = graph(standardised(grey).expand(-1, 3, -1, -1))
        torch.testing.assert_close(tool.convert(graph.arrays, 1)(grey), expected, atol=1e-4, rtol=1e-4)


def test_the_keras_file_is_read_and_what_does_not_fit_is_named(
    tool: ModuleType, graph: KerasGraph, tmp_path: Path
) -> None:
    with h5py.File(tmp_path / "facenet_keras.h5", "w") as file:
        for name, array in graph.arrays.items():
            layer, kind = name.split("/")
            file[f"model_weights/{layer}/{layer}/{kind}:0"] = array.numpy()
        file["model_weights/Bottleneck/Bottleneck/kernel:0"] = torch.zeros(1792, 128).numpy()
    arrays = tool.read_arrays(tmp_path / "facenet_keras.h5")
    assert arrays.keys() - graph.arrays.keys() == {"Bottleneck/kernel"}
    tool.convert(arrays)
    with pytest.raises(ValueError, match="does not use: Block99"):
        tool.convert(arrays | {"Block99/kernel": torch.zeros(1)})
    wrong = arrays | {"Block8_1_Conv2d_1x1/bias": torch.zeros(7)}
    with pytest.raises(ValueError, match=r"Block8_1_Conv2d_1x1/bias: has shape \(7,\)"):
        tool.convert(wrong)
