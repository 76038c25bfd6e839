"""Optimizers and learning-rate schedules."""

import math
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from mftn.train.config import OptimizerConfig


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Two groups: matrices and kernels decay; norms, biases and other vectors do not."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> Optimizer:
    """The configured optimizer, inside SAM (not adaptive) where `sam_rho` is above 0."""
    from pytorch_optimizer import SAM

    groups = parameter_groups(model, config.weight_decay)
    kinds: dict[str, type[Optimizer]] = {
        "adamw": torch.optim.AdamW,
        "adam": torch.optim.Adam,
        "sgd": torch.optim.SGD,
    }
    options: dict[str, Any] = {"lr": config.lr}
    if config.name == "sgd":
        options |= {"momentum": 0.9, "nesterov": True}
    if config.sam_rho:
        return SAM(groups, kinds[config.name], rho=config.sam_rho, **options)
    return kinds[config.name](groups, **options)


def learning_rate(config: OptimizerConfig, epoch: float, epochs: int) -> float:
    """The rate at a moment of the run.

    Args:
        config: The schedule.
        epoch: Epochs done so far; 1.5 is the middle of the second.
        epochs: Epochs in all.
    """
    warmup = min(1.0, epoch / config.warmup_epochs) if config.warmup_epochs else 1.0
    if config.schedule == "exponential":
        return config.lr * warmup * config.decay ** math.floor(epoch)
    return config.lr * warmup * (1 + math.cos(math.pi * epoch / epochs)) / 2
