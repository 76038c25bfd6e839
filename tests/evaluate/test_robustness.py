import io
from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage
import torch
from PIL import Image as PillowImage

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


def test_corruptions_are_what_their_names_and_units_say(dataset: FaceDataset) -> None:
    by_name = {corruption.name: corruption for corruption in CORRUPTIONS}
    crops = dataset.read([0, 1, 2, 3] * 4)
    images = crops[:, 0].numpy()

    def made(name: str, strength: float, seen: torch.Tensor = crops) -> np.ndarray:
        return corrupted(by_name[name], strength, seen, dataset).numpy().astype(float)

    sigma = 0.04 * 64
    blurred = [scipy.ndimage.gaussian_filter(image.astype(float), sigma, mode="mirror", truncate=3) for image in images]
    np.testing.assert_allclose(made("blur", 4)[:, 0], blurred, atol=1.5)
    grey = torch.full_like(crops, 128)
    assert (made("noise", 20, grey) - 128).std() == pytest.approx(20, rel=0.02)
    np.testing.assert_allclose(made("darkness", 0.2)[:, 0], 0.2 * images, atol=0.5)
    for image, compressed, small in zip(images, made("JPEG", 10)[:, 0], made("low resolution", 16)[:, 0], strict=True):
        file = io.BytesIO()
        PillowImage.fromarray(image).save(file, "JPEG", quality=10)
        np.testing.assert_array_equal(compressed, PillowImage.open(file))
        expected = PillowImage.fromarray(image).resize((16, 16), PillowImage.Resampling.BILINEAR)
        np.testing.assert_allclose(small, expected.resize((64, 64), PillowImage.Resampling.BILINEAR), atol=2)
    turned = []
    for image, rotated in zip(images, made("rotation", 15)[:, 0], strict=True):
        either = [
            scipy.ndimage.rotate(image.astype(float), s, reshape=False, order=1, mode="nearest") for s in (15, -15)
        ]
        gaps = [np.abs(rotated - one).max() for one in either]
        turned.append(int(np.argmin(gaps)))
        assert min(gaps) <= 1
    assert set(turned) == {0, 1}, "some are rotated to either side"
    ramp = (torch.arange(64, dtype=torch.uint8) * 4).expand(16, 1, 64, 64)
    moved = np.stack([made("box moved", 12, x)[:, 0, 32, 32] - 128 for x in (ramp, ramp.transpose(2, 3))], axis=1) / 4
    np.testing.assert_allclose(np.hypot(*moved.T), 0.12 * 64, atol=0.3)
    assert len(set(map(tuple, np.sign(moved)))) == 4, "in every direction"
    assert made("box moved", 12, grey).min() == 128, "what comes in at the border repeats it"


def test_bars_cover_what_they_are_named_for(dataset: FaceDataset) -> None:
    crops = torch.zeros(1, 1, 64, 64, dtype=torch.uint8)
    by_name = {corruption.name: corruption for corruption in CORRUPTIONS}
    for name, points in (("eyes covered", dataset.template[:2]), ("mouth covered", dataset.template[3:])):
        bar = corrupted(by_name[name], 100, crops, dataset)[0, 0] == 128
        assert all(bar[int(y * 64), int(x * 64)] for x, y in points)
        others = [p for p in dataset.template if not any(np.array_equal(p, q) for q in points)]
        assert not any(bar[int(y * 64), int(x * 64)] for x, y in others)
        part = corrupted(by_name[name], 40, crops, dataset)[0, 0] == 128
        assert part.sum() / bar.sum() == pytest.approx(0.4, abs=0.1) and bar[part].all()


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

    noise = next(logits for name, _, logits in measure(Net(), dataset, [0] * 65) if name == "noise")
    assert noise[0, 0] != noise[64, 0], "every batch draws its own"
    first = list(measure(Net(), dataset, [0, 3, 5]))
    assert len(first) == steps() == 46 and first[0][0] == CLEAN.name
    assert all(logits.shape == (3, 8) for _, _, logits in first)
    again = list(measure(Net(), dataset, [0, 3, 5]))
    assert all(np.array_equal(a[2], b[2]) for a, b in zip(first, again, strict=True))
    other = list(measure(Net(), dataset, [0, 3, 5], seed=1))
    assert any(not np.array_equal(a[2], b[2]) for a, b in zip(first, other, strict=True))
