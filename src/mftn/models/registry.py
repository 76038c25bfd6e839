"""The networks' names: `timm.create_model("mftn_base")` works once `mftn.models` is imported."""

import sys
from typing import Any

from timm.models import register_model

from mftn.models.backbones import own_arguments
from mftn.models.mftn import MFTN, Baseline

CONVNEXT_SIZES = ("atto", "femto", "pico", "nano", "tiny", "small", "base", "large")


def _register(name: str, network: type[Baseline], backbone: str, **defaults: Any) -> None:
    def build(pretrained: bool = False, **kwargs: Any) -> Baseline:
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
