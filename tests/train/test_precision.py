import pytest
import timm
import torch
from torch import nn

import mftn.models  # noqa: F401 (registers the networks)
from mftn.train.config import TrainConfig
from mftn.train.precision import choose_precision, keep_strided_depthwise_in_float32


def test_only_strided_depthwise_convolutions_stay_in_float32_under_mixed_precision() -> None:
    layers = {
        "strided depth-wise": nn.Conv2d(4, 4, 3, stride=2, padding=1, groups=4),
        "depth-wise": nn.Conv2d(4, 4, 3, padding=1, groups=4),
        "strided": nn.Conv2d(4, 4, 3, stride=2, padding=1),
        "strided, one channel": nn.Conv2d(1, 4, 3, stride=2, padding=1),
    }
    model = nn.ModuleDict(layers)
    x = torch.randn(2, 4, 8, 8)
    expected = layers["strided depth-wise"](x)
    keep_strided_depthwise_in_float32(model)
    with torch.autocast("cpu", torch.bfloat16):
        answers = {name: layer(x[:, : layer.in_channels]) for name, layer in model.items()}  # type: ignore[index,union-attr]
    torch.testing.assert_close(answers["strided depth-wise"], expected)
    assert {name for name, answer in answers.items() if answer.dtype == torch.float32} == {"strided depth-wise"}


def test_a_network_keeps_its_answers_and_its_parameter_names() -> None:
    model = timm.create_model("mftn_mobile", img_size=32).eval()
    x, names = torch.randn(2, 1, 32, 32), list(model.state_dict())
    with torch.no_grad():
        before = model(x).fused
        keep_strided_depthwise_in_float32(model)
        torch.testing.assert_close(model(x).fused, before)
    assert list(model.state_dict()) == names


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_precision_that_was_asked_for_is_taken(precision: str) -> None:
    assert choose_precision(TrainConfig(precision=precision)) == precision  # type: ignore[arg-type]
    assert choose_precision(TrainConfig(precision="auto", accelerator="cpu")) in ("fp32", "bf16")
