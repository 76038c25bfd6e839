"""The training loop, from a configuration to a run folder.

The best epoch is chosen by validation, on unaugmented images and with the weights that are saved. All random numbers
derive from the seed, the step and the process, so a run can be resumed from any step as if it had never stopped.
"""

import math
import time
from collections.abc import Callable
from dataclasses import astuple, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from timm.utils import ModelEmaV3
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.tensorboard import SummaryWriter

from mftn.data.dataset import Batch
from mftn.errors import DataError, MFTNError
from mftn.files import write_csv
from mftn.models import Network, save_model
from mftn.models.checkpoint import classifier_keys
from mftn.train.calibrate import calibrate
from mftn.train.card import write_card
from mftn.train.check import check_data, check_settings
from mftn.train.config import TrainConfig
from mftn.train.curves import draw_curves
from mftn.train.distill import Teachers
from mftn.train.network import describe
from mftn.train.optimizer import build_optimizer, learning_rate, set_learning_rate
from mftn.train.precision import choose_precision
from mftn.train.processes import join_signal, join_step
from mftn.train.run_folder import Progress, Row, check_run, load_state, open_run, save_state
from mftn.train.setup import launch, make_loader, make_model, make_preprocess, make_splits
from mftn.train.step import Step, StepResult
from mftn.train.stop import StopRequest, raise_stopped
from mftn.train.validate import validate

MAX_UNREADABLE = 0.01
"""Share of training images that may be unreadable before a run stops."""


@dataclass(frozen=True, slots=True)
class StepReport:
    """The argument of `on_step`.

    Attributes:
        done: Steps completed in the whole run.
        steps: Total number of steps.
        epoch: The current epoch, counted from 1.
        rate: The learning rate.
        result: Losses and accuracy of the step, over all processes.
    """

    done: int
    steps: int
    epoch: int
    rate: float
    result: StepResult


def train(
    config: TrainConfig,
    resume: bool = False,
    on_step: Callable[[StepReport], None] | None = None,
    on_epoch: Callable[[Row], None] | None = None,
) -> Path:
    """Train a network and return the file of its best weights, calibrated on the validation split.

    If there are several processes, the first calibrates and returns when the file is complete; the others return
    earlier. On the first Ctrl-C or SIGTERM, the run finishes the current step or validation, saves everything and
    raises KeyboardInterrupt or SystemExit(143).

    Args:
        config: The run.
        resume: Continue the run in `config.out`, which must have the same configuration.
        on_step: Called after each step, in the first process.
        on_epoch: Called with each row of the log, in the first process.

    Raises:
        ConfigError: Settings contradict each other or the data, or the run folder contains another run, or none to
            resume.
        DataError: The data set is missing or incomplete, or more than 1 % of its training images are unreadable.
        MFTNError: The loss or the logits of validation images are not finite.
    """
    config = replace(config, precision=choose_precision(config))
    check_settings(config)
    fabric = launch(config)  # waits for other machines; any signal may end that
    with StopRequest() as stop:
        run = _Run(fabric, config, resume, stop, on_step, on_epoch)
        for epoch in range(run.progress.epoch, config.epochs):
            run.train_epoch(epoch)
            run.end_epoch(epoch)
            run.stop_if_asked()
    return run.finish()


class _Run:
    """A run: its setup and its epochs."""

    def __init__(
        self,
        fabric: Fabric,
        config: TrainConfig,
        resume: bool,
        stop: StopRequest,
        on_step: Callable[[StepReport], None] | None,
        on_epoch: Callable[[Row], None] | None,
    ) -> None:
        self.fabric, self.config, self.out, self.stop = fabric, config, config.out, stop
        self.on_step = on_step if fabric.is_global_zero else None
        self.on_epoch = on_epoch if fabric.is_global_zero else None
        self.train_set, self.valid_set = make_splits(config)
        check_data(config, self.train_set, fabric.world_size)
        teachers = _teachers(fabric, config)
        check_run(config, resume)
        self.model = make_model(config, fabric)
        fabric.barrier()  # every process has checked the folder before one of them writes
        if fabric.is_global_zero and not resume:
            open_run(config)

        self.loader, self.sampler = make_loader(config, self.train_set, fabric)
        self.preprocess = {
            size: fabric.to_device(make_preprocess(config, size)) for size in {config.small_size, config.model.size}
        }
        self.ema = ModelEmaV3(self.model, decay=config.ema_decay, use_warmup=True) if config.ema_decay else None
        self.optimizer = build_optimizer(self.model, config.optimizer)
        self.progress = Progress()
        if resume:
            self.progress = load_state(self.out / "state.pt", self.model, self.ema, self.optimizer)
        self.progress.unreadable = sorted({*self.progress.unreadable, *self.train_set.unreadable})
        self._check_unreadable()
        self.step = Step(fabric, self.optimizer, config, teachers)
        self.network: nn.Module | None = None
        self.saved_at = time.perf_counter()

    def train_epoch(self, epoch: int) -> None:
        """Run the remaining steps of an epoch."""
        config, progress, steps = self.config, self.progress, len(self.sampler)
        self._wrap(epoch)
        self._set_training(epoch)
        self.sampler.enter(epoch, progress.step)
        clock = time.perf_counter()
        for step, batch in enumerate(self.loader, start=progress.step):
            rate = learning_rate(config.optimizer, epoch + step / steps, config.epochs)
            result, stopped = self._update_weights(batch, epoch, step, rate)
            now = time.perf_counter()
            for column, value in enumerate((*astuple(result), now - clock)):
                progress.sums[column] += value
            clock, progress.step = now, step + 1
            if self.on_step:
                self.on_step(StepReport(epoch * steps + step + 1, config.epochs * steps, epoch + 1, rate, result))
            if stopped:
                self._save()
                raise_stopped(stopped)
            if now - self.saved_at > 60 * config.save_minutes:
                self._save()

    def _update_weights(self, batch: Batch, epoch: int, step: int, rate: float) -> tuple[StepResult, int]:
        """Take one step; return its result and a stop signal (0 is none) over all processes."""
        config, steps = self.config, len(self.sampler)
        assert self.network is not None
        torch.manual_seed(_seed_of(config.seed, self.fabric.global_rank, epoch * steps + step))
        set_learning_rate(self.optimizer, rate)
        x = self.preprocess[self._size(epoch)](self.fabric.to_device(batch.crops))  # (B, C, H, W)
        if config.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        target = self.fabric.to_device(batch.targets if config.data.soft_targets else batch.labels)
        own = self.step(self.network, x, target)
        result, stopped, unreadable = join_step(self.fabric, own, self.stop.signal, batch.unreadable)
        if not math.isfinite(result.loss):
            raise MFTNError(
                f"{self.out}: the loss became {result.loss} in epoch {epoch + 1}, step {step + 1} of {steps}, at a "
                f"learning rate of {rate:.3g} ({', '.join(batch.paths[:3])} …); lower --optimizer.lr and start again"
            )
        if self.ema:
            self.ema.update(self.model, step=epoch * steps + step)
        if unreadable:
            self.progress.unreadable = sorted({*self.progress.unreadable, *unreadable})
            self._check_unreadable()
        return result, stopped

    def end_epoch(self, epoch: int) -> None:
        """Validate, write the log, and save the weights and the state for resuming."""
        config, progress, out = self.config, self.progress, self.out
        start = time.perf_counter()
        size = self._size(epoch)
        evaluated: Network = self.ema.module if self.ema else self.model
        loss, backbone, mstn, accuracy, seconds = (value / len(self.sampler) for value in progress.sums)
        row: Row = {
            "epoch": epoch + 1,
            "size": size,
            "lr": learning_rate(config.optimizer, epoch + 1 - 1 / len(self.sampler), config.epochs),
            "train_loss": loss,
            "train_loss_backbone": backbone,
            "train_loss_mstn": mstn,
            "train_accuracy": accuracy,
            **validate(self.fabric, evaluated, self.valid_set, self.preprocess[size], epoch + 1),
            "seconds": seconds * len(self.sampler) + time.perf_counter() - start,
        }
        rivals = [other["valid_accuracy"] for other in progress.rows if other["size"] == size]
        progress.rows.append(row)
        progress.epoch, progress.step, progress.sums = epoch + 1, 0, [0.0] * 5
        if self.fabric.is_global_zero:
            save_model(evaluated, out / "last.safetensors", describe(config, epoch + 1))
            if row["valid_accuracy"] > max(rivals, default=-1.0):
                save_model(evaluated, out / "best.safetensors", describe(config, epoch + 1))
            write_csv(out / "log.csv", progress.rows)
            with SummaryWriter(str(out / "tensorboard"), purge_step=epoch + 1) as writer:
                for name in row.keys() - {"epoch"}:
                    writer.add_scalar(name, row[name], epoch + 1)
            self._save()  # last: if one of the above fails, a resumed run repeats it
        if self.on_epoch:
            self.on_epoch(row)

    def stop_if_asked(self) -> None:
        """Stop on a signal that arrived after the epoch's last step."""
        if stopped := join_signal(self.fabric, self.stop.signal):
            raise_stopped(stopped)

    def finish(self) -> Path:
        """Calibrate the best weights, draw the curves and write the card; only the first process does so."""
        best = self.out / "best.safetensors"
        if self.fabric.is_global_zero:
            counts = self.train_set.labels.bincount(minlength=self.config.model.num_classes)
            adjustment, unreadable = self.config.logit_adjustment, self.progress.unreadable
            validation = calibrate(best, self.valid_set, adjustment, counts, unreadable, self.fabric.device)
            draw_curves(self.progress.rows, self.out / "curves.png")
            write_card(self.out, self.config, validation, self.progress.rows)
        return best

    def _size(self, epoch: int) -> int:
        return self.config.small_size if epoch < self.config.small_epochs else self.config.model.size

    def _wrap(self, epoch: int) -> None:
        """Wrap the network for its processes, and again when the trunk is unfrozen: DDP counts gradients only once."""
        frozen = epoch < self.config.optimizer.freeze_epochs
        if self.network is not None and epoch != self.config.optimizer.freeze_epochs:
            return
        heads = classifier_keys(self.model)
        for name, parameter in self.model.named_parameters():
            if name.startswith("backbone.") and name not in heads:
                parameter.requires_grad_(not frozen)
        self.optimizer.zero_grad()
        # Each input size is compiled separately: one program for all would be slower.
        module = torch.compile(self.model, dynamic=False) if self.config.compile else self.model
        self.network = self.fabric.setup_module(module, move_to_device=False)  # type: ignore[arg-type]

    def _set_training(self, epoch: int) -> None:
        self.model.train()
        self.preprocess[self._size(epoch)].train()
        if epoch < self.config.optimizer.freeze_epochs:
            for module in self.model.backbone.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()

    def _save(self) -> None:
        if self.fabric.is_global_zero:
            save_state(self.out / "state.pt", self.model, self.ema, self.optimizer, self.progress)
        self.saved_at = time.perf_counter()

    def _check_unreadable(self) -> None:
        bad = self.progress.unreadable
        total = len(self.train_set) + len(self.train_set.unreadable)
        if len(bad) > MAX_UNREADABLE * total:
            raise DataError(
                f"{self.config.data.folder}: {len(bad):,} of {total:,} training images cannot be read "
                f"({', '.join(bad[:3])} …); prepare the data set again"
            )


def _seed_of(seed: int, rank: int, step: int) -> int:
    """The random seed of one step on one process."""
    return int(np.random.SeedSequence((seed, rank, step)).generate_state(1, np.uint64)[0] >> 1)


def _teachers(fabric: Fabric, config: TrainConfig) -> Teachers | None:
    if not config.teachers:
        return None
    return Teachers(fabric, config, describe(config, 0))
