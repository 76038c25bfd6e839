"""Optimizers and learning-rate schedules."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from timm.optim import param_groups_layer_decay, param_groups_weight_decay
from torch import nn
from torch.optim import Optimizer

from mftn.train.config import OptimizerConfig


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> Optimizer:
    """Build the configured optimizer, wrapped in (non-adaptive) SAM if `sam_rho` is above 0.

    Weight decay applies to matrices and kernels, but not to norms, biases and the parameters in
    `model.no_weight_decay`. With a layer decay, each group also has "lr_scale", its factor of the learning rate.
    """
    from pytorch_optimizer import SAM

    kept = model.no_weight_decay() if hasattr(model, "no_weight_decay") else ()  # type: ignore[operator]
    groups_of: Callable[..., list[dict[str, Any]]] = param_groups_weight_decay
    if config.layer_decay < 1:
        groups_of = partial(param_groups_layer_decay, layer_decay=config.layer_decay)
    groups = groups_of(model, weight_decay=config.weight_decay, no_weight_decay_list=kept)
    kinds: dict[str, type[Optimizer]] = {
        "adamw": torch.optim.AdamW,
        "adam": torch.optim.Adam,
        "sgd": torch.optim.SGD,
    }
    options: dict[str, Any] = {"lr": config.lr}
    if config.name == "sgd":  # not fused: that fails on the first step after some weights were frozen
        options |= {"momentum": 0.9, "nesterov": True}
    else:
        options["fused"] = True
    if config.sam_rho:
        return SAM(groups, kinds[config.name], rho=config.sam_rho, **options)
    return kinds[config.name](groups, **options)


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """Set every group's learning rate, scaled by its "lr_scale"."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("lr_scale", 1.0)


def learning_rate(config: OptimizerConfig, epoch: float, epochs: int) -> float:
    """The learning rate at one point of the run.

    Args:
        config: The schedule.
        epoch: Epochs completed so far; 1.5 is the middle of the second.
        epochs: Total number of epochs.
    """
    warmup = min(1.0, epoch / config.warmup_epochs) if config.warmup_epochs else 1.0
    if config.schedule == "exponential":
        return config.lr * warmup * config.decay ** math.floor(epoch)
    return config.lr * warmup * (1 + math.cos(math.pi * epoch / epochs)) / 2
