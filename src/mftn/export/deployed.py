"""The network with everything around it that prediction needs: what an export holds."""

import torch
from torch import Tensor, nn

from mftn.models import Network
from mftn.spec import ModelSpec

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey (ITU-R BT.601), as Pillow converts."""


class Normalise(nn.Module):
    """uint8 crops (B, H, W, 3) to a network's input (B, C, H, W): grey conversion and normalisation are one 1×1
    convolution, x ↦ (luma · x / 255 − mean) / std.

    Args:
        spec: The network's description.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        channels = spec.channels
        mix = torch.tensor([LUMA]) if channels == 1 else torch.eye(3)  # (C, 3)
        mean = torch.as_tensor(spec.mean, dtype=torch.float32).expand(channels)
        std = torch.as_tensor(spec.std, dtype=torch.float32).expand(channels)
        self.register_buffer("weight", (mix / (255 * std[:, None]))[:, :, None, None])  # (C, 3, 1, 1)
        self.register_buffer("bias", -mean / std)  # (C,)

    def forward(self, images: Tensor) -> Tensor:
        """uint8 crops (B, H, W, 3) to normalised input (B, C, H, W)."""
        x = images.permute(0, 3, 1, 2).float()  # (B, 3, H, W)
        return nn.functional.conv2d(x, self.weight, self.bias)  # type: ignore[arg-type]


class Deployed(nn.Module):
    """The network with everything around it that prediction needs.

    Args:
        model: The network, with its description.
    """

    def __init__(self, model: Network) -> None:
        super().__init__()
        self.model = model
        self.normalise = Normalise(model.described())
        self.temperature = model.described().temperature

    def forward(self, images: Tensor) -> Tensor:
        """uint8 crops (B, H, W, 3) to probabilities (B, K)."""
        return (self.model(self.normalise(images)).fused / self.temperature).softmax(dim=1)
