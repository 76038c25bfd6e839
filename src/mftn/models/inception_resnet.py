"""Inception-ResNet-v1, the network of FaceNet, registered with timm.

Source: Szegedy et al., Inception-v4, Inception-ResNet and the impact of residual connections on learning, 2016, with
the widths of David Sandberg's facenet (MIT), whose pretrained weights `tools/convert_facenet.py` converts. As there,
strided convolutions have no padding: a 160×160 input gives maps of 17×17, 8×8 and 3×3.
"""

from collections.abc import Callable
from typing import Any

import torch
from timm.models import register_model
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint_sequential

from mftn.errors import ModelError
from mftn.models.backbones import own_arguments


class ConvNorm(nn.Sequential):
    """Convolution without bias, batch norm, ReLU; "same" padding if `pad` and the stride is 1."""

    def __init__(self, wide: int, width: int, kernel: tuple[int, int] | int, stride: int = 1, pad: bool = True) -> None:
        kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (kernel[0] // 2, kernel[1] // 2) if pad and stride == 1 else (0, 0)
        super().__init__()
        self.conv = nn.Conv2d(wide, width, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(width, eps=1e-3)
        self.act = nn.ReLU(inplace=True)


class Residual(nn.Module):
    """x + scale · Conv1×1(concatenated branches), then ReLU.

    Args:
        width: Channels of x.
        branches: Each maps x to some number of channels on the same grid.
        inner: Channels of all branches together.
        scale: Factor of the residual, which keeps early training stable.
        activate: Whether ReLU follows; the network's last block has none.
    """

    def __init__(self, width: int, branches: list[nn.Module], inner: int, scale: float, activate: bool = True) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)
        self.project = nn.Conv2d(inner, width, 1)
        self.scale, self.activate = scale, activate

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        x = x + self.scale * self.project(torch.cat([branch(x) for branch in self.branches], dim=1))
        return F.relu(x) if self.activate else x


class Reduction(nn.Module):
    """Halves the grid: strided branches and a max pooling, concatenated."""

    def __init__(self, branches: list[nn.Module]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)
        self.pool = nn.MaxPool2d(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C + the branches' channels, (H - 1) // 2, (W - 1) // 2)."""
        return torch.cat([branch(x) for branch in self.branches] + [self.pool(x)], dim=1)


class InceptionResNetV1(nn.Module):
    """FaceNet's network, with a linear classifier in place of its embedding.

    As in FaceNet's training, every image is first standardised (zero mean, unit variance over its pixels and channels),
    so brightness and contrast have no effect.

    Args:
        num_classes: K; 0 for pooled features.
        in_chans: Input channels.
        drop_rate: Dropout before the classifier.
        drop_path_rate: Accepted for compatibility with timm; blocks are never dropped.
    """

    def __init__(
        self, num_classes: int = 1000, in_chans: int = 3, drop_rate: float = 0.0, drop_path_rate: float = 0.0
    ) -> None:
        super().__init__()
        del drop_path_rate
        self.num_classes, self.drop_rate, self.grad_checkpointing = num_classes, drop_rate, False
        self.num_features = self.head_hidden_size = 1792
        self.feature_info = [
            {"num_chs": 256, "reduction": 8, "module": "stage2"},
            {"num_chs": 896, "reduction": 16, "module": "stage3"},
            {"num_chs": 1792, "reduction": 32, "module": "stage4"},
        ]
        self.pretrained_cfg = self.default_cfg = {"first_conv": "stem.0.conv", "classifier": "fc"}
        self.stem = nn.Sequential(
            ConvNorm(in_chans, 32, 3, 2),
            ConvNorm(32, 32, 3, pad=False),
            ConvNorm(32, 64, 3),
            nn.MaxPool2d(3, 2),
            ConvNorm(64, 80, 1),
            ConvNorm(80, 192, 3, pad=False),
            ConvNorm(192, 256, 3, 2),
        )
        self.stage2 = nn.Sequential(*(_block35() for _ in range(5)))
        self.stage3 = nn.Sequential(
            Reduction([ConvNorm(256, 384, 3, 2), _chain(256, (192, 1), (192, 3), (256, 3, 2))]),
            *(_block17() for _ in range(10)),
        )
        self.stage4 = nn.Sequential(
            Reduction(
                [
                    _chain(896, (256, 1), (384, 3, 2)),
                    _chain(896, (256, 1), (256, 3, 2)),
                    _chain(896, (256, 1), (256, 3), (256, 3, 2)),
                ]
            ),
            *(_block8(0.2) for _ in range(5)),
            _block8(1.0, activate=False),
        )
        self.reset_classifier(num_classes)

    def forward_intermediates(self, x: Tensor, indices: int = 3) -> tuple[Tensor, list[Tensor]]:
        """The last map and the last `indices` of the three maps, (B, C, H, W) each (timm's convention)."""
        x = self.stem(_standardise(x))
        maps = []
        for stage in (self.stage2, self.stage3, self.stage4):
            x = self._run(stage, x)
            maps.append(x)
        return x, maps[-indices:]

    def _run(self, stage: nn.Sequential, x: Tensor) -> Tensor:
        if self.grad_checkpointing and self.training:
            return checkpoint_sequential(stage, len(stage), x, use_reentrant=False)
        result: Tensor = stage(x)
        return result

    def forward_features(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) to the last map (B, 1792, h, w)."""
        return self.forward_intermediates(x)[0]

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """The last map to logits (B, K), or with `pre_logits` to pooled features (B, 1792)."""
        x = F.dropout(x.mean(dim=(2, 3)), self.drop_rate, self.training)
        return x if pre_logits else self.fc(x)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) to logits (B, K)."""
        return self.forward_head(self.forward_features(x))

    def get_classifier(self) -> nn.Module:
        """The last layer."""
        return self.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the classifier by a new one of `num_classes`; 0 removes it.

        Raises:
            ModelError: A pooling other than the mean was requested.
        """
        if global_pool not in (None, "avg"):
            raise ModelError(f"inception_resnet_v1: pools by the mean; {global_pool!r} is not available")
        self.num_classes = num_classes
        self.fc: nn.Module = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute activations in the backward pass instead of storing them."""
        self.grad_checkpointing = enable

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Patterns of layers, from the stem upwards, for layer-wise learning rates (timm's convention)."""
        blocks: Any = r"^stage(\d)" if coarse else [(r"^stage(\d)\.(\d+)", None)]
        return {"stem": r"^stem", "blocks": blocks}


def _standardise(x: Tensor) -> Tensor:
    """Zero mean and unit variance for each image (B, C, H, W)."""
    variance, mean = torch.var_mean(x, dim=(1, 2, 3), keepdim=True, unbiased=False)
    return (x - mean) / variance.sqrt().clamp(min=1e-2)


def _chain(wide: int, *layers: tuple[int, tuple[int, int] | int] | tuple[int, int, int]) -> nn.Sequential:
    """A sequence of convolutions, each (width, kernel) or (width, kernel, stride)."""
    made: list[nn.Module] = []
    for width, *rest in layers:
        made.append(ConvNorm(wide, width, *rest))  # type: ignore[arg-type]
        wide = width
    return nn.Sequential(*made)


def _block35() -> Residual:
    branches = [_chain(256, (32, 1)), _chain(256, (32, 1), (32, 3)), _chain(256, (32, 1), (32, 3), (32, 3))]
    return Residual(256, branches, 96, 0.17)  # type: ignore[arg-type]


def _block17() -> Residual:
    branches = [_chain(896, (128, 1)), _chain(896, (128, 1), (128, (1, 7)), (128, (7, 1)))]
    return Residual(896, branches, 256, 0.1)  # type: ignore[arg-type]


def _block8(scale: float, activate: bool = True) -> Residual:
    branches = [_chain(1792, (192, 1)), _chain(1792, (192, 1), (192, (1, 3)), (192, (3, 1)))]
    return Residual(1792, branches, 384, scale, activate)  # type: ignore[arg-type]


def _register(build: Callable[..., InceptionResNetV1]) -> Callable[..., InceptionResNetV1]:
    registered: Callable[..., InceptionResNetV1] = register_model(build)
    return registered


@_register
def inception_resnet_v1(pretrained: bool = False, **kwargs: Any) -> InceptionResNetV1:
    """FaceNet's Inception-ResNet-v1: three maps of strides 8, 16, 32 and widths 256, 896, 1792."""
    return InceptionResNetV1(**own_arguments("inception_resnet_v1", pretrained, kwargs))
