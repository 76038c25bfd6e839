import pytest
import torch
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


def test_pictures_of_a_batch_are_changed_independently() -> None:
    same = CROPS[:1].expand(8, -1, -1, -1)
    changed = Preprocess(32, 1.0, 0.5, 0.25, Augmentation(flip=0, rotation=20, scale=0.2, translation=0.1)).train()(
        same
    )
    assert len({picture.sum().item() for picture in changed}) == 8


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
