"""Sets up a run before its first step: processes, batches, and a network on its device."""

import logging
from typing import Any

import torch
from lightning_fabric import Fabric
from timm.layers import convert_sync_batchnorm
from torch.utils.data import DataLoader

from mftn.data.dataset import FaceDataset
from mftn.data.sampler import BatchSampler
from mftn.data.transforms import Preprocess
from mftn.errors import ConfigError
from mftn.models import Network
from mftn.train.config import TrainConfig
from mftn.train.network import build_model, load_initial_weights
from mftn.train.precision import keep_strided_depthwise_in_float32


def launch(config: TrainConfig) -> Fabric:
    """Start the processes; each of them returns from this function."""
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    fabric = Fabric(
        accelerator=config.accelerator,
        devices=config.devices,
        num_nodes=config.nodes,
        precision="bf16-mixed" if config.precision == "bf16" else "32-true",
    )
    fabric.launch()
    return fabric


def make_splits(config: TrainConfig) -> tuple[FaceDataset, FaceDataset]:
    """The training and validation splits."""
    data, channels = config.data, config.model.channels
    train_set = FaceDataset(
        data.folder,
        "train",
        channels,
        data.protocol,
        data.unaligned if data.unaligned_share else "",
        skip_unreadable=True,
        without_copies_of="valid" if data.drop_copies else None,
    )
    return train_set, FaceDataset(data.folder, "valid", channels, data.protocol)


def make_preprocess(config: TrainConfig, size: int) -> Preprocess:
    """The conversion of crops to the network's input, with augmentation in training mode."""
    return Preprocess(size, config.data.view, config.data.mean, config.data.std, config.augmentation)


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
    """The network with its initial weights, on its device; random weights depend only on the seed."""
    torch.manual_seed(config.seed)
    model = build_model(config)
    if fabric.device.type == "cpu" and config.precision == "bf16":
        keep_strided_depthwise_in_float32(model)
    if config.init_from:
        load_initial_weights(model, config)
    if config.channels_last:
        model = model.to(memory_format=torch.channels_last)
    if fabric.world_size > 1 and fabric.device.type == "cuda":
        model = convert_sync_batchnorm(model)  # from timm: torch's would drop the activations inside timm's batch norms
    if config.model.grad_checkpointing:
        if not hasattr(model.backbone, "set_grad_checkpointing"):
            raise ConfigError(
                f"--model.grad-checkpointing: the backbone of {config.model.architecture} cannot recompute its "
                "activations; omit it"
            )
        model.set_grad_checkpointing()
    return fabric.to_device(model)


def _whole_batch(batch: Any) -> Any:
    return batch  # FaceDataset already returns whole batches
