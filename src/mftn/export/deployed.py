"""What an export contains: the network with the pre- and postprocessing that prediction needs."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mftn.models import Network
from mftn.spec import ModelSpec

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey (ITU-R BT.601), as in Pillow."""


class Normalise(nn.Module):
    """Converts uint8 crops (B, H, W, 3) to a network's input (B, C, H, W).

    Grey conversion and normalisation are one 1×1 convolution, x ↦ (luma · x / 255 − mean) / std.

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
    """The network with its normalisation, temperature and softmax.

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
        return self.logits(images).softmax(dim=1)

    def logits(self, images: Tensor) -> Tensor:
        """Crops (B, H, W, 3), 0 to 255, to logits divided by the model's temperature, (B, K)."""
        logits: Tensor = self.model(self.normalise(images)).fused / self.temperature
        return logits


class Resize(nn.Module):
    """Resizes images (B, H, W, 3): bilinear with antialiasing, as in alignment.

    It multiplies by two constant matrices, because engines disagree on antialiasing (OpenVINO 2026.4 omits it).

    Args:
        source: Height and width of the input.
        target: Height and width of the output.
    """

    def __init__(self, source: tuple[int, int], target: tuple[int, int]) -> None:
        super().__init__()
        rows, columns = (
            nn.functional.interpolate(torch.eye(old)[None, None], (new, old), mode="bilinear", antialias=True)[0, 0]
            for old, new in zip(source, target, strict=True)
        )
        self.register_buffer("rows", rows)  # (h, H)
        self.register_buffer("columns", columns.T.contiguous())  # (W, w)

    def forward(self, images: Tensor) -> Tensor:
        """Pixels (B, H, W, 3) to pixels (B, h, w, 3)."""
        x = images.permute(0, 3, 1, 2).float()  # (B, 3, H, W)
        return (self.rows @ x @ self.columns).permute(0, 2, 3, 1)  # type: ignore[operator]


class Averaged(nn.Module):
    """An ensemble of networks: the normalised geometric mean of their probabilities.

    Args:
        models: Networks with descriptions, all with the same classes.
        size: Height and width of the crops, which are resized to each network's own size.
    """

    def __init__(self, models: Sequence[Network], size: tuple[int, int]) -> None:
        super().__init__()
        self.members = nn.ModuleList(map(Deployed, models))
        sizes = [model.described().size for model in models]
        self.resize = nn.ModuleList(nn.Identity() if each == size else Resize(size, each) for each in sizes)

    def forward(self, images: Tensor) -> Tensor:
        """uint8 crops (B, H, W, 3) to probabilities (B, K)."""
        pairs = zip(self.members, self.resize, strict=True)
        logits = [member.logits(resize(images)) for member, resize in pairs]  # type: ignore[operator]
        return torch.stack(logits).mean(dim=0).softmax(dim=1)
