"""Where a network looks: class-activation maps of each head and stage, their sum, and the attention of ACA itself.

For a class, a map shows how much each location of a feature adds to the class's logit: gradient × activation, summed
over channels (Grad-CAM of Selvaraju et al., 2017, without its ReLU and with a gradient per location). Before a mean
over locations and a linear head, as in MsTN, this is exact: a stage's map sums to what the stage adds to the logit.
Maps are resampled to one grid, with each location where its convolutions looked, and keep their sums: the fused map is
their sum.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from mftn.models import Logits, Network

CELLS = 12
"""Cells per side of the grid on which images are blurred for a deletion curve."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Maps of a batch of images.

    Attributes:
        logits: The network's logits.
        classes: The explained class of each image, (B,).
        maps: By name, from "stage 2" to "fused", (B, h, w) on the finest feature's grid.
        attention: ACA's softmax over tokens of each stage's last block, averaged over channels, on the same grid; each
            sums to 1.
    """

    logits: Logits
    classes: Tensor
    maps: dict[str, Tensor]
    attention: dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Locations:
    """Where the locations of a map look, as fractions of the image's side.

    Attributes:
        first: Centre of the first location.
        pitch: Distance from one location to the next.
    """

    first: float
    pitch: float


def explain(model: Network, x: Tensor, classes: Tensor | None = None) -> Explanation:
    """Class-activation maps of normalised images (B, C, H, W).

    Args:
        model: In evaluation mode.
        x: The images.
        classes: (B,) the class to explain for each image; the predicted one by default.
    """
    attention: dict[str, Tensor] = {}
    with torch.enable_grad():
        hooks = [_watch(aca, stage, attention) for stage, aca in model.attentions().items()]
        features = model.feature_maps(x.detach().requires_grad_())
        for hook in hooks:
            hook.remove()
        logits = model.logits_of(features)
        chosen = logits.fused.argmax(dim=1) if classes is None else classes
        score = logits.fused.gather(1, chosen[:, None]).sum()
        gradients = torch.autograd.grad(score, list(features.values()))
    maps = {
        name: (gradient * feature).sum(dim=1).detach()  # (B, C, h, w) to (B, h, w)
        for (name, feature), gradient in zip(features.items(), gradients, strict=True)
    }
    height, width = (max(part.shape[side] for part in maps.values()) for side in (1, 2))
    where = locations(model, x)

    def on_one_grid(parts: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: resample(part, height, width, where.get(part.shape[2])) for name, part in parts.items()}

    maps, attention = on_one_grid(maps), on_one_grid(attention)
    maps["fused"] = torch.stack(list(maps.values())).sum(dim=0)
    plain = Logits(*(None if part is None else part.detach() for part in logits))  # type: ignore[arg-type]
    return Explanation(plain, chosen, maps, attention)


def locations(model: Network, x: Tensor) -> dict[int, Locations]:
    """Where the features of the backbone look, by the width of their maps.

    A patch convolution looks at the middle of its patch. A 3×3 convolution of stride 2 with a padding of 1 looks at
    every second pixel from the first: its maps are shifted up and left. Without padding it misses the edge.
    """
    steps: dict[int, tuple[int, float, int]] = {}  # by input width: output width, shift in input pixels, stride

    def note(module: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        kernel, stride, padding = (_last(value) for value in (module.kernel_size, module.stride, module.padding))
        if output.shape[3] < inputs[0].shape[3]:
            steps[inputs[0].shape[3]] = (output.shape[3], (kernel - 1) / 2 - padding, stride)

    kinds = (torch.nn.Conv2d, torch.nn.MaxPool2d, torch.nn.AvgPool2d)
    hooks = [m.register_forward_hook(note) for m in model.backbone.modules() if isinstance(m, kinds)]
    with torch.no_grad():
        model.backbone.forward_features(x[:1])
    for hook in hooks:
        hook.remove()
    side = width = int(x.shape[3])
    centre, pitch = 0.5, 1  # in pixels
    found = {width: Locations(centre / side, pitch / side)}
    while width in steps:
        width, shift, stride = steps[width]
        centre, pitch = centre + shift * pitch, pitch * stride
        found[width] = Locations(centre / side, pitch / side)
    return found


def _last(value: int | tuple[int, ...]) -> int:
    """The horizontal value of a module's size."""
    return value if isinstance(value, int) else value[-1]


def _watch(aca: torch.nn.Module, name: str, attention: dict[str, Tensor]) -> torch.utils.hooks.RemovableHandle:
    def keep(module: torch.nn.Module, inputs: tuple[Tensor, tuple[int, int]], _output: Tensor) -> None:
        tokens, grid = inputs
        weights, _ = module.attention(tokens.detach())  # type: ignore[operator]
        attention[name] = weights.detach().mean(dim=2).unflatten(1, grid)  # (B, N, C) to (B, h, w)

    return aca.register_forward_hook(keep)


def resample(part: Tensor, height: int, width: int, where: Locations | None = None) -> Tensor:
    """A map (B, h, w) on another grid over the whole image, bilinear, with the same sum over locations.

    Args:
        part: The map.
        height: Height of the new grid.
        width: Width of the new grid.
        where: Where its locations look; by default they divide the image evenly.
    """
    rows, columns = part.shape[1:]
    down, right = (_along(count, where) for count in (rows, columns))
    theta = torch.tensor([[right[0], 0, right[1]], [0, down[0], down[1]]])  # (2, 3)
    grid = F.affine_grid(theta.expand(len(part), 2, 3), [len(part), 1, height, width], align_corners=False)
    smooth = F.grid_sample(part[:, None], grid, padding_mode="border", align_corners=False)[:, 0]  # (B, H, W)
    share = rows * columns / (height * width)
    wanted, found = part.sum(dim=(1, 2), keepdim=True), share * smooth.sum(dim=(1, 2), keepdim=True)
    return share * smooth + (wanted - found) / (height * width)


def _along(count: int, where: Locations | None) -> tuple[float, float]:
    """Factor and shift from the image's coordinates, -1 to 1, to those of a map with `count` locations along a side."""
    where = where or Locations(0.5 / count, 1 / count)
    span = count * where.pitch
    return 1 / span, (1 - 2 * where.first + where.pitch) / span - 1


def deletion_curves(
    model: Network, x: Tensor, explanation: Explanation, fractions: tuple[float, ...], temperature: float = 1.0
) -> Mapping[str, NDArray[np.float64]]:
    """How the explained class's probability falls as locations are removed, hottest, coldest or random first.

    A location is a cell of a 12×12 grid; a removed one shows the image blurred beyond recognition.

    Args:
        model: In evaluation mode.
        x: Normalised images (B, C, H, W).
        explanation: The explanation of these images.
        fractions: Fractions of the locations that are removed, in ascending order.
        temperature: Temperature that calibrates the probabilities.

    Returns:
        "hottest first", "coldest first" and "random", each (B, len(fractions)) probabilities.
    """
    batch, height, width = len(x), x.shape[2], x.shape[3]
    heat = resample(explanation.maps["fused"], CELLS, CELLS).flatten(1)  # (B, cells)
    blank = F.interpolate(F.adaptive_avg_pool2d(x, 2), size=(height, width), mode="bilinear", align_corners=False)
    random = torch.rand(heat.shape, generator=torch.Generator().manual_seed(0))
    orders = {"hottest first": -heat, "coldest first": heat, "random": random}
    curves = {}
    for order, key in orders.items():
        ranks = key.argsort(dim=1).argsort(dim=1)  # (B, cells): 0 goes first
        probabilities = []
        for fraction in fractions:
            removed = (ranks < round(fraction * CELLS**2)).view(batch, 1, CELLS, CELLS).float()
            mask = F.interpolate(removed, size=(height, width), mode="nearest")  # (B, 1, H, W)
            with torch.no_grad():
                output = (model(mask * blank + (1 - mask) * x).fused / temperature).softmax(dim=1)  # (B, K)
            probabilities.append(output.gather(1, explanation.classes[:, None])[:, 0])
        curves[order] = torch.stack(probabilities, dim=1).double().numpy()
    return curves
