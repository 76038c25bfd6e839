"""MFTN-FER: a backbone with its own head, and a multi-stage transformer on its last three maps.

Source: figure 1 of the MFTN-FER README and the code released with it (MIT). `Baseline` is the backbone alone, as in
the published comparison; `MFTN` adds the MsTN. Both are a `Network` and return `Logits`, so training and evaluation
treat them alike.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import timm
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn

from mftn.errors import ModelError
from mftn.models.hub import HubMixin
from mftn.models.mstn import MsTN
from mftn.spec import ModelSpec


class Logits(NamedTuple):
    """The network's output; each tensor is (B, K).

    Attributes:
        fused: Sum of the heads; its argmax is the prediction.
        backbone: The backbone's own head, P_IB.
        mstn: The multi-stage transformer's head, P_MsTN; None in a baseline.
    """

    fused: Tensor
    backbone: Tensor
    mstn: Tensor | None = None


BACKBONE_HEAD, MSTN_HEAD = "backbone head", "MsTN head"
"""Names of the heads and of their input features."""

STAGES = ("stage 2", "stage 3", "stage 4")
"""Names of the three maps, after the backbone's stages in figure 1."""


class Network(nn.Module, HubMixin, library_name="mftn", pipeline_tag="image-classification"):
    """A timm network with its own head, and possibly further heads.

    It exposes what reports need: the maps that the heads average over locations, and the logits from these maps.

    Args:
        backbone: Name of a timm network.
        num_classes: K. With 0, a `Baseline` returns pooled features in place of logits; an `MFTN` returns them from
            `embeddings` only, because its heads have features of different widths.
        in_chans: Input channels: 3 for colour, 1 for grey.
        img_size: Intended height and width (or one number) of the input in pixels. It is only a description: any
            multiple of the backbone's stride works, but a size below the stride is rejected.
        drop_rate: Dropout before the backbone's classifier.
        drop_path_rate: Stochastic depth of the last block.
        backbone_args: More keyword arguments for `timm.create_model`.

    Raises:
        ModelError: The images are smaller than the backbone's stride.
    """

    def __init__(
        self,
        backbone: str = "convnext_base",
        num_classes: int = 7,
        in_chans: int = 3,
        img_size: int | tuple[int, int] = 224,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        backbone_args: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.spec: ModelSpec | None = None
        self.backbone: Any = timm.create_model(
            backbone,
            num_classes=num_classes,
            in_chans=in_chans,
            drop_rate=drop_rate,
            drop_path_rate=drop_path_rate,
            **(backbone_args or {}),
        )
        self.num_features: int = self.backbone.num_features
        height, width = (img_size, img_size) if isinstance(img_size, int) else img_size
        if min(height, width) < (stride := _stride(self.backbone)):
            raise ModelError(
                f"{backbone}: its last map has one location per {stride}×{stride} pixels, more than an image of "
                f"{height}×{width} has; use images of at least {stride} pixels a side"
            )
        self.pretrained_cfg = {
            "input_size": (in_chans, height, width),
            "num_classes": num_classes,
            "mean": IMAGENET_DEFAULT_MEAN,
            "std": IMAGENET_DEFAULT_STD,
            "interpolation": "bilinear",
            "crop_pct": 1.0,
            "first_conv": _prefixed("backbone", self.backbone.default_cfg.get("first_conv")),
            "classifier": _prefixed("backbone", self.backbone.default_cfg.get("classifier")),
        }
        self.default_cfg = self.pretrained_cfg

    def forward(self, x: Tensor) -> Logits:
        """Images (B, C, H, W), normalised, to logits (B, K)."""
        raise NotImplementedError

    def described(self) -> ModelSpec:
        """The network's description.

        Raises:
            ModelError: It has none, because it was not loaded from a file with one.
        """
        if self.spec is None:
            raise ModelError("this network has no description; load it with load_model, or set its `spec`")
        return self.spec

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        """The maps that the heads average over locations, by name, each (B, C, h, w)."""
        raise NotImplementedError

    def logits_of(self, maps: Mapping[str, Tensor]) -> Logits:
        """The logits from `feature_maps`."""
        raise NotImplementedError

    def embeddings(self, x: Tensor) -> dict[str, Tensor]:
        """Input features of the heads' last layers for images (B, C, H, W), by name, each (B, D)."""
        raise NotImplementedError

    def heads(self) -> list[nn.Module]:
        """The last layer of each head."""
        return [self.get_classifier()]

    def attentions(self) -> dict[str, nn.Module]:
        """The last attention of each stage, by the stage's name."""
        return {}

    def get_classifier(self) -> nn.Module:
        """The last layer of the backbone's head."""
        classifier: nn.Module = self.backbone.get_classifier()
        return classifier

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace every classifier by a new one with `num_classes` outputs."""
        self.num_classes = num_classes
        self.pretrained_cfg["num_classes"] = num_classes
        self.backbone.reset_classifier(num_classes, global_pool)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute activations in the backward pass instead of storing them."""
        self.backbone.set_grad_checkpointing(enable)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Patterns of layers, from the stem upwards, for layer-wise learning rates (timm's convention).

        Parameters that match none, such as the MsTN's, count as the last layer.
        """
        matcher = self.backbone.group_matcher(coarse=coarse)
        return {name: _under_backbone(patterns) for name, patterns in matcher.items()}

    def no_weight_decay(self) -> set[str]:
        """Names of parameters that are excluded from weight decay."""
        names: set[str] = getattr(self.backbone, "no_weight_decay", set)()
        return {f"backbone.{name}" for name in names}


class Baseline(Network):
    """The backbone with its own head alone: the baseline of the published comparison."""

    def forward(self, x: Tensor) -> Logits:
        """Images (B, C, H, W), normalised, to logits (B, K)."""
        logits = self.backbone(x)
        return Logits(fused=logits, backbone=logits)

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        """The backbone's last map, (B, C, h, w)."""
        return {BACKBONE_HEAD: self.backbone.forward_features(x)}

    def logits_of(self, maps: Mapping[str, Tensor]) -> Logits:
        """The logits from `feature_maps`."""
        logits = self.backbone.forward_head(maps[BACKBONE_HEAD])
        return Logits(fused=logits, backbone=logits)

    def embeddings(self, x: Tensor) -> dict[str, Tensor]:
        """The backbone's pooled feature, (B, D)."""
        return {BACKBONE_HEAD: self.backbone.forward_head(self.backbone.forward_features(x), pre_logits=True)}


class MFTN(Network):
    """The Multi-stage Feature-aware Transformer Network.

    Args:
        backbone: Name of a timm network whose last three maps feed the MsTN.
        num_classes: K.
        mstn_depths: Transformer blocks on each of the three maps; 2, 2, 2 in figure 1, and 3, 2, 1 as released.
        fuse_width: Width of the fused feature; the second map's by default.
        drop_path_rate: Stochastic depth of the last block, in the backbone and in each branch.
        branch_widths: Channels inside the branches; the maps' by default, as published.
        mlp_ratio: Width of the MLPs' hidden layers, as a multiple of the branch's width.
        **network: The other arguments of `Network`.
    """

    def __init__(
        self,
        backbone: str = "convnext_base",
        num_classes: int = 7,
        mstn_depths: Sequence[int] = (2, 2, 2),
        fuse_width: int | None = None,
        drop_path_rate: float = 0.0,
        branch_widths: Sequence[int] | None = None,
        mlp_ratio: float = 4.0,
        **network: Any,
    ) -> None:
        super().__init__(backbone, num_classes, drop_path_rate=drop_path_rate, **network)
        stages = self.backbone.feature_info[-3:] if isinstance(self.backbone.feature_info, list) else []
        if len(stages) < 3:
            raise ValueError(f"{backbone} gives {len(stages)} stage maps; MFTN needs three")
        self.strides: tuple[int, ...] = tuple(stage["reduction"] for stage in stages)
        widths = [stage["num_chs"] for stage in stages]
        self.mstn = MsTN(widths, num_classes, mstn_depths, fuse_width, drop_path_rate, branch_widths, mlp_ratio)

    def forward(self, x: Tensor) -> Logits:
        """Images (B, C, H, W), normalised, to logits (B, K)."""
        final, maps = self.encode(x)
        backbone = self.backbone.forward_head(final)  # (B, K)
        mstn = self.mstn(maps)  # (B, K)
        return Logits(fused=backbone + mstn, backbone=backbone, mstn=mstn)

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        """The transformed stages and the backbone's last map, each (B, C, h, w)."""
        final, maps = self.encode(x)
        sequences = self.mstn.forward_features(maps)
        stages = {
            stage: tokens.transpose(1, 2).unflatten(2, part.shape[2:])  # (B, N, C) to (B, C, h, w)
            for stage, tokens, part in zip(STAGES, sequences, maps, strict=True)
        }
        # The last stage's map may be the final map itself; cloned, the two have separate gradients.
        return {**stages, BACKBONE_HEAD: final.clone()}

    def logits_of(self, maps: Mapping[str, Tensor]) -> Logits:
        """The logits from `feature_maps`."""
        backbone = self.backbone.forward_head(maps[BACKBONE_HEAD])
        mstn = self.mstn.forward_head([maps[stage].flatten(2).transpose(1, 2) for stage in STAGES])
        return Logits(fused=backbone + mstn, backbone=backbone, mstn=mstn)

    def embeddings(self, x: Tensor) -> dict[str, Tensor]:
        """The pooled stages, their fusion and the backbone's pooled feature, each (B, D)."""
        final, maps = self.encode(x)
        sequences = self.mstn.forward_features(maps)
        return {
            **{stage: tokens.mean(dim=1) for stage, tokens in zip(STAGES, sequences, strict=True)},
            MSTN_HEAD: self.mstn.forward_head(sequences, pre_logits=True),
            BACKBONE_HEAD: self.backbone.forward_head(final, pre_logits=True),
        }

    def heads(self) -> list[nn.Module]:
        """The last layer of each head."""
        return [self.get_classifier(), self.mstn.head]

    def attentions(self) -> dict[str, nn.Module]:
        """The last attention of each stage that has a block, by the stage's name."""
        branches = zip(STAGES, self.mstn.branches, strict=True)
        return {stage: branch[-1].attn for stage, branch in branches if len(branch)}  # type: ignore[arg-type,index]

    def forward_features(self, x: Tensor) -> tuple[Tensor, ...]:
        """The token sequences of the three branches, each (B, N, C), for class-activation maps.

        The tokens of stage i are in row-major order on a grid of ceil(H / strides[i]) × ceil(W / strides[i]).
        """
        _, maps = self.encode(x)
        return self.mstn.forward_features(maps)

    def encode(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The backbone's final map and its last three stage maps, each (B, C, H, W)."""
        final, maps = self.backbone.forward_intermediates(x, indices=3)
        return final, maps

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the classifiers of both heads by new ones with `num_classes` outputs."""
        super().reset_classifier(num_classes, global_pool)
        self.mstn.reset_classifier(num_classes)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute activations in the backward pass instead of storing them."""
        super().set_grad_checkpointing(enable)
        self.mstn.grad_checkpointing = enable


def _stride(backbone: Any) -> int:
    """Pixels from one location of the last map to the next; 1 where timm does not declare it."""
    stages = getattr(backbone, "feature_info", None)
    return int(stages[-1]["reduction"]) if isinstance(stages, list) and stages else 1


def _prefixed(prefix: str, names: Any) -> Any:
    """Prefix a layer's name, or each of a tuple of them: timm uses both forms."""
    return f"{prefix}.{names}" if isinstance(names, str) else tuple(f"{prefix}.{n}" for n in names or ())


def _under_backbone(patterns: Any) -> Any:
    """Move timm's regular expressions, which start at a network's root, under `backbone.`."""
    if isinstance(patterns, str):
        return r"^backbone\.(?:" + re.sub(r"(?<!\[)\^", "", patterns) + ")"
    return [(_under_backbone(pattern), order) for pattern, order in patterns]
