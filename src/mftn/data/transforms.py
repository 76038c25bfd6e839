"""From stored crops to network input, a whole batch at once on its device.

Each image draws its own parameters, and all geometry is one affine warp, so that pixels are interpolated
once. torchvision's transforms draw one set of parameters per batch, or need one worker process per core to
run image by image.
"""

import io
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from PIL import Image as PillowImage
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as tv

from mftn.data.augmentation import Augmentation


class Preprocess(nn.Module):
    """Crop the view from stored crops, resize, normalise and, in training mode, augment.

    Args:
        size: Side of the network's input in pixels.
        view: Share of the stored crop's side that the network sees: the rest is a margin for augmentation.
        mean: Mean of each channel, or one for all, on the scale 0 to 1.
        std: Standard deviation, as `mean`.
        augmentation: Random changes in training.
    """

    mean: Tensor  # (C or 1, 1, 1), as std
    std: Tensor

    def __init__(
        self,
        size: int,
        view: float,
        mean: float | Sequence[float],
        std: float | Sequence[float],
        augmentation: Augmentation | None = None,
    ) -> None:
        super().__init__()
        self.size, self.view = size, view
        self.register_buffer("mean", torch.as_tensor(mean, dtype=torch.float32).view(-1, 1, 1))
        self.register_buffer("std", torch.as_tensor(std, dtype=torch.float32).view(-1, 1, 1))
        self.augmentation = augmentation or Augmentation(flip=0.0)
        self.policy = _policy(self.augmentation.policy)

    def forward(self, crops: Tensor) -> Tensor:
        """uint8 crops (B, C, H, W) to normalised input (B, C, size, size)."""
        augment = self.training
        if augment and self.policy:
            crops = torch.stack([self.policy(crop) for crop in crops])
        x = (crops.float() / 255 - self.mean) / self.std
        black = -self.mean / self.std  # (C or 1, 1, 1)
        # (B, 2, 3), then (B, size, size, 2)
        theta = self._random_affine(len(x), x.device) if augment else self.view * torch.eye(2, 3).expand(len(x), 2, 3)
        grid = F.affine_grid(theta.to(x.device), [len(x), x.shape[1], self.size, self.size], align_corners=False)
        # grid_sample pads with zeros: shift so that zero is black.
        x = F.grid_sample(x - black, grid, align_corners=False) + black
        return self._random_effects(x) if augment else x

    def _random_affine(self, batch: int, device: torch.device) -> Tensor:
        """(B, 2, 3) maps from output to input coordinates, both from -1 to 1."""
        a = self.augmentation
        angle = _uniform(batch, math.radians(a.rotation), device)
        scale = self.view * torch.exp(_uniform(batch, a.scale, device))
        stretch = torch.exp(_uniform(batch, a.aspect / 2, device))
        flip = torch.where(torch.rand(batch, device=device) < a.flip, -1.0, 1.0)
        shift = 2 * torch.stack([_uniform(batch, a.translation, device), _uniform(batch, a.translation, device)], dim=1)
        cos, sin = torch.cos(angle), torch.sin(angle)
        linear = torch.stack(
            [
                scale * stretch * cos * flip,
                -scale * sin / stretch,
                scale * stretch * sin * flip,
                scale * cos / stretch,
            ],
            dim=1,
        ).view(batch, 2, 2)
        return torch.cat([linear, shift[:, :, None]], dim=2)

    def _random_effects(self, x: Tensor) -> Tensor:
        """Effects of cameras and file formats, and erasing, on normalised input (B, C, H, W)."""
        a, batch, device = self.augmentation, len(x), x.device
        if a.low_resolution:
            x = _low_resolution(x, _drawn(batch, a.low_resolution), a.low_resolution_side)
        if a.defocus:
            chosen = _drawn(batch, a.defocus)
            low, high = a.defocus_sigma
            sigma = self.size * (low + (high - low) * torch.rand(len(chosen), device=device))
            x[chosen] = _gaussian_blur(x[chosen], sigma)
        if a.blur:
            kernel = torch.tensor([0.25, 0.5, 0.25], device=device)
            kernel = (kernel[:, None] * kernel).expand(x.shape[1], 1, 3, 3)
            blurred = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), kernel, groups=x.shape[1])
            x = torch.where(torch.rand(batch, 1, 1, 1, device=device) < a.blur, blurred, x)
        x = x * torch.exp(_uniform(batch, a.contrast, device)).view(-1, 1, 1, 1)
        x = x + _uniform(batch, a.brightness, device).view(-1, 1, 1, 1)
        if a.noise:
            x = x + torch.randn_like(x) * (a.noise * torch.rand(batch, 1, 1, 1, device=device))
        if a.jpeg:
            x = self._compress(x, _drawn(batch, a.jpeg))
        if a.erasing:
            x = x * ~self._random_rectangles(batch, device)
        return x

    def _compress(self, x: Tensor, chosen: Tensor) -> Tensor:
        """The chosen images compressed as JPEG and decoded again."""
        low, high = self.augmentation.jpeg_quality
        for index in chosen.tolist():
            pixels = ((x[index] * self.std + self.mean) * 255).round().clamp(0, 255).to(torch.uint8)
            file = io.BytesIO()
            tv.to_pil_image(pixels.cpu()).save(file, "JPEG", quality=round(low + (high - low) * torch.rand(()).item()))
            decoded = tv.pil_to_tensor(PillowImage.open(file)).to(x.device)
            x[index] = (decoded.float() / 255 - self.mean) / self.std
        return x

    def _random_rectangles(self, batch: int, device: torch.device) -> Tensor:
        """(B, 1, size, size), true inside the erased rectangle."""
        a = self.augmentation
        low, high = a.erasing_area
        area = low + (high - low) * torch.rand(batch, device=device)
        ratio = torch.exp(_uniform(batch, math.log(3.3), device))
        half_height = ((area * ratio).sqrt() / 2).clamp(max=0.5)
        half_width = ((area / ratio).sqrt() / 2).clamp(max=0.5)
        centre_y = half_height + (1 - 2 * half_height) * torch.rand(batch, device=device)
        centre_x = half_width + (1 - 2 * half_width) * torch.rand(batch, device=device)
        position = (torch.arange(self.size, device=device) + 0.5) / self.size
        rows = (position - centre_y[:, None]).abs() < half_height[:, None]  # (B, size)
        columns = (position - centre_x[:, None]).abs() < half_width[:, None]  # (B, size)
        chosen = torch.rand(batch, 1, 1, device=device) < a.erasing
        return (rows[:, :, None] & columns[:, None, :] & chosen)[:, None]


def _drawn(batch: int, probability: float) -> Tensor:
    """Indices of the images that are drawn for a change."""
    return torch.nonzero(torch.rand(batch) < probability).flatten()


def _low_resolution(x: Tensor, chosen: Tensor, sides: tuple[float, float]) -> Tensor:
    """The chosen images scaled down to a random side in this range of pixels, and up again."""
    for index in chosen.tolist():
        side = round(sides[0] + (sides[1] - sides[0]) * torch.rand(()).item())
        small = F.interpolate(x[index, None], (side, side), mode="bilinear", antialias=True)
        x[index] = F.interpolate(small, x.shape[2:], mode="bilinear", antialias=True)[0]
    return x


def _gaussian_blur(x: Tensor, sigma: Tensor) -> Tensor:
    """Images (B, C, H, W) blurred, each by its own standard deviation in pixels (B,)."""
    if not len(x):
        return x
    batch, channels, height, width = x.shape
    reach = min(math.ceil(3 * float(sigma.max())), min(height, width) - 1)
    steps = torch.arange(-reach, reach + 1, device=x.device)
    kernel = torch.exp(-((steps / sigma[:, None]) ** 2) / 2)  # (B, 2 · reach + 1)
    kernel = (kernel / kernel.sum(dim=1, keepdim=True)).repeat_interleave(channels, dim=0)[:, None]  # (B · C, 1, …)
    x = F.pad(x, (reach,) * 4, mode="reflect").reshape(1, batch * channels, height + 2 * reach, width + 2 * reach)
    x = F.conv2d(x, kernel[:, :, None], groups=batch * channels)
    x = F.conv2d(x, kernel[:, :, :, None], groups=batch * channels)
    return x.reshape(batch, channels, height, width)


def _policy(name: str) -> nn.Module | None:
    from torchvision.transforms import v2

    makers = {"randaugment": v2.RandAugment, "trivialaugment": v2.TrivialAugmentWide}
    return makers[name]() if name in makers else None


def _uniform(batch: int, extent: float, device: torch.device) -> Tensor:
    """(B,) numbers drawn uniformly from -extent to extent."""
    return (2 * torch.rand(batch, device=device) - 1) * extent
