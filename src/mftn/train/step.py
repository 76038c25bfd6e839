"""One optimisation step: both heads' losses, gradient accumulation, mixup and CutMix, SAM's two passes."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision.transforms import v2

from mftn.models import JointLoss, Logits
from mftn.train.config import TrainConfig
from mftn.train.distill import Teachers


@dataclass(frozen=True, slots=True)
class StepResult:
    """Figures of a step on this process, from before the weight update.

    Attributes:
        loss: The joint loss.
        backbone: The loss of the backbone's head.
        mstn: The loss of the MsTN's head; 0 for a baseline.
        accuracy: Share of images whose highest fused logit is the target's highest class.
    """

    loss: float
    backbone: float
    mstn: float
    accuracy: float


class Step:
    """Updates the weights with one batch.

    SAM's perturbation comes from the gradient averaged over all processes and all parts of an accumulated batch.
    Its second pass does not change batch norm's running statistics and is not reported.

    Args:
        fabric: The processes and device.
        optimizer: From `build_optimizer`.
        config: The run.
        teachers: Networks whose outputs make up the share `config.distillation` of the target; None for none.
    """

    def __init__(self, fabric: Fabric, optimizer: Any, config: TrainConfig, teachers: Teachers | None = None) -> None:
        self.fabric, self.optimizer = fabric, optimizer
        self.teachers, self.distillation = teachers, config.distillation
        self.sharpness_aware, self.clip_norm = config.optimizer.sam_rho > 0, config.optimizer.clip_norm
        self.parts = config.accumulate
        self.loss_of = JointLoss(config.lambda_mstn, config.label_smoothing)
        self.mixer = Mixer(config.mixup, config.cutmix, config.mix_probability, config.model.num_classes)

    def __call__(self, network: nn.Module, x: Tensor, target: Tensor) -> StepResult:
        """Take the step.

        Args:
            network: The network, wrapped by fabric.
            x: Normalised images (B, C, H, W) of this process.
            target: Class indices (B,) or distributions (B, K).
        """
        x, target = self.mixer(x, target)
        if self.teachers:
            if target.ndim == 1:
                target = nn.functional.one_hot(target, self.mixer.num_classes).to(x.dtype)
            target = torch.lerp(target, self.teachers(x), self.distillation)  # (B, K)
        result = self._gradients(network, x, target)
        if self.sharpness_aware:
            self.optimizer.first_step(zero_grad=True)
            with fixed_batch_norm_statistics(network):
                self._gradients(network, x, target)
        if self.clip_norm:
            nn.utils.clip_grad_norm_(network.parameters(), self.clip_norm)
        if self.sharpness_aware:
            self.optimizer.second_step(zero_grad=True)
        else:
            self.optimizer.step()
        return StepResult(*result.tolist())

    def _gradients(self, network: nn.Module, x: Tensor, target: Tensor) -> Tensor:
        """Compute the batch's mean gradient; return the loss, both heads' losses and the accuracy as (4,)."""
        self.optimizer.zero_grad()
        total = torch.zeros(4, device=x.device)
        parts = list(zip(x.chunk(self.parts), target.chunk(self.parts), strict=True))
        for number, (x_part, target_part) in enumerate(parts, start=1):
            share = len(x_part) / len(x)
            with self.fabric.no_backward_sync(network, enabled=number < len(parts)):  # type: ignore[arg-type]
                logits: Logits = network(x_part)
                losses = self.loss_of.heads(logits, target_part)
                loss = self.loss_of.join(*losses)
                with fixed_batch_norm_statistics(network):  # recomputed activations were already counted
                    self.fabric.backward(share * loss)
            classes = target_part if target_part.ndim == 1 else target_part.argmax(dim=1)
            accuracy = (logits.fused.argmax(dim=1) == classes).float().mean()
            mstn = torch.zeros_like(loss) if losses[1] is None else losses[1]
            total += share * torch.stack([loss.detach(), losses[0].detach(), mstn.detach(), accuracy])
        return total


class Mixer:
    """Mixup (Zhang et al., 2018) and CutMix (Yun et al., 2019), one λ per batch.

    Args:
        mixup: α of the Beta distribution for mixup's λ; 0 is off.
        cutmix: The same for CutMix.
        probability: Share of batches that are mixed.
        num_classes: K.
    """

    def __init__(self, mixup: float, cutmix: float, probability: float, num_classes: int) -> None:
        self.probability, self.num_classes = probability, num_classes
        self.methods: list[nn.Module] = []
        if mixup:
            self.methods.append(v2.MixUp(alpha=mixup, num_classes=num_classes))
        if cutmix:
            self.methods.append(v2.CutMix(alpha=cutmix, num_classes=num_classes))

    def __call__(self, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, C, H, W) and targets, (B,) or (B, K), to mixed images and targets (B, K)."""
        if not self.methods or torch.rand(()) >= self.probability:
            return x, target
        if target.ndim == 1:
            target = nn.functional.one_hot(target, self.num_classes).to(x.dtype)
        method = self.methods[int(torch.randint(len(self.methods), ()))]
        mixed, target = method(x, target)
        return mixed.contiguous(memory_format=torch.channels_last), target


@contextmanager
def fixed_batch_norm_statistics(network: nn.Module) -> Iterator[None]:
    """Let batch norm normalise by the batch without updating its running statistics."""
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
