import pytest
import timm
import torch
from lightning_fabric import Fabric
from torch import nn

from mftn.models import Logits
from mftn.train.config import ModelConfig, OptimizerConfig, TrainConfig
from mftn.train.optimizer import build_optimizer
from mftn.train.step import Mixer, Step


class Net(nn.Module):
    """Two linear heads, after batch norm where asked."""

    def __init__(self, norm: bool = False) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(6) if norm else nn.Identity()
        self.first, self.second = nn.Linear(6, 3), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> Logits:
        x = self.norm(x.flatten(1))
        first, second = self.first(x), self.second(x)
        return Logits(first + second, first, second)


def step_of(net: nn.Module, **changes: object) -> tuple[Step, nn.Module]:
    config = TrainConfig(model=ModelConfig(num_classes=3), **changes)
    fabric = Fabric(accelerator="cpu", devices=1)
    return Step(fabric, build_optimizer(net, config.optimizer), config), fabric.setup_module(net)


def moved(x: torch.Tensor, target: torch.Tensor, norm: bool = False, **changes: object) -> nn.Module:
    torch.manual_seed(0)
    net = Net(norm)
    step, network = step_of(net, **changes)
    step(network, x, target)
    return net


X = torch.randn(8, 1, 2, 3, generator=torch.Generator().manual_seed(1))
Y = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])


def test_the_reported_losses_and_accuracy_are_those_before_the_step() -> None:
    torch.manual_seed(0)
    net = Net()
    step, network = step_of(net, optimizer=OptimizerConfig(sam_rho=0.1))
    with torch.no_grad():
        logits = net(X)
        first, second = (nn.functional.cross_entropy(part, Y) for part in (logits.backbone, logits.mstn))
    result = step(network, X, Y)
    assert result.backbone == pytest.approx(first.item()) and result.mstn == pytest.approx(second.item())
    assert result.loss == pytest.approx((0.45 * first + 0.55 * second).item())
    assert result.accuracy == pytest.approx((logits.fused.argmax(1) == Y).float().mean().item())


@pytest.mark.parametrize("rho", [0.0, 0.05])
def test_accumulation_takes_the_step_of_the_whole_batch(rho: float) -> None:
    optimizer = OptimizerConfig(name="sgd", lr=0.1, sam_rho=rho)
    whole, parts = (moved(X, Y, optimizer=optimizer, accumulate=n) for n in (1, 4))
    torch.testing.assert_close(whole.state_dict(), parts.state_dict(), rtol=1e-5, atol=1e-6)


def test_the_second_pass_of_sam_leaves_running_statistics_alone() -> None:
    plain, sharp = (moved(X, Y, norm=True, optimizer=OptimizerConfig(sam_rho=rho)) for rho in (0.0, 0.5))
    assert torch.equal(plain.norm.running_mean, sharp.norm.running_mean)
    assert torch.equal(plain.norm.running_var, sharp.norm.running_var)
    assert not torch.equal(plain.first.weight, sharp.first.weight)
    assert sharp.norm.momentum == 0.1


def test_recomputed_activations_count_once_in_running_statistics() -> None:
    x = torch.randn(4, 1, 32, 32, generator=torch.Generator().manual_seed(2))
    statistics = []
    for recompute in (False, True):
        torch.manual_seed(0)
        net = timm.create_model("mftn_face", num_classes=3).train()
        net.set_grad_checkpointing(recompute)
        step, network = step_of(net)
        step(network, x, Y[:4])
        statistics.append({name: value for name, value in net.state_dict().items() if "running" in name})
    torch.testing.assert_close(*statistics)


def test_clipping_bounds_the_step() -> None:
    torch.manual_seed(0)
    before = Net()
    after = moved(X, Y, optimizer=OptimizerConfig(name="sgd", lr=1.0, weight_decay=0.0, clip_norm=1e-3))
    change = torch.cat([(a - b).ravel() for a, b in zip(before.parameters(), after.parameters(), strict=True)])
    assert change.norm().item() == pytest.approx(1.9e-3, rel=0.01)  # Nesterov's first step is 1.9 gradients


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.5, 0.0), (0.0, 1.0), (0.5, 1.0)])
@pytest.mark.parametrize("soft", [False, True])
def test_mixing_blends_targets_as_it_blends_images(mixup: float, cutmix: float, soft: bool) -> None:
    torch.manual_seed(0)
    x = Y[:, None, None, None].float().expand(8, 1, 16, 16)  # an image's brightness is its class
    target = nn.functional.one_hot(Y, 3).float() if soft else Y
    mixed, targets = Mixer(mixup, cutmix, 1.0, 3)(x, target)
    assert not torch.equal(mixed, x)
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(8))
    torch.testing.assert_close(mixed.mean(dim=(1, 2, 3)), targets @ torch.arange(3.0), rtol=0, atol=1e-4)


def test_mixing_is_off_by_default_and_as_rare_as_asked() -> None:
    assert Mixer(0.0, 0.0, 1.0, 3)(X, Y)[0] is X
    torch.manual_seed(0)
    mixer = Mixer(0.5, 0.0, 0.25, 3)
    mixed = sum(mixer(X, Y)[0] is not X for _ in range(400))
    assert 70 < mixed < 130
