"""Our own backbones, registered with timm.

`resnet14_face` learns from about ten thousand 48×48 faces in a few epochs, where ConvNeXt needs far more. It uses
batch norm and plain 3×3 convolutions, and its stem halves the resolution once. Its last three maps have strides 4, 8
and 16.
"""

from typing import Any

from timm.models import register_model
from timm.models.byobnet import ByoBlockCfg, ByobNet, ByoModelCfg

from mftn.errors import ModelError

_TIMM_ARGUMENTS = ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")
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


def own_arguments(name: str, pretrained: bool, arguments: dict[str, Any]) -> dict[str, Any]:
    """The network's own arguments, without those that timm passes to every builder.

    Raises:
        ModelError: Pretrained weights were requested; none are registered with timm.
    """
    if pretrained:
        raise ModelError(f"{name}: no pretrained weights for this name; load a file with load_checkpoint")
    return {key: value for key, value in arguments.items() if key not in _TIMM_ARGUMENTS}


@register_model  # type: ignore[untyped-decorator]
def resnet14_face(pretrained: bool = False, **kwargs: Any) -> ByobNet:
    """A residual network for 48×48 faces: strides 2, 4, 8, 16, widths 64, 128, 256, 384."""
    network = ByobNet(_RESNET14_FACE, **own_arguments("resnet14_face", pretrained, kwargs))
    network.pretrained_cfg = network.default_cfg = {"first_conv": "stem.conv", "classifier": "head.fc"}
    return network
