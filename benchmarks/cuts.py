"""Detected shot cuts and false alarms, on pairs of scenes made from photographs and on changes that are not cuts.

python benchmarks/cuts.py FOLDER_OF_PHOTOGRAPHS [FOLDER_OF_PORTRAITS] --count 40
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from mftn.video.cuts import compare, thumbnail

SIZE = (640, 360)
Pixels = NDArray[np.float64]
Change = Callable[[Pixels, Pixels], tuple[Pixels, Pixels]]


def main() -> None:
    """Print the share of cuts per kind of scene and the share of false alarms per kind of change."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("portraits", type=Path, nargs="?")
    parser.add_argument("--count", type=int, default=40)
    chosen = parser.parse_args()
    rng = np.random.default_rng(0)

    def cut(first: Pixels, second: Pixels) -> bool:
        noisy = (np.clip(each + rng.normal(0, 5, each.shape), 0, 255).astype(np.uint8) for each in (first, second))
        return not compare(*(thumbnail(each) for each in noisy)).same

    scenes = make_scenes(chosen.photographs, chosen.portraits or chosen.photographs, rng)
    for name, scene in scenes.items():
        hits = [cut(scene(), scene()) for _ in range(chosen.count)]
        print(f"cut, {name}: {np.mean(hits):.0%} of {len(hits)} found")
    for name, change in changes(rng).items():
        alarms = [cut(*change(scene(), scene())) for scene in scenes.values() for _ in range(chosen.count // 2)]
        print(f"no cut, {name}: {np.mean(alarms):.1%} of {len(alarms)} false alarms")


def make_scenes(photographs: Path, portraits: Path, rng: np.random.Generator) -> dict[str, Callable[[], Pixels]]:
    """Functions that make a random scene of each kind."""
    photos = sorted(photographs.glob("*.jpg")) + sorted(photographs.glob("*.png"))
    people = sorted(portraits.glob("*.jpg"))

    def opened(paths: list[Path]) -> Image.Image:
        return Image.open(paths[rng.integers(len(paths))]).convert("RGB")

    def photo() -> Image.Image:
        return ImageOps.fit(opened(photos), SIZE)

    def portrait_before_photo() -> Image.Image:
        image = photo()
        image.paste(opened(people).resize((330, 330)), (int(rng.integers(0, SIZE[0] - 330)), 30))
        return image

    def on_grey() -> Image.Image:
        image = Image.new("RGB", SIZE, (60, 70, 80))
        image.paste(opened(photos).resize((300, 300)), (170, 30))
        return image

    def portrait() -> Image.Image:
        return ImageOps.fit(opened(people), SIZE)

    kinds = (photo, portrait_before_photo, on_grey, portrait)
    return {make.__name__.replace("_", " "): partial(as_pixels, make) for make in kinds}


def as_pixels(make: Callable[[], Image.Image]) -> Pixels:
    """A scene as a floating-point array."""
    return np.asarray(make(), float)


def changes(rng: np.random.Generator) -> dict[str, Change]:
    """Functions that make two frames of one shot from a scene (and, for dissolves and pans, a second scene)."""
    return {
        "still": lambda scene, _: (scene, scene),
        "flash ×2": lambda scene, _: (scene, scene * 2),
        "flash ×8": lambda scene, _: (scene, scene * 8 + 100),
        "flash from one side": partial(local_flash, rng),
        "darkness ×0.3": lambda scene, _: (scene, scene * 0.3),
        "dissolve, a tenth": lambda scene, other: (0.55 * scene + 0.45 * other, 0.45 * scene + 0.55 * other),
        "zoom 2 %": partial(zoom, 1.02),
        "zoom 5 %": partial(zoom, 1.05),
        "zoom 10 %": partial(zoom, 1.1),
        "pan 20 pixels": partial(pan, rng, 20),
        "pan 100 pixels": partial(pan, rng, 100),
        "caption": caption,
        "passer-by, 30 %": partial(passer_by, rng),
    }


def zoom(factor: float, scene: Pixels, _: Pixels) -> tuple[Pixels, Pixels]:
    """The camera zooms in."""
    image = Image.fromarray(scene.astype(np.uint8))
    width, height = round(SIZE[0] * factor), round(SIZE[1] * factor)
    left, top = (width - SIZE[0]) // 2, (height - SIZE[1]) // 2
    larger = image.resize((width, height)).crop((left, top, left + SIZE[0], top + SIZE[1]))
    return scene, np.asarray(larger, float)


def pan(rng: np.random.Generator, pixels: int, scene: Pixels, other: Pixels) -> tuple[Pixels, Pixels]:
    """The camera pans over two scenes side by side."""
    panorama = np.concatenate([scene, other], axis=1)
    x = int(rng.integers(0, SIZE[0] - pixels))
    return panorama[:, x : x + SIZE[0]], panorama[:, x + pixels : x + pixels + SIZE[0]]


def local_flash(rng: np.random.Generator, scene: Pixels, _: Pixels) -> tuple[Pixels, Pixels]:
    """A flash lights up part of the scene."""
    y, x = np.mgrid[: SIZE[1], : SIZE[0]]
    distance = np.hypot(x - rng.uniform(0, SIZE[0]), y - rng.uniform(0, SIZE[1]))
    return scene, scene * (1 + 3 * np.exp(-((distance / 150) ** 2)))[..., None]


def caption(scene: Pixels, _: Pixels) -> tuple[Pixels, Pixels]:
    """A caption appears."""
    after = scene.copy()
    after[260:340, 40:600] = (20, 40, 120)
    return scene, after


def passer_by(rng: np.random.Generator, scene: Pixels, _: Pixels) -> tuple[Pixels, Pixels]:
    """A person walks through the image."""
    after, x = scene.copy(), int(rng.integers(0, SIZE[0] - 190))
    after[:, x : x + 190] = rng.integers(0, 120, 3)
    return scene, after


if __name__ == "__main__":
    main()
