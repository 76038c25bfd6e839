"""The training loop: one page, from a configuration to a run folder.

Run folder: config.json, log.csv (one row an epoch), last.safetensors and best.safetensors (weights as they are
evaluated, with all that prediction needs), state.pt (what resuming needs). Every file is written whole or not
at all. Validation selects; metrics come from unaugmented pictures and the evaluated weights.
"""

import csv
import json
import logging
import os
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
from torch.utils.data import DataLoader

from mftn.data.dataset import FaceDataset
from mftn.data.ferplus import hard_labels
from mftn.data.transforms import Preprocess
from mftn.errors import ConfigError, MFTNError
from mftn.evaluate import metrics
from mftn.evaluate.calibration import fit_temperature
from mftn.labels import LABEL_SETS
from mftn.models import Baseline, JointLoss, load_model, save_model
from mftn.train.config import TrainConfig, to_mapping
from mftn.train.optimizer import build_optimizer, learning_rate

Row = dict[str, float]
"""One row of log.csv."""


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
        ConfigError: The run folder holds another run, or none to resume.
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
    data = config.data
    train_set = FaceDataset(data.folder, "train", config.model.channels, data.protocol)
    valid_set = FaceDataset(data.folder, "valid", config.model.channels, data.protocol)
    out = _open_run(config, resume)
    loader = DataLoader(
        train_set, config.batch_size // fabric.world_size, shuffle=True, drop_last=True, num_workers=data.workers,
        collate_fn=_whole_batch, generator=torch.Generator().manual_seed(config.seed),
    )  # fmt: skip
    loader = fabric.setup_dataloaders(loader)
    preprocess = {
        size: fabric.to_device(Preprocess(size, data.view, data.mean, data.std, config.augmentation))
        for size in {config.small_size, config.model.size}
    }

    model = build_model(config).to(memory_format=torch.channels_last)  # twice as fast as NCHW on CPUs
    ema = ModelEmaV3(model, decay=config.ema_decay, use_warmup=True) if config.ema_decay else None
    network, optimizer = fabric.setup(model, build_optimizer(model, config.optimizer))
    loss_of = JointLoss(config.lambda_mstn, config.label_smoothing)
    rows: list[Row] = []
    if resume:
        rows = _load_state(out / "state.pt", model, ema, optimizer, loader)

    steps = len(loader)
    for epoch in range(len(rows), config.epochs):
        loader.sampler.set_epoch(epoch) if hasattr(loader.sampler, "set_epoch") else None
        size = config.small_size if epoch < config.small_epochs else config.model.size
        transform = preprocess[size].train()
        network.train()
        start, total, correct = time.perf_counter(), 0.0, 0
        for step, (crops, distributions, labels) in enumerate(loader):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(config.optimizer, epoch + step / steps, config.epochs)
            x = transform(crops).contiguous(memory_format=torch.channels_last)  # (B, C, H, W)
            target = distributions if data.soft_targets else labels

            def backward(x: Tensor = x, target: Tensor = target) -> tuple[Tensor, Tensor]:
                optimizer.zero_grad()
                logits = network(x)
                loss = loss_of(logits, target)
                fabric.backward(loss)
                if config.optimizer.clip_norm:
                    fabric.clip_gradients(network, optimizer, max_norm=config.optimizer.clip_norm)
                return loss, logits.fused

            loss, fused = backward()
            if config.optimizer.sam_rho:
                optimizer.step(lambda backward=backward: backward()[0])
            else:
                optimizer.step()
            if ema:
                ema.update(model, step=epoch * steps + step)
            if not torch.isfinite(loss):
                raise MFTNError(
                    f"{out}: the loss became {loss.item()} in epoch {epoch + 1}, batch {step + 1}; lower optimizer.lr"
                )
            total += loss.item()
            correct += int((fused.argmax(dim=1) == labels).sum())
            if on_step:
                on_step(epoch * steps + step + 1, config.epochs * steps, loss.item())

        evaluated = ema.module if ema else model
        logits = predict_logits(evaluated, valid_set, transform)
        counts = metrics.confusion_counts(valid_set.labels.numpy(), logits.argmax(1).numpy(), logits.shape[1])
        best = max((row["valid_accuracy"] for row in rows if row["size"] == size), default=-1.0)
        rows.append(
            {
                "epoch": epoch + 1,
                "size": size,
                "lr": optimizer.param_groups[0]["lr"],
                "train_loss": total / steps,
                "train_accuracy": correct / (steps * loader.batch_size),
                "valid_accuracy": metrics.accuracy(counts),
                "valid_macro_recall": metrics.macro_recall(counts),
                "seconds": time.perf_counter() - start,
            }
        )
        if fabric.is_global_zero:
            save_model(evaluated, out / "last.safetensors", describe(config, rows[-1]))
            if rows[-1]["valid_accuracy"] > best:
                save_model(evaluated, out / "best.safetensors", describe(config, rows[-1]))
            _save_state(out / "state.pt", model, ema, optimizer, loader, rows)
            _write_log(out / "log.csv", rows)
        if on_epoch:
            on_epoch(rows[-1])
    if fabric.is_global_zero:
        calibrate(out / "best.safetensors", valid_set)
    fabric.barrier()
    return out / "best.safetensors"


def build_model(config: TrainConfig) -> Baseline:
    """A fresh network as configured."""
    model: Baseline = timm.create_model(config.model.architecture, **_arguments(config))
    return model


def describe(config: TrainConfig, row: Row | None = None) -> dict[str, Any]:
    """What goes into a weights file beside the weights: all that prediction needs, and where they come from."""
    settings = json.loads((config.data.folder / "dataset.json").read_text(encoding="utf-8"))
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
        "epoch": row["epoch"] if row else 0,
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
    for crops in dataset.crops.split(batch_size):
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
    for protocol in ("argmax", "majority"):
        labels = hard_labels(valid_set.votes, protocol)
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
    _write_atomically(path.with_name("metrics.json"), json.dumps(figures, indent=1))
    return figures


def _whole_batch(batch: Any) -> Any:
    return batch  # FaceDataset hands out whole batches already


def _open_run(config: TrainConfig, resume: bool) -> Path:
    """The run folder, with the configuration written or compared."""
    file = config.out / "config.json"
    text = json.dumps(to_mapping(config), indent=1)
    if resume:
        if not (config.out / "state.pt").is_file():
            raise ConfigError(f"{config.out}: no run to resume; leave out --resume to start one")
        if file.read_text(encoding="utf-8") != text:
            raise ConfigError(
                f"{file}: the run to resume was started with other settings; give the same, or another --out"
            )
        return config.out
    if file.exists():
        raise ConfigError(f"{config.out}: holds a run already; add --resume to go on with it, or give another --out")
    config.out.mkdir(parents=True, exist_ok=True)
    _write_atomically(file, text)
    return config.out


def _save_state(
    path: Path, model: Baseline, ema: ModelEmaV3 | None, optimizer: Any, loader: Any, rows: list[Row]
) -> None:
    state = {
        "model": model.state_dict(),
        "ema": ema.module.state_dict() if ema else None,
        "optimizer": optimizer.state_dict(),
        "rng": torch.get_rng_state(),
        "order": loader.generator.get_state(),
        "rows": rows,
    }
    temporary = path.with_suffix(".partial")
    with temporary.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _load_state(path: Path, model: Baseline, ema: ModelEmaV3 | None, optimizer: Any, loader: Any) -> list[Row]:
    state = torch.load(path, map_location="cpu", weights_only=True)
    model.load_state_dict(state["model"])
    if ema:
        ema.module.load_state_dict(state["ema"])
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["rng"])
    loader.generator.set_state(state["order"])
    rows: list[Row] = state["rows"]
    return rows


def _write_log(path: Path, rows: list[Row]) -> None:
    temporary = path.with_suffix(".partial")
    with temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    temporary.replace(path)


def _write_atomically(path: Path, text: str) -> None:
    temporary = path.with_suffix(".partial")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
