"""Another scene is a cut; a flash, a pan, a zoom, a fade or a caption is none."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from mftn.types import Image
from mftn.video.cuts import compare, thumbnail

Change = Callable[[Image], Image]


def scaled(image: Image, factor: float) -> Image:
    height, width = image.shape[:2]
    larger = PillowImage.fromarray(image).resize((round(width * factor), round(height * factor)))
    left, top = (larger.width - width) // 2, (larger.height - height) // 2
    return np.asarray(larger.crop((left, top, left + width, top + height)))


def brighter(image: Image, gain: float, lift: float = 0.0) -> Image:
    return np.clip(image * gain + lift, 0, 255).astype(np.uint8)


def lit_from_the_left(image: Image) -> Image:
    return np.clip(image * np.linspace(2.5, 0.8, image.shape[1])[:, None], 0, 255).astype(np.uint8)


def captioned(image: Image) -> Image:
    image = image.copy()
    image[-90:-20, 20:-20] = (20, 40, 120)
    return image


def title_on_black(image: Image) -> Image:
    page = np.zeros_like(image)
    page[150:230, 100:400] = np.kron(np.random.default_rng(0).integers(0, 256, (8, 30, 3)), np.ones((10, 10, 1)))
    return page


SAME: dict[str, Change] = {
    "noise": lambda image: brighter(image + np.random.default_rng(0).normal(0, 6, image.shape), 1.0),
    "zoom": lambda image: scaled(image, 1.05),
    "flash": lambda image: brighter(image, 2.0),
    "white-out": lambda image: brighter(image, 8.0, 150),
    "light from one side": lit_from_the_left,
    "darkness": lambda image: brighter(image, 0.3),
    "black": lambda image: brighter(image, 0.0),
    "grey": lambda image: np.full_like(image, 128),
    "caption": captioned,
    "title on black": title_on_black,
}


@pytest.fixture(scope="module")
def scenes(photos: Path) -> list[Image]:
    """Two photographs of the same shape."""
    found = []
    for name in ("astronaut.jpg", "grace_hopper.jpg"):
        image = PillowImage.open(photos / name).convert("RGB")
        found.append(np.asarray(image.resize((512, round(512 * image.height / image.width))))[:384])
    return found


@pytest.mark.parametrize("change", SAME.values(), ids=SAME)
@pytest.mark.parametrize("which", [0, 1])
def test_no_cut(scenes: list[Image], which: int, change: Change) -> None:
    before, after = thumbnail(scenes[which]), thumbnail(change(scenes[which]))
    assert compare(before, after).same and compare(after, before).same


def test_a_pan_is_no_cut_and_is_measured(scenes: list[Image]) -> None:
    wide = np.concatenate(scenes, axis=1)  # 384×1024
    before, after = thumbnail(wide[:, 100:612]), thumbnail(wide[:, 180:692])
    compared = compare(before, after)
    assert compared.same and compared.shift == pytest.approx((-80 / 512, 0), abs=1 / 64)


def test_another_scene_is_a_cut(scenes: list[Image]) -> None:
    first, second = (thumbnail(scene) for scene in scenes)
    assert not compare(first, second).same and not compare(second, first).same
    assert not compare(first, thumbnail(brighter(scenes[1], 0.5))).same
    assert not compare(first, thumbnail(scenes[0][:, ::-1])).same


@pytest.mark.parametrize("size", [(1, 1), (20, 3), (3, 500), (1080, 1920)])
def test_any_size_has_a_thumbnail(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)
    assert compare(thumbnail(image), thumbnail(image)).same
