"""Accuracy on corrupted images: the same corruptions, drawn with the same seeds, for every model.

Graded corruptions and their mean follow Hendrycks and Dietterich (2019); the kinds are those that images of faces
undergo.
"""

import io
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image as PillowImage
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from mftn.data.dataset import FaceDataset
from mftn.evaluate.inference import preprocess_for
from mftn.models import Network

BATCH = 64


@dataclass(frozen=True, slots=True)
class Scene:
    """What a corruption needs besides the images.

    Attributes:
        generator: Random number generator.
        landmarks: (5, 2) landmarks of the crops, as fractions of the side.
    """

    generator: torch.Generator
    landmarks: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Corruption:
    """A kind of corruption.

    Attributes:
        name: Name in tables.
        unit: Unit of the strengths.
        strengths: Strengths from light to heavy.
        apply: Function of uint8 crops (B, C, S, S), strength and scene that returns corrupted crops.
    """

    name: str
    unit: str
    strengths: tuple[float, ...]
    apply: Callable[[Tensor, float, Scene], Tensor]


def measure(
    model: Network,
    dataset: FaceDataset,
    indices: Sequence[int],
    seed: int = 0,
    on_step: Callable[[], None] | None = None,
) -> Iterator[tuple[str, float, NDArray[np.float32]]]:
    """The fused logits on the chosen images, clean first, then for each corruption and strength.

    Args:
        model: A model from `load_model`.
        dataset: The split.
        indices: The images to use.
        seed: Seed of the corruptions; with the same seed, images are corrupted in the same way for every model.
        on_step: Called after each strength.

    Yields:
        Name, strength and logits (n, K).
    """
    preprocess = preprocess_for(model.described(), dataset)
    for number, (corruption, strength) in enumerate(_plan()):
        batches = []
        for batch, crops in enumerate(dataset.batches(BATCH, indices)):
            generator = torch.Generator().manual_seed((seed * 1000 + number) * 100_003 + batch)
            corrupted = corruption.apply(crops, strength, Scene(generator, dataset.template))
            with torch.no_grad():
                batches.append(model(preprocess(corrupted)).fused.numpy())
        if on_step:
            on_step()
        yield corruption.name, strength, np.concatenate(batches)


def steps() -> int:
    """Number of strengths that `measure` yields."""
    return len(list(_plan()))


def _plan() -> Iterator[tuple[Corruption, float]]:
    yield CLEAN, 0.0
    for corruption in CORRUPTIONS:
        for strength in corruption.strengths:
            yield corruption, strength


def _blur(crops: Tensor, strength: float, _scene: Scene) -> Tensor:
    sigma = strength / 100 * crops.shape[-1]
    return tv.gaussian_blur(crops, 2 * math.ceil(3 * sigma) + 1, sigma)


def _noise(crops: Tensor, strength: float, scene: Scene) -> Tensor:
    batch, _, height, width = crops.shape  # the same in every channel, so that grey and colour see the same noise
    noise = strength * torch.randn((batch, 1, height, width), generator=scene.generator)
    return (crops + noise).round().clamp(0, 255).to(torch.uint8)


def _jpeg(crops: Tensor, strength: float, _scene: Scene) -> Tensor:
    compressed = []
    for crop in crops:
        buffer = io.BytesIO()
        tv.to_pil_image(crop).save(buffer, "JPEG", quality=int(strength))
        compressed.append(tv.pil_to_tensor(PillowImage.open(buffer)))
    return torch.stack(compressed)


def _resolution(crops: Tensor, strength: float, _scene: Scene) -> Tensor:
    small = tv.resize(crops, [int(strength), int(strength)], antialias=True)
    return tv.resize(small, list(crops.shape[-2:]), antialias=True)


def _darkness(crops: Tensor, strength: float, _scene: Scene) -> Tensor:
    return (crops * strength).round().to(torch.uint8)


def _rotation(crops: Tensor, strength: float, scene: Scene) -> Tensor:
    angles = math.radians(strength) * _signs(len(crops), scene.generator)
    return _warp(crops, angles, torch.zeros(len(crops), 2))


def _translation(crops: Tensor, strength: float, scene: Scene) -> Tensor:
    directions = 2 * math.pi * torch.rand(len(crops), generator=scene.generator)
    shifts = 2 * strength / 100 * torch.stack([directions.cos(), directions.sin()], dim=1)
    return _warp(crops, torch.zeros(len(crops)), shifts)


def _signs(n: int, generator: torch.Generator) -> Tensor:
    return 2.0 * torch.randint(2, (n,), generator=generator) - 1


def _warp(crops: Tensor, angles: Tensor, shifts: Tensor) -> Tensor:
    """Rotate by (B,) angles and translate by (B, 2) half sides; the border is repeated."""
    cos, sin = angles.cos(), angles.sin()
    theta = torch.stack([cos, -sin, shifts[:, 0], sin, cos, shifts[:, 1]], dim=1).view(-1, 2, 3)  # (B, 2, 3)
    grid = F.affine_grid(theta, list(crops.shape), align_corners=False)
    warped = F.grid_sample(crops.float(), grid, padding_mode="border", align_corners=False)
    return warped.round().to(torch.uint8)


def _cover_eyes(crops: Tensor, strength: float, scene: Scene) -> Tensor:
    return _cover(crops, strength, scene.landmarks[:2], scene.landmarks)


def _cover_mouth(crops: Tensor, strength: float, scene: Scene) -> Tensor:
    return _cover(crops, strength, scene.landmarks[3:], scene.landmarks)


def _cover(crops: Tensor, strength: float, points: NDArray[np.float64], landmarks: NDArray[np.float64]) -> Tensor:
    """A mid-grey bar over the points; at 100 % twice as wide as the distance of the eyes, and 0.6 times that high."""
    apart = float(np.linalg.norm(landmarks[1] - landmarks[0]))
    centre = points.mean(axis=0)
    half = math.sqrt(strength / 100) * apart * np.array([1.0, 0.3])
    left, top = np.floor((centre - half) * crops.shape[-1]).clip(0).astype(int)
    right, bottom = np.ceil((centre + half) * crops.shape[-1]).astype(int)
    covered = crops.clone()
    covered[..., top:bottom, left:right] = 128
    return covered


CLEAN = Corruption("clean", "", (0.0,), lambda crops, _strength, _scene: crops)
CORRUPTIONS = (
    Corruption("blur", "σ, % of the side", (1, 2, 3, 4, 6), _blur),
    Corruption("noise", "σ of 255", (8, 16, 24, 36, 48), _noise),
    Corruption("JPEG", "quality", (50, 30, 20, 10, 5), _jpeg),
    Corruption("low resolution", "pixels per side", (48, 32, 24, 16, 12), _resolution),
    Corruption("darkness", "factor", (0.7, 0.5, 0.35, 0.2, 0.1), _darkness),
    Corruption("rotation", "degrees", (5, 10, 15, 20, 30), _rotation),
    Corruption("box moved", "% of the side", (3, 6, 9, 12, 15), _translation),
    Corruption("eyes covered", "% of the bar", (20, 40, 60, 80, 100), _cover_eyes),
    Corruption("mouth covered", "% of the bar", (20, 40, 60, 80, 100), _cover_mouth),
)
