import io

import numpy as np
import pytest
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


def test_brightness_contrast_blur_and_noise_change_values_only_within_reason() -> None:
    torch.manual_seed(0)
    augmentation = Augmentation(flip=0, brightness=0.3, contrast=0.3, noise=0.1, blur=0.5)
    changed = Preprocess(32, 1.0, 0.5, 0.25, augmentation).train()(CROPS)
    plain = Preprocess(32, 1.0, 0.5, 0.25).eval()(CROPS)
    assert changed.isfinite().all() and not torch.equal(changed, plain)
    for before, after in zip(plain.flatten(1), changed.flatten(1), strict=True):
        assert torch.corrcoef(torch.stack([before, after]))[0, 1] > 0.5


def changed_by(augmentation: Augmentation, crops: torch.Tensor = CROPS) -> torch.Tensor:
    """What training does to crops, as values from 0 to 1, without geometry."""
    torch.manual_seed(0)
    return Preprocess(32, 1.0, 0.5, 0.25, augmentation).train()(crops) * 0.25 + 0.5


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


@pytest.mark.parametrize("kind", ["defocus", "low_resolution", "jpeg"])
def test_a_share_of_the_images_is_changed_and_the_rest_is_left_alone(kind: str) -> None:
    many = CROPS[:1].expand(200, -1, -1, -1).contiguous()
    plain = Preprocess(32, 1.0, 0.5, 0.25).eval()(many) * 0.25 + 0.5
    changed = (changed_by(Augmentation(flip=0, **{kind: 0.3}), many) - plain).flatten(1).abs().amax(dim=1) > 1e-3
    assert 40 <= changed.sum() <= 80
