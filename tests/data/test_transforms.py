import io
from typing import Literal

import numpy as np
import pytest
import scipy.ndimage
import torch
from PIL import Image as PillowImage
from torchvision.transforms.v2 import functional as tv

from mftn.data.transforms import Augmentation, Preprocess

CROPS = torch.randint(0, 256, (6, 1, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_evaluation_crops_the_view_resizes_and_normalises() -> None:
    transform = Preprocess(28, view=0.875, mean=0.5, std=0.25).eval()
    expected = tv.center_crop(CROPS, [28, 28]).float() / 255
    torch.testing.assert_close(transform(CROPS), (expected - 0.5) / 0.25, rtol=0, atol=1e-4)


def test_evaluation_is_deterministic_and_training_is_not() -> None:
    transform = Preprocess(24, 0.875, 0.5, 0.25, Augmentation(rotation=10))
    assert torch.equal(transform.eval()(CROPS), transform(CROPS))
    assert not torch.equal(transform.train()(CROPS), transform(CROPS))


def test_a_certain_flip_mirrors() -> None:
    flipped = Preprocess(32, 1.0, 0.5, 0.25, Augmentation(flip=1.0)).train()(CROPS)
    plain = Preprocess(32, 1.0, 0.5, 0.25).eval()(CROPS)
    torch.testing.assert_close(flipped, plain.flip(3), rtol=0, atol=1e-4)


def test_images_of_a_batch_are_changed_independently() -> None:
    same = CROPS[:1].expand(8, -1, -1, -1)
    changed = Preprocess(32, 1.0, 0.5, 0.25, Augmentation(flip=0, rotation=20, scale=0.2, translation=0.1)).train()(
        same
    )
    assert len({image.sum().item() for image in changed}) == 8


def drawn_maps(view: float, **changes: float) -> np.ndarray:
    """The maps from output to input that training draws, (B, 2, 3) on scales from -1 to 1, read off two ramps."""
    torch.manual_seed(0)
    ramp = (torch.arange(64, dtype=torch.uint8) * 4).expand(64, 64)
    crops = torch.stack([ramp, ramp.T]).expand(300, -1, -1, -1)
    seen = Preprocess(16, view, 0.0, 1.0, Augmentation(**changes)).train()(crops).double() * 255 / 4
    x, y = np.meshgrid(*[np.linspace(-15 / 16, 15 / 16, 16)] * 2)
    places = np.stack([x.ravel(), y.ravel(), np.ones(256)], axis=1)
    points = ((2 * seen + 1) / 64 - 1).flatten(2).numpy()  # (B, 2, 256)
    return points @ np.linalg.pinv(places).T


@pytest.mark.parametrize("flip", [0.0, 0.5])
def test_geometry_is_drawn_evenly_from_its_ranges_and_inside_the_view(flip: float) -> None:
    maps = drawn_maps(0.25, flip=flip, rotation=20, scale=0.3, aspect=0.2, translation=0.1)
    right, down, shift = maps.transpose(2, 0, 1)
    np.testing.assert_allclose((right * down).sum(axis=1), 0, atol=1e-3)  # no shear
    across, along = np.linalg.norm(right, axis=1), np.linalg.norm(down, axis=1)
    angles = np.degrees(np.arctan2(-down[:, 0], down[:, 1]))
    scales, aspects = np.log(across * along / 0.25**2) / 2, np.log(across / along)
    fractions = shift.T / 2  # of the side
    for values, extent in ((angles, 20), (scales, 0.3), (aspects, 0.2), (fractions[0], 0.1), (fractions[1], 0.1)):
        assert np.abs(values).max() <= 1.01 * extent
        np.testing.assert_allclose(
            np.percentile(values, [5, 50, 95]), [-0.9 * extent, 0, 0.9 * extent], atol=extent / 5
        )
    assert (np.linalg.det(maps[:, :, :2]) < 0).mean() == pytest.approx(flip, abs=0.1)


def test_outside_the_crop_is_black() -> None:
    white = torch.full((4, 1, 32, 32), 255, dtype=torch.uint8)
    shifted = Preprocess(32, 1.0, 0.5, 0.25, Augmentation(flip=0, translation=0.5)).train()(white)
    assert shifted.min().item() == pytest.approx(-2.0)
    assert shifted.max().item() == pytest.approx(2.0)


def test_erasing_covers_the_asked_share_on_average() -> None:
    torch.manual_seed(0)
    white = torch.full((400, 1, 32, 32), 255, dtype=torch.uint8)
    erased = Preprocess(32, 1.0, 0.5, 0.25, Augmentation(flip=0, erasing=1, erasing_area=(0.1, 0.1))).train()(white)
    share = (erased == 0).float().mean().item()
    assert share == pytest.approx(0.1, abs=0.005)
    heights, widths = ((erased[:, 0] == 0).any(dim=side).sum(dim=1) for side in (2, 1))
    ratios = heights / widths  # from 1/3.3 to 3.3, up to whole pixels
    assert ratios.min() < 0.45 and ratios.max() > 2.2 and 0.8 < ratios.median() < 1.25


def test_brightness_contrast_blur_and_noise_change_values_only_within_reason() -> None:
    torch.manual_seed(0)
    augmentation = Augmentation(flip=0, brightness=0.3, contrast=0.3, noise=0.1, blur=0.5)
    changed = Preprocess(32, 1.0, 0.5, 0.25, augmentation).train()(CROPS)
    plain = Preprocess(32, 1.0, 0.5, 0.25).eval()(CROPS)
    assert changed.isfinite().all() and not torch.equal(changed, plain)
    for before, after in zip(plain.flatten(1), changed.flatten(1), strict=True):
        assert torch.corrcoef(torch.stack([before, after]))[0, 1] > 0.5


def test_brightness_contrast_and_noise_are_drawn_evenly_from_their_ranges() -> None:
    white = torch.full((300, 1, 8, 8), 255, dtype=torch.uint8)

    def drawn(**changes: float) -> np.ndarray:
        torch.manual_seed(0)
        return Preprocess(8, 1.0, 0.0, 1.0, Augmentation(flip=0, **changes)).train()(white).flatten(1).numpy()

    for values in (np.log(drawn(contrast=1.0)[:, 0]), drawn(brightness=1.0)[:, 0] - 1):
        np.testing.assert_allclose(np.percentile(values, [0, 50, 100]), [-1, 0, 1], atol=0.1)
    np.testing.assert_allclose(np.percentile(drawn(noise=0.5).std(axis=1), [2, 50, 98]), [0, 0.25, 0.5], atol=0.05)


def changed_by(augmentation: Augmentation, crops: torch.Tensor = CROPS) -> torch.Tensor:
    """What training does to crops, as values from 0 to 1, without geometry."""
    torch.manual_seed(0)
    return Preprocess(32, 1.0, 0.5, 0.25, augmentation).train()(crops) * 0.25 + 0.5


def test_blur_is_the_binomial_one() -> None:
    blurred = changed_by(Augmentation(flip=0, blur=1))
    kernel = np.outer([1, 2, 1], [1, 2, 1]) / 16
    expected = [scipy.ndimage.convolve(crop / 255, kernel, mode="nearest") for crop in CROPS[:, 0].double().numpy()]
    np.testing.assert_allclose(blurred[:, 0], expected, atol=1e-4)


def test_defocus_is_a_gaussian_blur_of_the_drawn_width() -> None:
    blurred = changed_by(Augmentation(flip=0, defocus=1, defocus_sigma=(0.05, 0.05)))
    expected = tv.gaussian_blur(CROPS.float() / 255, 11, 0.05 * 32)
    torch.testing.assert_close(blurred, expected, rtol=0, atol=2e-3)


def test_low_resolution_keeps_no_more_than_its_side_can_hold() -> None:
    small = changed_by(Augmentation(flip=0, low_resolution=1, low_resolution_side=(8, 8)))
    expected = tv.resize(tv.resize(CROPS.float() / 255, [8, 8], antialias=True), [32, 32], antialias=True)
    torch.testing.assert_close(small, expected, rtol=0, atol=1e-4)


def test_jpeg_is_that_of_a_file_of_the_drawn_quality() -> None:
    ramp = torch.arange(32, dtype=torch.uint8).expand(3, 1, 32, 32) * 8
    compressed = changed_by(Augmentation(flip=0, jpeg=1, jpeg_quality=(10, 10)), ramp)
    file = io.BytesIO()
    PillowImage.fromarray(ramp[0, 0].numpy()).save(file, "JPEG", quality=10)
    expected = torch.from_numpy(np.array(PillowImage.open(file))).float() / 255
    torch.testing.assert_close(compressed, expected.expand(3, 1, 32, 32), rtol=0, atol=1e-3)
    assert not torch.allclose(compressed, ramp.float() / 255, atol=1e-3)


def test_every_image_draws_its_own_defocus() -> None:
    same = CROPS[:1].expand(50, -1, -1, -1).contiguous()
    spread = changed_by(Augmentation(flip=0, defocus=1, defocus_sigma=(0.01, 0.1)), same).flatten(1).std(dim=1)
    assert spread.max() > 2 * spread.min()


@pytest.mark.parametrize("policy", ["randaugment", "trivialaugment"])
def test_a_policy_changes_images_before_anything_else(policy: Literal["randaugment", "trivialaugment"]) -> None:
    changed, plain = (changed_by(Augmentation(flip=0, policy=name)) for name in (policy, "none"))
    assert ((changed - plain).abs().flatten(1).amax(dim=1) > 0.01).sum() >= 3


@pytest.mark.parametrize("kind", ["blur", "defocus", "erasing", "flip", "low_resolution", "jpeg"])
def test_a_share_of_the_images_is_changed_and_the_rest_is_left_alone(kind: str) -> None:
    many = CROPS[:1].expand(200, -1, -1, -1).contiguous()
    plain = Preprocess(32, 1.0, 0.5, 0.25).eval()(many) * 0.25 + 0.5
    changed = (changed_by(Augmentation(**{"flip": 0, kind: 0.3}), many) - plain).flatten(1).abs().amax(dim=1) > 1e-3
    assert 40 <= changed.sum() <= 80
