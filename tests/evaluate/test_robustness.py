from pathlib import Path

import numpy as np
import pytest
import torch

from mftn.data.dataset import FaceDataset
from mftn.evaluate.robustness import CLEAN, CORRUPTIONS, Corruption, Scene, measure, steps
from mftn.spec import ModelSpec


@pytest.fixture(scope="module")
def dataset(prepared: Path) -> FaceDataset:
    return FaceDataset(prepared, "valid", in_memory=False)


def corrupted(corruption: Corruption, strength: float, crops: torch.Tensor, dataset: FaceDataset) -> torch.Tensor:
    scene = Scene(torch.Generator().manual_seed(0), dataset.template)
    return corruption.apply(crops, strength, scene)


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=lambda corruption: corruption.name)
def test_corruption_grows_with_its_strength_and_is_drawn_alike(corruption: Corruption, dataset: FaceDataset) -> None:
    crops = dataset.read([0, 1, 2, 3])
    changes = []
    for strength in corruption.strengths:
        first, again = (corrupted(corruption, strength, crops, dataset) for _ in range(2))
        assert torch.equal(first, again) and first.dtype == torch.uint8 and first.shape == crops.shape
        changes.append((first.float() - crops.float()).abs().mean().item())
    assert changes == sorted(changes) and changes[0] > 0


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=lambda corruption: corruption.name)
def test_a_network_for_colour_sees_grey_images_corrupted_as_one_for_grey(
    corruption: Corruption, dataset: FaceDataset
) -> None:
    grey = dataset.read([0, 1])
    seen = corrupted(corruption, corruption.strengths[2], grey, dataset)
    colour = corrupted(corruption, corruption.strengths[2], grey.expand(-1, 3, -1, -1), dataset)
    assert (colour.float() - seen.float()).abs().max() <= 3  # JPEG rounds colours


def test_bars_cover_what_they_are_named_for(dataset: FaceDataset) -> None:
    crops = torch.zeros(1, 1, 64, 64, dtype=torch.uint8)
    by_name = {corruption.name: corruption for corruption in CORRUPTIONS}
    for name, points in (("eyes covered", dataset.template[:2]), ("mouth covered", dataset.template[3:])):
        bar = corrupted(by_name[name], 100, crops, dataset)[0, 0] == 128
        assert all(bar[int(y * 64), int(x * 64)] for x, y in points)
        others = [p for p in dataset.template if not any(np.array_equal(p, q) for q in points)]
        assert not any(bar[int(y * 64), int(x * 64)] for x, y in others)


def test_measuring_goes_through_all_strengths_with_the_same_seeds(dataset: FaceDataset) -> None:
    seen: list[torch.Tensor] = []

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            template = tuple(map(tuple, dataset.template.tolist()))
            self.spec = ModelSpec("net", ("a", "b"), (16, 16), template, mean=(0.0,), std=(1.0,))

        def described(self) -> ModelSpec:
            return self.spec

        def forward(self, x: torch.Tensor) -> object:
            seen.append(x)
            return type("Answer", (), {"fused": x.mean(dim=(2, 3)).repeat(1, 8)})

    first = list(measure(Net(), dataset, [0, 3, 5]))
    assert len(first) == steps() == 46 and first[0][0] == CLEAN.name
    assert all(logits.shape == (3, 8) for _, _, logits in first)
    again = list(measure(Net(), dataset, [0, 3, 5]))
    assert all(np.array_equal(a[2], b[2]) for a, b in zip(first, again, strict=True))
    other = list(measure(Net(), dataset, [0, 3, 5], seed=1))
    assert any(not np.array_equal(a[2], b[2]) for a, b in zip(first, other, strict=True))
