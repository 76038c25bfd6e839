"""The processes of a run: checks that they match the settings, and communication between them."""

import os
from dataclasses import astuple
from itertools import chain
from signal import SIGINT

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LSFEnvironment, MPIEnvironment, SLURMEnvironment
from torch import distributed

from mftn.errors import ConfigError
from mftn.train.config import TrainConfig
from mftn.train.step import StepResult


def check_processes(config: TrainConfig) -> None:
    """Reject setups that would wait forever, or train several times into one folder.

    Raises:
        ConfigError: A launcher started a different number of processes, machines cannot find each other, or GPUs are
            missing.
    """
    processes = str(config.devices * config.nodes)
    launched = os.environ.get("WORLD_SIZE", processes)  # torchrun's
    if launched != processes:
        raise ConfigError(
            f"{launched} processes were launched, but --devices {config.devices} × --nodes {config.nodes} make "
            f"{processes}; use the same number in both places"
        )
    schedulers = (SLURMEnvironment, LSFEnvironment, MPIEnvironment)
    if config.nodes > 1 and "MASTER_ADDR" not in os.environ and not any(each.detect() for each in schedulers):
        raise ConfigError(
            f"--nodes is {config.nodes}, but the machines cannot find each other; start each with torchrun or srun"
        )
    gpus = torch.cuda.device_count()
    if gpus < config.devices and (config.accelerator == "cuda" or (config.accelerator == "auto" and gpus)):
        raise ConfigError(
            f"--accelerator is {config.accelerator}, but this machine has {gpus} usable GPUs for --devices "
            f"{config.devices}; use fewer, or --accelerator cpu"
        )


def join_step(fabric: Fabric, own: StepResult, signal: int, names: list[str]) -> tuple[StepResult, int, list[str]]:
    """Share a step's outcome between all processes, so that all decide alike and none waits for another.

    Args:
        fabric: The processes.
        own: The step's result on this process.
        signal: The signal that this process received; 0 is none.
        names: Images that this process could not read.

    Returns:
        The result, a signal and the names over all processes.
    """
    if fabric.world_size == 1:
        return own, signal, names
    here = torch.tensor([*astuple(own), bool(signal), len(names)], device=fabric.device)
    *values, signals, unreadable = fabric.all_reduce(here, reduce_op="sum").tolist()  # type: ignore[union-attr]
    result = StepResult(*(value / fabric.world_size for value in values))
    return result, signal or (SIGINT if signals else 0), join_names(names) if unreadable else []


def join_signal(fabric: Fabric, signal: int) -> int:
    """A signal that any process received; 0 is none."""
    signals = fabric.all_reduce(torch.tensor(int(bool(signal)), device=fabric.device), reduce_op="sum")
    return signal or (SIGINT if signals else 0)


def join_names(names: list[str]) -> list[str]:
    """The names from all processes."""
    lists: list[list[str]] = [[]] * distributed.get_world_size()
    distributed.all_gather_object(lists, names)
    return list(chain.from_iterable(lists))
