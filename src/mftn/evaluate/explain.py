"""Where a network looks: class-activation maps of each head and stage, their sum, and the attention of ACA itself.

A map holds, for a class, what each place of a feature adds to the class's logit: gradient × activation, summed over
channels (Grad-CAM of Selvaraju et al., 2017, without its ReLU and with gradients place by place). Behind a mean over
places and a linear head, as in MsTN, this is exact: a stage's map sums to what the stage adds to the logit. Maps of
different grids are therefore additive; the fused map is their sum.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from mftn.models import MFTN, Baseline, Logits

CELLS = 12
"""Cells a side that a deletion curve removes pictures by."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Maps of a batch of pictures.

    Attributes:
        logits: The network's.
        classes: The explained class of each picture, (B,).
        maps: By name, from "stage 2" to "fused", (B, h, w) on each feature's own grid, the fused one on the finest.
        attention: ACA's softmax over tokens of each stage's last block, averaged over channels, (B, h, w); sums to 1.
    """

    logits: Logits
    classes: Tensor
    maps: dict[str, Tensor]
    attention: dict[str, Tensor]


def explain(model: Baseline, x: Tensor, classes: Tensor | None = None) -> Explanation:
    """Class-activation maps of normalised pictures (B, C, H, W).

    Args:
        model: In evaluation mode.
        x: The pictures.
        classes: (B,) which class of each to explain; the predicted ones by default.
    """
    attention: dict[str, Tensor] = {}
    with torch.enable_grad():
        features, logits = _forward(model, x.detach().requires_grad_(), attention)
        chosen = logits.fused.argmax(dim=1) if classes is None else classes
        score = logits.fused.gather(1, chosen[:, None]).sum()
        gradients = torch.autograd.grad(score, list(features.values()))
    maps = {
        name: (gradient * feature).sum(dim=1).detach()  # (B, C, h, w) to (B, h, w)
        for (name, feature), gradient in zip(features.items(), gradients, strict=True)
    }
    maps["fused"] = _sum_of(list(maps.values()))
    plain = Logits(*(None if part is None else part.detach() for part in logits))  # type: ignore[arg-type]
    return Explanation(plain, chosen, maps, attention)


def _forward(model: Baseline, x: Tensor, attention: dict[str, Tensor]) -> tuple[dict[str, Tensor], Logits]:
    """What the heads average, as maps (B, C, h, w), and the logits; fills in the attention."""
    if not isinstance(model, MFTN):
        final = model.backbone.forward_features(x)
        logits = model.backbone.forward_head(final)
        return {"backbone head": final}, Logits(fused=logits, backbone=logits)
    final, maps = model.encode(x)
    grids = [(int(part.shape[2]), int(part.shape[3])) for part in maps]
    last_blocks: list[tuple[int, Any]] = [(i, b[-1]) for i, b in enumerate(model.mstn.branches, 2) if len(b)]  # type: ignore[arg-type,index]
    hooks = [_watch(block.attn, f"stage {i}", attention) for i, block in last_blocks]
    sequences = model.mstn.forward_features(maps)
    for hook in hooks:
        hook.remove()
    # The tokens pass through maps, so that gradients come place by place.
    features = {
        f"stage {i}": tokens.transpose(1, 2).unflatten(2, grid)  # (B, N, C) to (B, C, h, w)
        for i, (tokens, grid) in enumerate(zip(sequences, grids, strict=True), start=2)
    }
    own = final.clone()  # the last stage may be the same tensor: its gradient must not come through MsTN too
    backbone = model.backbone.forward_head(own)
    mstn = model.mstn.forward_head([part.flatten(2).transpose(1, 2) for part in features.values()])
    return {**features, "backbone head": own}, Logits(backbone + mstn, backbone, mstn)


def _watch(aca: torch.nn.Module, name: str, attention: dict[str, Tensor]) -> torch.utils.hooks.RemovableHandle:
    def keep(module: torch.nn.Module, inputs: tuple[Tensor, tuple[int, int]], _output: Tensor) -> None:
        tokens, grid = inputs
        weights, _ = module.attention(tokens.detach())  # type: ignore[operator]
        attention[name] = weights.detach().mean(dim=2).unflatten(1, grid)  # (B, N, C) to (B, h, w)

    return aca.register_forward_hook(keep)


def _sum_of(maps: list[Tensor]) -> Tensor:
    """Add maps (B, h, w) of different grids on the finest; every map keeps its sum over places."""
    height = max(part.shape[1] for part in maps)
    width = max(part.shape[2] for part in maps)
    return torch.stack([resample(part, height, width) for part in maps]).sum(dim=0)


def resample(part: Tensor, height: int, width: int) -> Tensor:
    """A map (B, h, w) on another grid, bilinear, with the same sum over places."""
    share = part.shape[1] * part.shape[2] / (height * width)
    smooth = F.interpolate(part[:, None], size=(height, width), mode="bilinear", align_corners=False)[:, 0]
    wanted, found = part.sum(dim=(1, 2), keepdim=True), share * smooth.sum(dim=(1, 2), keepdim=True)
    return share * smooth + (wanted - found) / (height * width)


def deletion_curves(
    model: Baseline, x: Tensor, explanation: Explanation, name: str = "fused", fractions: tuple[float, ...] = ()
) -> Mapping[str, NDArray[np.float64]]:
    """How the explained class's probability falls as places are removed, hottest, coldest or random first.

    A place is a cell of a 12×12 grid; a removed one shows the picture blurred beyond recognition.

    Args:
        model: In evaluation mode.
        x: Normalised pictures (B, C, H, W).
        explanation: Theirs.
        name: Of the map that ranks places.
        fractions: Shares of the places removed, rising.

    Returns:
        "hottest first", "coldest first" and "random", each (B, len(fractions)) probabilities.
    """
    batch, height, width = len(x), x.shape[2], x.shape[3]
    heat = resample(explanation.maps[name], CELLS, CELLS).flatten(1)  # (B, cells)
    blank = F.interpolate(F.adaptive_avg_pool2d(x, 2), size=(height, width), mode="bilinear", align_corners=False)
    random = torch.rand(heat.shape, generator=torch.Generator().manual_seed(0))
    orders = {"hottest first": -heat, "coldest first": heat, "random": random}
    curves = {}
    for order, key in orders.items():
        ranks = key.argsort(dim=1).argsort(dim=1)  # (B, cells): 0 goes first
        probabilities = []
        for fraction in fractions:
            gone = (ranks < round(fraction * CELLS**2)).view(batch, 1, CELLS, CELLS).float()
            mask = F.interpolate(gone, size=(height, width), mode="nearest")
            with torch.no_grad():
                answer = model(mask * blank + (1 - mask) * x).fused.softmax(dim=1)
            probabilities.append(answer.gather(1, explanation.classes[:, None])[:, 0])
        curves[order] = torch.stack(probabilities, dim=1).double().numpy()
    return curves


@torch.no_grad()
def embeddings(model: Baseline, x: Tensor) -> dict[str, Tensor]:
    """What the heads see of normalised pictures (B, C, H, W): features (B, D) of backbone, stages and their fusion."""
    if not isinstance(model, MFTN):
        return {"backbone head": model.backbone.forward_head(model.backbone.forward_features(x), pre_logits=True)}
    final, maps = model.encode(x)
    sequences = model.mstn.forward_features(maps)
    pooled = {f"stage {i}": tokens.mean(dim=1) for i, tokens in enumerate(sequences, start=2)}
    fused = torch.stack([layer(part) for layer, part in zip(model.mstn.fuse_layers, pooled.values(), strict=True)]).sum(
        dim=0
    )
    return {**pooled, "MsTN head": fused, "backbone head": model.backbone.forward_head(final, pre_logits=True)}
