"""Settings that contradict each other, the data or the machine are refused before anything is written."""

from pathlib import Path

import timm

from mftn.data.dataset import FaceDataset
from mftn.errors import ConfigError
from mftn.train.config import TrainConfig


def check_settings(config: TrainConfig) -> None:
    """Refuse now what would otherwise fail, or mislead, after an epoch."""
    if config.data.unaligned_share and not config.data.unaligned:
        raise ConfigError(
            f"data.unaligned_share is {config.data.unaligned_share}, but data.unaligned names no data set; "
            "make it with `mftn prepare … --detector none`"
        )
    if config.init_from and not Path(config.init_from).is_file() and not _is_timm(config.init_from):
        raise ConfigError(f"init_from: {config.init_from}: no such file, and no timm model with weights")
    if missing := [path for path in config.teachers if not Path(path).is_file()]:
        raise ConfigError(f"teachers: {missing[0]}: no such file")
    if config.small_epochs >= config.epochs:
        raise ConfigError(
            f"small_epochs is {config.small_epochs} of {config.epochs} epochs; the last must see pictures of model.size"
        )
    for name, values in (("mean", config.data.mean), ("std", config.data.std)):
        if len(values) not in (1, config.model.channels):
            raise ConfigError(f"data.{name} has {len(values)} numbers for {config.model.channels} channels")


def check_data(config: TrainConfig, train_set: FaceDataset, processes: int) -> None:
    """Refuse settings that the data or the processes contradict."""
    classes = train_set.targets.shape[1]
    if config.model.num_classes != classes:
        raise ConfigError(f"model.num_classes is {config.model.num_classes}, but {config.data.folder} has {classes}")
    if len(train_set) < config.batch_size:
        raise ConfigError(f"batch_size is {config.batch_size}, but {config.data.folder} has {len(train_set)} pictures")
    if config.batch_size % (processes * config.accumulate):
        raise ConfigError(
            f"batch_size is {config.batch_size}, which {processes} processes × accumulate {config.accumulate} "
            "do not divide"
        )


def _is_timm(name: str) -> bool:
    return name.startswith(("hf-hub:", "local-dir:")) or timm.is_model_pretrained(name)
