"""The network agrees with tensors computed by the released code (tests/golden/README.md)."""

import json
from pathlib import Path

import pytest
import timm
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from mftn.models import AdaptiveContextAttention, Block, JointLoss, Logits, load_checkpoint

GOLDEN = Path(__file__).parents[1] / "golden"


def golden(name: str) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], dict[str, str]]:
    """The tensors beside the weights, the weights, and the sizes."""
    path = GOLDEN / f"{name}.safetensors"
    tensors = load_file(path)
    with safe_open(path, "pt") as file:
        sizes = file.metadata()
    weights = {key.removeprefix("weights."): value for key, value in tensors.items() if key.startswith("weights.")}
    return tensors, weights, sizes


def assert_agrees(actual: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


def test_attention_agrees() -> None:
    tensors, weights, sizes = golden("aca")
    attention = AdaptiveContextAttention(int(sizes["dim"]))
    attention.load_state_dict(weights)
    assert_agrees(attention(tensors["input"], (7, 7)), tensors["output"])


def test_block_agrees() -> None:
    tensors, weights, sizes = golden("block")
    block = Block(int(sizes["dim"])).eval()
    block.load_state_dict(weights)
    assert_agrees(block(tensors["input"], (7, 7)), tensors["output"])


def test_released_network_agrees_after_conversion(tmp_path: Path) -> None:
    tensors, weights, sizes = golden("mftn_release")
    numbers = {key: json.loads(f"[{value}]") for key, value in sizes.items()}
    model = timm.create_model(
        "mftn_base",
        num_classes=numbers["num_classes"][0],
        mstn_depths=numbers["mstn_blocks"],
        fuse_width=numbers["fuse_dim"][0],
        backbone_args={"depths": numbers["backbone_depths"], "dims": numbers["backbone_dims"]},
    ).eval()
    released = tmp_path / "released.pth"
    torch.save({"state_dict": weights}, released)
    load_checkpoint(model, released)

    maps = model.backbone.forward_intermediates(tensors["input"], indices=3, intermediates_only=True)
    for stage, x_map in zip((2, 3, 4), maps, strict=True):
        assert_agrees(x_map, tensors[f"stage{stage}"])
    logits = model(tensors["input"])
    assert_agrees(logits.backbone, tensors["logits_backbone"])
    assert_agrees(logits.mstn, tensors["logits_mstn"])
    assert_agrees(logits.fused, tensors["logits_backbone"] + tensors["logits_mstn"])


def test_loss_agrees() -> None:
    tensors, _, sizes = golden("loss")
    backbone, mstn = tensors["logits_backbone"], tensors["logits_mstn"]
    loss = JointLoss(1 - float(sizes["lambda_backbone"]), float(sizes["smoothing"]))
    assert_agrees(loss(Logits(backbone + mstn, backbone, mstn), tensors["labels"])[None], tensors["loss"])


@pytest.mark.parametrize(("depths", "parameters"), [((2, 2, 2), 119_204_494), ((3, 2, 1), 108_261_006)])
def test_parameters_of_the_published_network(depths: tuple[int, ...], parameters: int) -> None:
    with torch.device("meta"):
        model = timm.create_model("mftn_base", num_classes=7, mstn_depths=depths)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
