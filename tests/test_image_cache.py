"""Images that results keep: bounded however many results live."""

import gc

import numpy as np
import pytest

from mftn import image_cache
from mftn.image_cache import CachedImage


def test_an_image_lives_as_long_as_its_result() -> None:
    holder = CachedImage(np.zeros((10, 10, 3), np.uint8))
    assert holder.image().shape == (10, 10, 3) and CachedImage(b"content").image() == b"content"


def test_all_results_together_keep_few_images_the_latest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_cache, "MAX_BYTES", 10 * 300)
    gc.collect()
    mine = np.zeros((10, 10, 3), np.uint8)
    held = [CachedImage(mine), *(CachedImage(np.zeros((10, 10, 3), np.uint8)) for _ in range(50))]
    reachable = [each.image() is not None for each in held]
    assert reachable == [True] + [False] * 40 + [True] * 10, "and the one that somebody else holds"
    large = CachedImage(bytes(10**6))
    assert large.image() is not None, "the latest one, however large"
    assert [each.image() is not None for each in held[1:]] == [False] * 50
    small = [CachedImage(b"x") for _ in range(image_cache.MAX_IMAGES + 20)]
    assert sum(each.image() is not None for each in small) == image_cache.MAX_IMAGES


def test_results_that_are_gone_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_cache, "MAX_BYTES", 1000)
    first = CachedImage(bytes(600))
    for _ in range(50):
        CachedImage(bytes(300))
    assert first.image() is not None
