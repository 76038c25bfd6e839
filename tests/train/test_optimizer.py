from pathlib import Path

import pytest
import timm
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from timm.models import group_parameters
from torch import nn

import mftn.models  # noqa: F401 (registers the networks)
from mftn.train.config import OptimizerConfig
from mftn.train.optimizer import build_optimizer, learning_rate, set_learning_rate

GOLDEN = Path(__file__).parents[1] / "golden" / "sam_adam.safetensors"


def test_three_sam_steps_agree_with_the_released_code() -> None:
    tensors = load_file(GOLDEN)
    with safe_open(GOLDEN, "pt") as file:
        sizes = file.metadata()
    layer = nn.Linear(5, 7)
    layer.load_state_dict({"weight": tensors["before.weight"], "bias": tensors["before.bias"]})
    config = OptimizerConfig(name="adam", sam_rho=float(sizes["rho"]), lr=float(sizes["lr"]), weight_decay=0.0)
    optimizer = build_optimizer(layer, config)
    loss_of = nn.CrossEntropyLoss(label_smoothing=float(sizes["smoothing"]))

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = loss_of(layer(tensors["input"]), tensors["labels"])
        loss.backward()
        return loss

    for _ in range(int(sizes["steps"])):
        closure()
        optimizer.step(closure)
    torch.testing.assert_close(layer.weight, tensors["after3.weight"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(layer.bias, tensors["after3.bias"], rtol=1e-4, atol=1e-5)


def test_weight_decay_really_applies_but_not_to_norms_and_biases() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 4))
    optimizer = build_optimizer(model, OptimizerConfig(lr=0.5, weight_decay=0.1))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    before = [parameter.clone() for parameter in model.parameters()]
    optimizer.step()
    for old, new in zip(before, model.parameters(), strict=True):
        torch.testing.assert_close(new, old * (0.95 if new.ndim > 1 else 1.0))


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
@pytest.mark.parametrize("rho", [0.0, 0.05])
def test_every_optimizer_lowers_a_loss(name: str, rho: float) -> None:
    torch.manual_seed(0)
    model, x, y = nn.Linear(4, 2), torch.randn(32, 4), torch.randint(0, 2, (32,))
    optimizer = build_optimizer(model, OptimizerConfig(name=name, sam_rho=rho, lr=0.05))

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        return loss

    first = closure().item()
    for _ in range(20):
        closure()
        optimizer.step(closure) if rho else optimizer.step()
    assert closure().item() < first


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_every_optimizer_takes_up_weights_that_were_frozen(name: str) -> None:
    body, head = nn.Linear(4, 4), nn.Linear(4, 2)
    optimizer = build_optimizer(nn.Sequential(body, head), OptimizerConfig(name=name, lr=0.05))
    before = body.weight.detach().clone()
    for frozen in (True, False):
        optimizer.zero_grad()
        body.requires_grad_(not frozen)
        head(body(torch.ones(3, 4))).sum().backward()
        optimizer.step()
        assert torch.equal(body.weight, before) == frozen


def test_schedules() -> None:
    cosine = OptimizerConfig(lr=1.0, warmup_epochs=2)
    assert learning_rate(cosine, 0, 10) == 0
    assert learning_rate(cosine, 1, 10) == pytest.approx(0.5 * (1 + 0.95105652) / 2)
    assert learning_rate(cosine, 5, 10) == pytest.approx(0.5)
    assert learning_rate(cosine, 10, 10) == pytest.approx(0)
    exponential = OptimizerConfig(lr=2.5e-4, schedule="exponential", decay=0.95, warmup_epochs=0)
    assert learning_rate(exponential, 3.7, 100) == pytest.approx(2.5e-4 * 0.95**3)


def test_layer_decay_slows_the_layers_near_the_input() -> None:
    model = timm.create_model("mftn_atto", img_size=32)
    optimizer = build_optimizer(model, OptimizerConfig(layer_decay=0.5))
    set_learning_rate(optimizer, 1.0)
    rate_of = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    rates = [
        rate_of[id(parameter)]
        for parameter in (
            model.backbone.stem[0].weight,
            model.backbone.stages[2].blocks[0].conv_dw.weight,
            model.backbone.stages[3].blocks[1].conv_dw.weight,
            model.mstn.head.weight,
        )
    ]
    assert rates == sorted(rates) and rates[0] < rates[1] < rates[2] < rates[3] == 1.0
    assert len(rate_of) == len(list(model.parameters()))


@pytest.mark.parametrize("name", ["atto", "mobile", "face", "facenet"])
def test_layer_decay_orders_the_backbone_as_timm_does(name: str) -> None:
    model = timm.create_model(f"mftn_{name}", img_size=96)

    def layers(network: nn.Module, prefix: str = "") -> dict[str, int]:
        found = group_parameters(network, network.group_matcher(), reverse=True)
        return {key.removeprefix(prefix): layer for key, layer in found.items() if key.startswith(prefix)}

    theirs, ours = layers(model.backbone), layers(model, "backbone.")
    order = {layer: position for position, layer in enumerate(sorted(set(ours.values())))}
    assert {key: order[layer] for key, layer in ours.items()} == theirs
