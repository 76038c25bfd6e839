"""Distillation: a student learns what trained networks answer beside what raters said.

Source: Hinton et al., Distilling the knowledge in a neural network, 2015. The teachers see each augmented picture as
the student does, so that their answers fit it.
"""

import numpy as np
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor

from mftn.errors import ConfigError
from mftn.models import load_model
from mftn.spec import ModelSpec
from mftn.train.config import TrainConfig


class Teachers:
    """Trained networks that answer together.

    Args:
        fabric: Where they run.
        config: The student's run; `teachers` names their weights files.
        student: The student's description.

    Raises:
        ConfigError: A teacher knows other classes, or sees faces framed otherwise or in other colours.
        ModelError: A teacher's file cannot be read.
    """

    def __init__(self, fabric: Fabric, config: TrainConfig, student: ModelSpec) -> None:
        self.fabric = fabric
        self.mean, self.std = (
            fabric.to_device(torch.tensor(values).view(-1, 1, 1)) for values in (config.data.mean, config.data.std)
        )
        self.networks = []
        for path in config.teachers:
            network = load_model(path)
            spec = network.described()
            theirs, own = (spec.labels, spec.channels), (tuple(student.labels), student.channels)
            if theirs != own:
                raise ConfigError(f"teachers: {path}: has classes and channels {theirs}, the student {own}")
            if np.abs(np.asarray(spec.template) - np.asarray(student.template)).max() > 0.01:
                raise ConfigError(f"teachers: {path}: sees faces framed otherwise than the student; use its data.view")
            network.eval().requires_grad_(False)
            network.to(memory_format=torch.channels_last)
            self.networks.append((fabric.to_device(network), spec))

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """The mean of their calibrated probabilities (B, K) for the student's input (B, C, H, W)."""
        pixels = x * self.std + self.mean  # 0 to 1
        answers = []
        for network, spec in self.networks:
            mean, std = (pixels.new_tensor(values).view(-1, 1, 1) for values in (spec.mean, spec.std))
            same = spec.size == pixels.shape[2:]
            seen = pixels if same else F.interpolate(pixels, spec.size, mode="bilinear", antialias=True)
            seen = ((seen - mean) / std).contiguous(memory_format=torch.channels_last)
            with self.fabric.autocast():
                logits = network(seen).fused
            answers.append((logits.float() / spec.temperature).softmax(dim=1))
        return torch.stack(answers).mean(dim=0)
