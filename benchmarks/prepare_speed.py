"""Faces per second that `mftn prepare` crops from 640×480 photographs with one and two processes, and where time goes.

    python benchmarks/prepare_speed.py [--images 1280] [--repeats 3] [--detectors yunet mtcnn]
    python benchmarks/prepare_speed.py --memory 100000    # peak memory for this many images, without detection

Images are made from the public-domain photographs of examples/: one face each, about 150 pixels wide, JPEG 92.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image as PillowImage

from mftn.data.prepare import arcface_preparation, prepare
from mftn.data.prepare.cropping import encode, laplacian_variance, perceptual_hash
from mftn.data.readers import read_records
from mftn.data.records import Record
from mftn.faces import DetectorName, load_detector
from mftn.faces.align import align
from mftn.faces.boxes import choose_face
from mftn.images import read_image

PHOTOS = Path(__file__).parents[1] / "examples" / "photos"


def make_images(root: Path, count: int) -> None:
    """Write a class folder of 640×480 photographs that differ in the scale and location of the face."""
    rng = np.random.default_rng(0)
    photos = [PillowImage.open(path).convert("RGB") for path in sorted(PHOTOS.glob("*.jpg"))]
    (root / "neutral").mkdir(parents=True)
    for number in range(count):
        photo = photos[number % len(photos)]
        width = int(640 * rng.uniform(1.0, 1.3))
        scaled = photo.resize((width, round(width * photo.height / photo.width)))
        left = int(rng.integers(0, scaled.width - 639))
        scaled.crop((left, 0, left + 640, 480)).save(root / "neutral" / f"{number:05}.jpg", quality=92)


def rate(root: Path, folder: Path, workers: int, detector: str, count: int) -> float:
    """Faces per second of a whole run, including the start of the processes."""
    start = time.perf_counter()
    preparation = arcface_preparation(112, detector=detector, format="jpg")
    prepare(read_records("folder", root), folder, preparation, workers=workers)
    return count / (time.perf_counter() - start)


def shares(root: Path, name: DetectorName, images: int = 60) -> dict[str, float]:
    """Milliseconds per image of each step, in one process with one thread."""
    detector, preparation = load_detector(name, min_score=0.3, threads=1), arcface_preparation(112, format="jpg")
    template = np.asarray(preparation.template)
    spent = dict.fromkeys(("decode", "detect", "warp", "encode", "hash and blur"), 0.0)
    for path in sorted(root.rglob("*.jpg"))[:images]:
        marks = [time.perf_counter()]
        image = read_image(path)
        marks.append(time.perf_counter())
        face = choose_face(detector.detect(image), image)
        marks.append(time.perf_counter())
        points = face.landmarks if face and face.landmarks is not None else template * 112
        crop = align(image, points, 112, template)
        marks.append(time.perf_counter())
        encode(crop, False, preparation)
        marks.append(time.perf_counter())
        grey = np.asarray(PillowImage.fromarray(crop).convert("L"))
        perceptual_hash(grey)
        laplacian_variance(grey)
        marks.append(time.perf_counter())
        for step, seconds in zip(spent, np.diff(marks), strict=True):
            spent[step] += 1000 * float(seconds) / images
    return spent


def memory(count: int) -> float:
    """Sum of the peak memory in MB of this process and two workers, for 48×48 images from a table."""
    rng = np.random.default_rng(0)

    def records() -> Iterator[Record]:
        for number in range(count):
            pixels = rng.integers(0, 256, 48 * 48, np.uint8).tobytes()
            yield Record(Path("table.csv"), f"table.csv:{number}", f"all/{number}", None, "neutral", pixels=pixels)

    with tempfile.TemporaryDirectory() as folder:
        prepare(records(), folder, arcface_preparation(48, detector="none"), workers=2)
    own, workers = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return (own + 2 * workers) / 1024


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1280)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--detectors", nargs="+", default=["yunet", "mtcnn"])
    parser.add_argument("--memory", type=int)
    arguments = parser.parse_args()
    if arguments.memory:
        print(f"{arguments.memory:,} images: peak {memory(arguments.memory):.0f} MB in all processes")
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "raw"
        make_images(root, arguments.images)
        for detector in arguments.detectors:
            rates: dict[int, list[float]] = {1: [], 2: []}
            for repeat in range(arguments.repeats):
                for workers, measured in rates.items():
                    out = Path(folder) / f"{detector}-{workers}-{repeat}"
                    measured.append(rate(root, out, workers, detector, arguments.images))
            one, two = (median(measured) for measured in rates.values())
            print(f"{detector}: one process {one:.0f} faces/s, two {two:.0f}, efficiency {two / one / 2:.2f}")
            spent = shares(root, detector)
            whole = sum(spent.values())
            print("  " + ", ".join(f"{step} {ms:.1f} ms ({ms / whole:.0%})" for step, ms in spent.items()))


if __name__ == "__main__":
    main()
