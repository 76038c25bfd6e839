"""Distillation: a student learns what trained networks answer beside what raters said.

Source: Hinton et al., Distilling the knowledge in a neural network, 2015. The teachers see each augmented picture as
the student does, so that their answers fit it.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor

from mftn.errors import ConfigError
from mftn.models import load_model
from mftn.train.config import TrainConfig


class Teachers:
    """Trained networks that answer together.

    Args:
        fabric: Where they run.
        config: The student's run; `teachers` names their weights files.
        template: Where the student expects the landmarks, 5×2 fractions of its input's side.
        labels: The student's classes.

    Raises:
        ConfigError: A teacher knows other classes, or sees faces framed otherwise or in other colours.
        ModelError: A teacher's file cannot be read.
    """

    def __init__(self, fabric: Fabric, config: TrainConfig, template: object, labels: Sequence[str]) -> None:
        self.fabric = fabric
        self.mean, self.std = (
            fabric.to_device(torch.tensor(values).view(-1, 1, 1)) for values in (config.data.mean, config.data.std)
        )
        self.networks = []
        for path in config.teachers:
            network, description = load_model(path)
            theirs = (list(description["labels"]), description["channels"])
            own = (list(labels), config.model.channels)
            if theirs != own:
                raise ConfigError(f"teachers: {path}: has classes and channels {theirs}, the student {own}")
            if np.abs(np.asarray(description["template"]) - np.asarray(template)).max() > 0.01:
                raise ConfigError(f"teachers: {path}: sees faces framed otherwise than the student; use its data.view")
            network.eval().requires_grad_(False)
            network.fused_only = True
            network.to(memory_format=torch.channels_last)
            self.networks.append((fabric.to_device(network), description))

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """The mean of their calibrated probabilities (B, K) for the student's input (B, C, H, W)."""
        pixels = x * self.std + self.mean  # 0 to 1
        answers = []
        for network, description in self.networks:
            mean, std = (pixels.new_tensor(description[name]).view(-1, 1, 1) for name in ("mean", "std"))
            size = tuple(description["size"])
            seen = pixels if size == pixels.shape[2:] else F.interpolate(pixels, size, mode="bilinear", antialias=True)
            seen = ((seen - mean) / std).contiguous(memory_format=torch.channels_last)
            with self.fabric.autocast():
                logits = network(seen)
            answers.append((logits.float() / description["temperature"]).softmax(dim=1))
        return torch.stack(answers).mean(dim=0)
