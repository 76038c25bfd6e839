"""Distillation: a student learns from the outputs of trained networks as well as from raters' votes.

Source: Hinton et al., Distilling the knowledge in a neural network, 2015. The teachers see the same augmented images
as the student, so that their outputs match.
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

TEMPLATE_TOLERANCE = 0.01
"""Largest distance between a teacher's and the student's landmarks, in sides of the input."""


class Teachers:
    """An ensemble of trained networks.

    Args:
        fabric: The processes and device.
        config: The student's run, whose `teachers` are their checkpoints.
        student: The student's description.

    Raises:
        ConfigError: A teacher's classes, channels or framing of faces differ from the student's.
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
                raise ConfigError(f"teachers: {path}: has classes and channels {theirs}, but the student has {own}")
            if np.abs(np.asarray(spec.template) - np.asarray(student.template)).max() > TEMPLATE_TOLERANCE:
                raise ConfigError(f"teachers: {path}: frames faces differently from the student; use its data.view")
            network.eval().requires_grad_(False)
            network.to(memory_format=torch.channels_last)
            self.networks.append((fabric.to_device(network), spec))

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """The mean of their calibrated probabilities (B, K) for the student's input (B, C, H, W)."""
        pixels = x * self.std + self.mean  # 0 to 1
        outputs = []
        for network, spec in self.networks:
            mean, std = (pixels.new_tensor(values).view(-1, 1, 1) for values in (spec.mean, spec.std))
            same = spec.size == pixels.shape[2:]
            seen = pixels if same else F.interpolate(pixels, spec.size, mode="bilinear", antialias=True)
            seen = ((seen - mean) / std).contiguous(memory_format=torch.channels_last)
            with self.fabric.autocast():
                logits = network(seen).fused
            outputs.append((logits.float() / spec.temperature).softmax(dim=1))
        return torch.stack(outputs).mean(dim=0)
