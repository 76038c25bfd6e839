"""What a run needs before its first step: processes, batches, a network on its device."""

import logging
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn
from torch.utils.data import DataLoader

from mftn.data.dataset import FaceDataset
from mftn.data.sampler import BatchSampler
from mftn.models import Network
from mftn.train.config import TrainConfig
from mftn.train.network import build_model, load_first_weights
from mftn.train.precision import spare_strided_depthwise


def launch(config: TrainConfig) -> Fabric:
    """Start the processes, each of which returns from here."""
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    fabric = Fabric(
        accelerator=config.accelerator,
        devices=config.devices,
        num_nodes=config.nodes,
        precision="bf16-mixed" if config.precision == "bf16" else "32-true",
    )
    fabric.launch()
    return fabric


def make_loader(config: TrainConfig, train_set: FaceDataset, fabric: Fabric) -> tuple[DataLoader[Any], BatchSampler]:
    """The batches of this process, and the sampler that chooses them."""
    sampler = BatchSampler(
        train_set.labels.numpy(),
        config.batch_size,
        config.seed,
        config.data.balance,
        config.data.unaligned_share,
        fabric.global_rank,
        fabric.world_size,
    )
    loader = DataLoader(
        train_set,
        batch_sampler=sampler,
        num_workers=config.data.workers,
        collate_fn=_whole_batch,
        pin_memory=fabric.device.type == "cuda",
    )
    return loader, sampler


def make_model(config: TrainConfig, fabric: Fabric) -> Network:
    """The network with its first weights, on its device; the seed alone decides what is random in it."""
    torch.manual_seed(config.seed)
    model = build_model(config)
    if fabric.device.type == "cpu" and config.precision == "bf16":
        spare_strided_depthwise(model)
    if config.init_from:
        load_first_weights(model, config)
    if config.channels_last:
        model = model.to(memory_format=torch.channels_last)
    if fabric.world_size > 1 and fabric.device.type == "cuda":
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    model.set_grad_checkpointing(config.model.grad_checkpointing)
    return fabric.to_device(model)


def _whole_batch(batch: Any) -> Any:
    return batch  # FaceDataset hands out whole batches already
