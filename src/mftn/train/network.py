"""Builds the network of a run, loads its initial weights, and describes it for its checkpoint."""

from pathlib import Path
from typing import Any

import numpy as np
import timm

from mftn.data.manifest import read_description
from mftn.labels import LABEL_SETS
from mftn.models import Network
from mftn.models.checkpoint import load_checkpoint, load_timm
from mftn.spec import ModelSpec
from mftn.train.config import TrainConfig, to_mapping


def build_model(config: TrainConfig) -> Network:
    """Build the configured network."""
    model: Network = timm.create_model(config.model.architecture, **_arguments(config))
    return model


def load_initial_weights(model: Network, config: TrainConfig) -> None:
    """Load the weights from `init_from` into the network, or into the part in `init_part`."""
    if Path(config.init_from).is_file():
        load_checkpoint(model, config.init_from, config.init_part)
    else:
        load_timm(model, config.init_from)


def describe(config: TrainConfig, epoch: int) -> ModelSpec:
    """The description stored in a checkpoint: everything that prediction needs, and the weights' provenance."""
    settings = read_description(config.data.folder)
    centred = (np.asarray(settings["preparation"]["template"]) - 0.5) / config.data.view
    return ModelSpec(
        architecture=config.model.architecture,
        labels=LABEL_SETS[config.model.num_classes],
        size=(config.model.size, config.model.size),
        template=tuple((x, y) for x, y in np.round(centred + 0.5, 6).tolist()),
        channels=config.model.channels,
        mean=config.data.mean,
        std=config.data.std,
        arguments=_arguments(config) | {"drop_rate": 0.0, "drop_path_rate": 0.0},
        provenance={"epoch": epoch, "training": _without_folders(to_mapping(config))},
    )


def _without_folders(settings: Any) -> Any:
    """The settings with absolute paths cut to their last name: shared checkpoints should not expose local folders."""
    if isinstance(settings, dict):
        return {key: _without_folders(value) for key, value in settings.items()}
    if isinstance(settings, list | tuple):
        return [_without_folders(value) for value in settings]
    if isinstance(settings, str) and Path(settings).is_absolute():
        return Path(settings).name
    return settings


def _arguments(config: TrainConfig) -> dict[str, Any]:
    model = config.model
    depths = {"mstn_depths": model.mstn_depths} if model.mstn_depths else {}
    return depths | {
        "num_classes": model.num_classes,
        "in_chans": model.channels,
        "img_size": model.size,
        "drop_rate": model.drop_rate,
        "drop_path_rate": model.drop_path_rate,
    }
