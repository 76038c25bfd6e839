"""Shot cuts found and false alarms, on scenes made of photographs: pairs of frames, and changes that are no cut.

python benchmarks/cuts.py FOLDER_OF_PHOTOGRAPHS [FOLDER_OF_PORTRAITS] --count 40
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from mftn.video.cuts import compare, thumbnail

SIZE = (640, 360)
Pixels = NDArray[np.float64]


def main() -> None:
    """Print the share of cuts per kind of scene and the share of false alarms per kind of change."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("portraits", type=Path, nargs="?")
    parser.add_argument("--count", type=int, default=40)
    chosen = parser.parse_args()
    rng = np.random.default_rng(0)
    photos = sorted(chosen.photographs.glob("*.jpg")) + sorted(chosen.photographs.glob("*.png"))
    portraits = sorted((chosen.portraits or chosen.photographs).glob("*.jpg"))

    def opened(paths: list[Path]) -> Image.Image:
        return Image.open(paths[rng.integers(len(paths))]).convert("RGB")

    def photo() -> Image.Image:
        return ImageOps.fit(opened(photos), SIZE)

    def portrait_before_photo() -> Image.Image:
        image = photo()
        image.paste(opened(portraits).resize((330, 330)), (int(rng.integers(0, SIZE[0] - 330)), 30))
        return image

    def on_grey() -> Image.Image:
        image = Image.new("RGB", SIZE, (60, 70, 80))
        image.paste(opened(photos).resize((300, 300)), (170, 30))
        return image

    def portrait() -> Image.Image:
        return ImageOps.fit(opened(portraits), SIZE)

    def cut(first: Pixels, second: Pixels) -> bool:
        noisy = (np.clip(each + rng.normal(0, 5, each.shape), 0, 255).astype(np.uint8) for each in (first, second))
        return not compare(*(thumbnail(each) for each in noisy)).same

    scenes = (photo, portrait_before_photo, on_grey, portrait)
    for scene in scenes:
        hits = [cut(np.asarray(scene(), float), np.asarray(scene(), float)) for _ in range(chosen.count)]
        print(f"cut, {scene.__name__.replace('_', ' ')}: {np.mean(hits):.0%} of {len(hits)} found")
    for name, change in changes(rng).items():
        alarms = [
            cut(*change(np.asarray(scene(), float), np.asarray(scene(), float)))
            for scene in scenes
            for _ in range(chosen.count // 2)
        ]
        print(f"no cut, {name}: {np.mean(alarms):.1%} of {len(alarms)} false alarms")


def changes(rng: np.random.Generator) -> dict[str, Callable[[Pixels, Pixels], tuple[Pixels, Pixels]]]:
    """Two frames of one shot, made of one scene (and, for fades and pans, of another)."""

    def zoom(factor: float) -> Callable[[Pixels, Pixels], tuple[Pixels, Pixels]]:
        def change(scene: Pixels, _: Pixels) -> tuple[Pixels, Pixels]:
            image = Image.fromarray(scene.astype(np.uint8))
            width, height = round(SIZE[0] * factor), round(SIZE[1] * factor)
            left, top = (width - SIZE[0]) // 2, (height - SIZE[1]) // 2
            larger = image.resize((width, height)).crop((left, top, left + SIZE[0], top + SIZE[1]))
            return scene, np.asarray(larger, float)

        return change

    def pan(pixels: int) -> Callable[[Pixels, Pixels], tuple[Pixels, Pixels]]:
        def change(scene: Pixels, other: Pixels) -> tuple[Pixels, Pixels]:
            wide = np.concatenate([scene, other], axis=1)
            x = int(rng.integers(0, SIZE[0] - pixels))
            return wide[:, x : x + SIZE[0]], wide[:, x + pixels : x + pixels + SIZE[0]]

        return change

    def local_flash(scene: Pixels, _: Pixels) -> tuple[Pixels, Pixels]:
        y, x = np.mgrid[: SIZE[1], : SIZE[0]]
        distance = np.hypot(x - rng.uniform(0, SIZE[0]), y - rng.uniform(0, SIZE[1]))
        return scene, scene * (1 + 3 * np.exp(-((distance / 150) ** 2)))[..., None]

    def caption(scene: Pixels, _: Pixels) -> tuple[Pixels, Pixels]:
        after = scene.copy()
        after[260:340, 40:600] = (20, 40, 120)
        return scene, after

    def passer_by(scene: Pixels, _: Pixels) -> tuple[Pixels, Pixels]:
        after, x = scene.copy(), int(rng.integers(0, SIZE[0] - 190))
        after[:, x : x + 190] = rng.integers(0, 120, 3)
        return scene, after

    return {
        "still": lambda scene, _: (scene, scene),
        "flash ×2": lambda scene, _: (scene, scene * 2),
        "flash ×8": lambda scene, _: (scene, scene * 8 + 100),
        "flash from one side": local_flash,
        "darkness ×0.3": lambda scene, _: (scene, scene * 0.3),
        "dissolve, a tenth": lambda scene, other: (0.55 * scene + 0.45 * other, 0.45 * scene + 0.55 * other),
        "zoom 2 %": zoom(1.02),
        "zoom 5 %": zoom(1.05),
        "zoom 10 %": zoom(1.1),
        "pan 20 pixels": pan(20),
        "pan 100 pixels": pan(100),
        "caption": caption,
        "passer-by, 30 %": passer_by,
    }


if __name__ == "__main__":
    main()
