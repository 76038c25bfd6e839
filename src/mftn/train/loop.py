"""The training loop, from a configuration to a run folder.

Validation selects; its metrics come from unaugmented pictures and the weights that are kept.
"""

import json
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from lightning_fabric import Fabric
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.utils.data import DataLoader, WeightedRandomSampler

from mftn.data.dataset import FaceDataset
from mftn.data.manifest import read_description
from mftn.data.transforms import Preprocess
from mftn.errors import ConfigError, MFTNError
from mftn.evaluate import metrics
from mftn.evaluate.calibration import fit_temperature
from mftn.labels import LABEL_SETS
from mftn.models import Baseline, JointLoss, load_model, save_model
from mftn.models.checkpoint import load_checkpoint
from mftn.train.config import TrainConfig, to_mapping
from mftn.train.optimizer import build_optimizer, learning_rate
from mftn.train.run_folder import Row, load_state, open_run, save_state, write_log, write_text


def train(
    config: TrainConfig,
    resume: bool = False,
    on_step: Callable[[int, int, float], None] | None = None,
    on_epoch: Callable[[Row], None] | None = None,
) -> Path:
    """Train a network and return the file of its best weights, calibrated on the validation split.

    Args:
        config: The run.
        resume: Go on from the newest epoch in `config.out`, which must be a run of the same configuration.
        on_step: Called with the steps done, the steps in all, and the loss.
        on_epoch: Called with each row of the log.

    Raises:
        ConfigError: Settings contradict each other or the data, or the run folder holds another run, or none to
            resume.
        DataError: The data set is missing or incomplete.
        MFTNError: The loss is not a number.
    """
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    fabric = Fabric(
        accelerator=config.accelerator,
        devices=config.devices,
        precision="bf16-mixed" if config.precision == "bf16" else "32-true",
    )
    fabric.launch()
    fabric.seed_everything(config.seed, verbose=False)
    data, out = config.data, config.out
    train_set = FaceDataset(
        data.folder, "train", config.model.channels, data.protocol, data.unaligned, data.unaligned_share
    )
    valid_set = FaceDataset(data.folder, "valid", config.model.channels, data.protocol)
    _check(config, train_set)
    if fabric.is_global_zero:
        open_run(config, resume)
    fabric.barrier()
    order = torch.Generator().manual_seed(config.seed)
    loader = fabric.setup_dataloaders(
        DataLoader(
            train_set,
            config.batch_size // fabric.world_size,
            shuffle=not data.balance,
            sampler=_balanced(train_set, data.balance, order) if data.balance else None,
            drop_last=True,
            num_workers=data.workers,
            collate_fn=_whole_batch,
            generator=order,
        )
    )
    preprocess = {
        size: fabric.to_device(Preprocess(size, data.view, data.mean, data.std, config.augmentation))
        for size in {config.small_size, config.model.size}
    }
    model = build_model(config)
    if config.init_from:
        load_checkpoint(model, config.init_from)
    model = model.to(memory_format=torch.channels_last)  # twice as fast as NCHW on CPUs
    ema = ModelEmaV3(model, decay=config.ema_decay, use_warmup=True) if config.ema_decay else None
    network, optimizer = fabric.setup(model, build_optimizer(model, config.optimizer))
    step_of = _Step(fabric, network, optimizer, config)
    rows = load_state(out / "state.pt", model, ema, optimizer, loader) if resume else []

    steps = len(loader)
    for epoch in range(len(rows), config.epochs):
        if hasattr(loader.sampler, "set_epoch"):
            loader.sampler.set_epoch(epoch)
        size = config.small_size if epoch < config.small_epochs else config.model.size
        transform = preprocess[size].train()
        network.train()
        start, total, correct = time.perf_counter(), 0.0, 0
        for step, (crops, distributions, labels) in enumerate(loader):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(config.optimizer, epoch + step / steps, config.epochs)
            x = transform(crops).contiguous(memory_format=torch.channels_last)  # (B, C, H, W)
            loss, fused = step_of(x, distributions if data.soft_targets else labels)
            if not math.isfinite(loss):
                raise MFTNError(
                    f"{out}: the loss became {loss} in epoch {epoch + 1}, batch {step + 1}; lower optimizer.lr"
                )
            if ema:
                ema.update(model, step=epoch * steps + step)
            total += loss
            correct += int((fused.argmax(dim=1) == labels).sum())
            if on_step:
                on_step(epoch * steps + step + 1, config.epochs * steps, loss)

        evaluated = ema.module if ema else model
        row = {
            "epoch": epoch + 1,
            "size": size,
            "lr": optimizer.param_groups[0]["lr"],
            "train_loss": total / steps,
            "train_accuracy": correct / (steps * loader.batch_size),
            **_validate(evaluated, valid_set, transform),
            "seconds": time.perf_counter() - start,
        }
        rivals = [other["valid_accuracy"] for other in rows if other["size"] == size]
        rows.append(row)
        if fabric.is_global_zero:
            save_model(evaluated, out / "last.safetensors", describe(config, epoch + 1))
            if row["valid_accuracy"] > max(rivals, default=-1.0):
                save_model(evaluated, out / "best.safetensors", describe(config, epoch + 1))
            save_state(out / "state.pt", model, ema, optimizer, loader, rows)
            write_log(out / "log.csv", rows)
        if on_epoch:
            on_epoch(row)
    if fabric.is_global_zero:
        calibrate(out / "best.safetensors", valid_set)
    fabric.barrier()
    return out / "best.safetensors"


def _balanced(dataset: FaceDataset, power: float, order: torch.Generator) -> WeightedRandomSampler:
    """Draws a picture with a weight of its class's count^(−power), as many an epoch as there are."""
    counts = torch.bincount(dataset.labels).double()  # (K,)
    weights = (counts**-power)[dataset.labels]  # (n,)
    return WeightedRandomSampler(weights.tolist(), len(dataset), generator=order)


def _check(config: TrainConfig, train_set: FaceDataset) -> None:
    """Refuse now what would otherwise fail, or mislead, after an epoch."""
    classes = train_set.targets.shape[1]
    if config.model.num_classes != classes:
        raise ConfigError(f"model.num_classes is {config.model.num_classes}, but {config.data.folder} has {classes}")
    if config.init_from and not Path(config.init_from).is_file():
        raise ConfigError(f"init_from: {config.init_from}: no such file")
    if config.small_epochs >= config.epochs:
        raise ConfigError(
            f"small_epochs is {config.small_epochs} of {config.epochs} epochs; the last must see pictures of model.size"
        )
    if len(train_set) < config.batch_size:
        raise ConfigError(f"batch_size is {config.batch_size}, but {config.data.folder} has {len(train_set)} pictures")


class _Step:
    """One optimisation step; SAM's takes a second pass at perturbed weights, whose loss is not reported."""

    def __init__(self, fabric: Fabric, network: Any, optimizer: Any, config: TrainConfig) -> None:
        self.fabric, self.network, self.optimizer = fabric, network, optimizer
        self.settings = config.optimizer
        self.loss_of = JointLoss(config.lambda_mstn, config.label_smoothing)

    def __call__(self, x: Tensor, target: Tensor) -> tuple[float, Tensor]:
        """The loss and the fused logits (B, K) before the weights moved."""
        loss, fused = self._backward(x, target)
        if self.settings.sam_rho:
            self.optimizer.step(lambda: self._backward(x, target)[0])
        else:
            self.optimizer.step()
        return loss.item(), fused

    def _backward(self, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        self.optimizer.zero_grad()
        logits = self.network(x)
        loss = self.loss_of(logits, target)
        self.fabric.backward(loss)
        if self.settings.clip_norm:
            self.fabric.clip_gradients(self.network, self.optimizer, max_norm=self.settings.clip_norm)
        return loss.detach(), logits.fused.detach()


def _validate(model: nn.Module, dataset: FaceDataset, preprocess: Preprocess) -> Row:
    logits = predict_logits(model, dataset, preprocess)
    counts = metrics.confusion_counts(dataset.labels.numpy(), logits.argmax(dim=1).numpy(), logits.shape[1])
    return {"valid_accuracy": metrics.accuracy(counts), "valid_macro_recall": metrics.macro_recall(counts)}


def build_model(config: TrainConfig) -> Baseline:
    """A fresh network as configured."""
    model: Baseline = timm.create_model(config.model.architecture, **_arguments(config))
    return model


def describe(config: TrainConfig, epoch: int) -> dict[str, Any]:
    """What goes into a weights file beside the weights: all that prediction needs, and where they come from."""
    settings = read_description(config.data.folder)
    centred = (np.asarray(settings["preparation"]["template"]) - 0.5) / config.data.view
    return {
        "architecture": config.model.architecture,
        "arguments": _arguments(config) | {"drop_rate": 0.0, "drop_path_rate": 0.0},
        "labels": LABEL_SETS[config.model.num_classes],
        "size": [config.model.size, config.model.size],
        "channels": config.model.channels,
        "mean": config.data.mean,
        "std": config.data.std,
        "template": np.round(centred + 0.5, 6).tolist(),
        "temperature": 1.0,
        "epoch": epoch,
        "training": to_mapping(config),
    }


def _arguments(config: TrainConfig) -> dict[str, Any]:
    model = config.model
    return {
        "num_classes": model.num_classes,
        "in_chans": model.channels,
        "img_size": model.size,
        "drop_rate": model.drop_rate,
        "drop_path_rate": model.drop_path_rate,
    }


@torch.no_grad()
def predict_logits(model: nn.Module, dataset: FaceDataset, preprocess: Preprocess, batch_size: int = 256) -> Tensor:
    """Fused logits (n, K) of every picture once, in order, in float32 on the CPU."""
    model.eval()
    preprocess.eval()
    device = next(model.parameters()).device
    batches = []
    for crops in dataset.batches(batch_size):
        x = preprocess(crops.to(device)).contiguous(memory_format=torch.channels_last)
        batches.append(model(x).fused.float().cpu())
    return torch.cat(batches)


def calibrate(path: Path, valid_set: FaceDataset) -> dict[str, Any]:
    """Fit the temperature of a weights file on the validation split; store it there with the figures.

    Returns:
        The figures, also written to metrics.json beside the file.
    """
    model, config = load_model(path)
    preprocess = Preprocess(config["size"][0], config["training"]["data"]["view"], config["mean"], config["std"])
    logits = predict_logits(model, valid_set, preprocess)
    config["temperature"] = fit_temperature(logits, valid_set.labels)
    probabilities = (logits / config["temperature"]).softmax(dim=1).numpy()
    figures: dict[str, Any] = {"images": len(valid_set), "temperature": config["temperature"]}
    for protocol, labels in valid_set.protocols().items():
        kept = labels >= 0
        counts = metrics.confusion_counts(labels[kept], probabilities[kept].argmax(axis=1), logits.shape[1])
        figures[protocol] = {
            "images": int(kept.sum()),
            "accuracy": metrics.accuracy(counts),
            "interval": metrics.wilson_interval(int(np.trace(counts)), int(kept.sum())),
            "macro_recall": metrics.macro_recall(counts),
            "recall": metrics.recall_per_class(counts).tolist(),
            "calibration_error": metrics.expected_calibration_error(probabilities[kept], labels[kept]),
            "confusion": counts.tolist(),
        }
    config["validation"] = figures
    save_model(model, path, config)
    write_text(path.with_name("metrics.json"), json.dumps(figures, indent=1))
    return figures


def _whole_batch(batch: Any) -> Any:
    return batch  # FaceDataset hands out whole batches already
