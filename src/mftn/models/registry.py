"""Registers the networks with timm: `timm.create_model("mftn_base")` works once `mftn.models` is imported."""

import sys
from typing import Any

from timm.models import register_model

from mftn.models import inception_resnet  # noqa: F401 (registers its backbone)
from mftn.models.backbones import own_arguments
from mftn.models.mftn import MFTN, Baseline, Network

CONVNEXT_SIZES = ("atto", "femto", "pico", "nano", "tiny", "small", "base", "large")
"""ConvNeXt sizes for which `mftn_SIZE` and `baseline_SIZE` are registered."""


def _register(name: str, network: type[Network], backbone: str, **defaults: Any) -> None:
    def build(pretrained: bool = False, **kwargs: Any) -> Network:
        return network(**({"backbone": backbone} | defaults | own_arguments(name, pretrained, kwargs)))

    build.__name__ = name
    build.__module__ = __name__
    build.__doc__ = f"{network.__name__} on {backbone}."
    setattr(sys.modules[__name__], name, register_model(build))


for _size in CONVNEXT_SIZES:
    _register(f"mftn_{_size}", MFTN, f"convnext_{_size}")
    _register(f"baseline_{_size}", Baseline, f"convnext_{_size}")

_register("mftn_face", MFTN, "resnet14_face", in_chans=1, img_size=48, num_classes=8, mstn_depths=(1, 1, 1))
_register("baseline_face", Baseline, "resnet14_face", in_chans=1, img_size=48, num_classes=8)

_MOBILE = {"in_chans": 1, "img_size": 128, "num_classes": 8}
_register(
    "mftn_mobile",
    MFTN,
    "mobilenetv1_100",
    mstn_depths=(1, 1, 1),
    branch_widths=(128, 256, 256),
    mlp_ratio=2.0,
    fuse_width=256,
    **_MOBILE,
)
_register("baseline_mobile", Baseline, "mobilenetv1_100", **_MOBILE)

_FACENET = {"in_chans": 1, "img_size": 160, "num_classes": 8}
_register(
    "mftn_facenet",
    MFTN,
    "inception_resnet_v1",
    mstn_depths=(1, 1, 1),
    branch_widths=(256, 384, 512),
    mlp_ratio=2.0,
    fuse_width=512,
    **_FACENET,
)
_register("baseline_facenet", Baseline, "inception_resnet_v1", **_FACENET)
