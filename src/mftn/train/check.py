"""Rejects settings that contradict each other, the data or the machine, before anything is written."""

import math
from pathlib import Path
from typing import Any

import timm
import torch

from mftn.data.dataset import FaceDataset
from mftn.errors import ConfigError, did_you_mean
from mftn.limits import MAX_SEED, check_range
from mftn.train.config import TrainConfig
from mftn.train.network import build_model
from mftn.train.processes import check_processes

_SHARE, _COUNT, _ANY = (0.0, 1.0), (1.0, math.inf), (0.0, math.inf)
_RANGES = {
    "mixup": _ANY, "cutmix": _ANY, "mix_probability": _SHARE, "distillation": _SHARE, "epochs": _COUNT,
    "batch_size": _COUNT, "accumulate": _COUNT, "small_epochs": _ANY, "small_size": _COUNT, "lambda_mstn": _SHARE,
    "label_smoothing": _SHARE, "ema_decay": (0, 0.999999), "logit_adjustment": _ANY, "seed": (0, MAX_SEED),
    "save_minutes": _ANY, "devices": _COUNT, "nodes": _COUNT,
    "data.workers": _ANY, "data.balance": _ANY, "data.unaligned_share": _SHARE,
    "model.size": _COUNT, "model.mstn_depths": _ANY, "model.drop_rate": (0, 0.99), "model.drop_path_rate": (0, 0.99),
    "optimizer.sam_rho": _ANY, "optimizer.lr": _ANY, "optimizer.weight_decay": _ANY, "optimizer.warmup_epochs": _ANY,
    "optimizer.clip_norm": _ANY, "optimizer.freeze_epochs": _ANY,
    "augmentation.flip": _SHARE, "augmentation.rotation": (0, 180), "augmentation.scale": _ANY,
    "augmentation.aspect": _ANY, "augmentation.translation": _SHARE, "augmentation.brightness": _ANY,
    "augmentation.contrast": _ANY, "augmentation.noise": _ANY, "augmentation.blur": _SHARE,
    "augmentation.defocus": _SHARE, "augmentation.defocus_sigma": (0.0001, 1.0), "augmentation.low_resolution": _SHARE,
    "augmentation.low_resolution_side": _COUNT, "augmentation.jpeg": _SHARE, "augmentation.jpeg_quality": (1, 100),
    "augmentation.erasing": _SHARE, "augmentation.erasing_area": _SHARE, "data.mean": _SHARE,
}  # fmt: skip
"""Lowest and highest allowed value of every number."""
_ABOVE_ZERO = {"data.view": 1.0, "data.std": math.inf, "optimizer.decay": 1.0, "optimizer.layer_decay": 1.0}
"""Highest allowed value of numbers that must be above 0."""


def check_settings(config: TrainConfig) -> None:
    """Reject now what would otherwise fail, or give misleading results, after an epoch."""
    _check_numbers(config)
    check_processes(config)
    if config.data.unaligned_share and not config.data.unaligned:
        raise ConfigError(
            f"--data.unaligned-share is {config.data.unaligned_share}, but --data.unaligned is not set; "
            "make it with `mftn prepare … --detector none`"
        )
    if config.init_from and not Path(config.init_from).is_file() and not _is_timm(config.init_from):
        raise ConfigError(f"--init-from {config.init_from}: neither a file nor a timm model with weights")
    if missing := [path for path in config.teachers if not Path(path).is_file()]:
        raise ConfigError(f"--teachers {missing[0]}: no such file")
    known = timm.list_models(["mftn_*", "baseline_*"])
    if config.model.architecture not in known:
        hint = did_you_mean(config.model.architecture, known)
        raise ConfigError(f"--model.architecture {config.model.architecture}: neither MFTN nor a baseline; {hint}")
    if config.small_epochs >= config.epochs:
        raise ConfigError(
            f"--small-epochs is {config.small_epochs} of {config.epochs} epochs; at least the last epoch must use "
            "--model.size"
        )
    if config.model.channels not in (1, 3):
        raise ConfigError(f"--model.channels is {config.model.channels}; it must be 1 (grey) or 3 (colour)")
    if config.model.mstn_depths and (len(config.model.mstn_depths) != 3 or "baseline" in config.model.architecture):
        raise ConfigError("--model.mstn-depths: give the blocks for each of MFTN's three maps; a baseline has none")
    for name, values in (("mean", config.data.mean), ("std", config.data.std)):
        if len(values) not in (1, config.model.channels):
            raise ConfigError(f"--data.{name} has {len(values)} numbers for {config.model.channels} channels")
    for name in ("erasing_area", "defocus_sigma", "low_resolution_side", "jpeg_quality"):
        low, high = getattr(config.augmentation, name)
        if low > high:
            option = _option(f"augmentation.{name}")
            raise ConfigError(f"{option} is {low:g} to {high:g}; give the smaller number first")


def _check_numbers(config: TrainConfig) -> None:
    for name, (lowest, highest) in _RANGES.items():
        for value in _values(config, name):
            check_range(_option(name), value, lowest, highest)
    for name, highest in _ABOVE_ZERO.items():
        for value in _values(config, name):
            check_range(_option(name), value, 0, highest, above=True)


def _values(config: TrainConfig, name: str) -> tuple[float, ...]:
    value: Any = config
    for part in name.split("."):
        value = getattr(value, part)
    return value if isinstance(value, tuple) else (value,)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def check_data(config: TrainConfig, train_set: FaceDataset, processes: int) -> None:
    """Reject settings that do not fit the data or the number of processes."""
    classes, folder = train_set.targets.shape[1], config.data.folder
    if config.model.num_classes != classes:
        raise ConfigError(f"--model.num-classes is {config.model.num_classes}, but {folder} has {classes}")
    if len(train_set) < config.batch_size:
        raise ConfigError(f"--batch-size is {config.batch_size}, but {folder} has {len(train_set)} training images")
    if config.batch_size % (processes * config.accumulate):
        raise ConfigError(
            f"--batch-size is {config.batch_size}, which is not divisible by {processes} processes × --accumulate "
            f"{config.accumulate}"
        )
    check_network(config, config.batch_size // (processes * config.accumulate))


def check_network(config: TrainConfig, images: int) -> None:
    """Reject a network that cannot learn from this many images at once, at the sizes used in training.

    The forward pass runs on the meta device, which only computes shapes.
    """
    with torch.device("meta"):
        model = build_model(config).train()
        for size in {config.model.size} | ({config.small_size} if config.small_epochs else set()):
            option = "--model.size" if size == config.model.size else "--small-size"
            try:
                model(torch.empty(images, config.model.channels, size, size))
            except ValueError as error:  # batch norm cannot compute the variance of one value
                raise ConfigError(
                    f"--batch-size is {config.batch_size}, which is {images} image at a time; "
                    f"{config.model.architecture} needs at least 2 for its batch norm: increase it, "
                    "or use fewer processes or a smaller --accumulate"
                ) from error
            except RuntimeError as error:
                raise ConfigError(
                    f"{option} is {size}, too small for {config.model.architecture}: its maps would be empty; "
                    "use larger images"
                ) from error


def _is_timm(name: str) -> bool:
    return name.startswith(("hf-hub:", "local-dir:")) or timm.is_model_pretrained(name)
