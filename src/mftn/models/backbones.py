"""Backbones of our own, registered with timm.

`resnet14_face` learns from some ten thousand 48×48 faces in few epochs, where ConvNeXt needs far more: batch
norm, plain 3×3 convolutions, one halving in the stem. Its last three maps have strides 4, 8 and 16.
"""

from typing import Any

from timm.models import register_model
from timm.models.byobnet import ByoBlockCfg, ByobNet, ByoModelCfg

_RESNET14_FACE = ByoModelCfg(
    blocks=tuple(
        ByoBlockCfg(type="basic", d=depth, c=width, s=stride, gs=0, br=1.0)
        for depth, width, stride in ((1, 64, 1), (2, 128, 2), (2, 256, 2), (1, 384, 2))
    ),
    stem_chs=64,
    stem_type="3x3",
    stem_pool="",
    downsample="conv1x1",
    act_layer="relu",
)


@register_model  # type: ignore[untyped-decorator]
def resnet14_face(pretrained: bool = False, **kwargs: Any) -> ByobNet:
    """A residual network for 48×48 faces: strides 2, 4, 8, 16, widths 64, 128, 256, 384."""
    if pretrained:
        raise ValueError("resnet14_face: no pre-trained weights under this name")
    for key in ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"):  # what timm passes to every builder
        kwargs.pop(key, None)
    network = ByobNet(_RESNET14_FACE, **kwargs)
    network.pretrained_cfg = network.default_cfg = {"first_conv": "stem.conv", "classifier": "head.fc"}
    return network
