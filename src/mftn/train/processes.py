"""The processes of a run: whether there are those that its settings name."""

import os

import torch
from lightning_fabric.plugins.environments import LSFEnvironment, MPIEnvironment, SLURMEnvironment

from mftn.errors import ConfigError
from mftn.train.config import TrainConfig


def check_processes(config: TrainConfig) -> None:
    """Refuse what would wait for ever, or train several times into one folder.

    Raises:
        ConfigError: A launcher started another number of processes, machines cannot find each other, or GPUs are
            missing.
    """
    processes = str(config.devices * config.nodes)
    launched = os.environ.get("WORLD_SIZE", processes)  # torchrun's
    if launched != processes:
        raise ConfigError(
            f"{launched} processes were launched, but --devices {config.devices} × --nodes {config.nodes} make "
            f"{processes}; give the same numbers to both"
        )
    schedulers = (SLURMEnvironment, LSFEnvironment, MPIEnvironment)
    if config.nodes > 1 and "MASTER_ADDR" not in os.environ and not any(each.detect() for each in schedulers):
        raise ConfigError(
            f"--nodes is {config.nodes}, but nothing says where the others are; start each with torchrun or srun"
        )
    if config.accelerator == "cuda" and torch.cuda.device_count() < config.devices:
        raise ConfigError(
            f"--accelerator is cuda, but this machine has {torch.cuda.device_count()} usable GPUs for --devices "
            f"{config.devices}; use fewer, or --accelerator cpu"
        )
