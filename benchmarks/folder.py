"""Pictures a second and peak memory of `mftn predict` on a folder of 350×350 photographs, by the folder's size.

python benchmarks/folder.py [--pictures 1000 10000]
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

PHOTOS = Path(__file__).parents[1] / "examples" / "photos"
DIFFERENT = 50


def make_folder(folder: Path, pictures: int) -> None:
    """Cut-outs of the public-domain photographs, all different in the first fifty, then links to these."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    photos = [Image.open(path).convert("RGB") for path in sorted(PHOTOS.glob("*.jpg"))]
    for number in range(pictures):
        path = folder / f"{number:05}.jpg"
        if number >= DIFFERENT:
            path.symlink_to(folder / f"{number % DIFFERENT:05}.jpg")
            continue
        photo = photos[number % len(photos)]
        side = min(photo.size) - int(rng.integers(0, 60))
        photo.resize((350, 350), box=(photo.width - side, 0, photo.width, side)).save(path, quality=90)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, nargs="+", default=[1000, 10000])
    parser.add_argument("--engine", default="onnxruntime", choices=("onnxruntime", "openvino"))
    arguments = parser.parse_args()
    for pictures in sorted(arguments.pictures):
        with tempfile.TemporaryDirectory() as work:
            make_folder(Path(work) / "photos", pictures)
            command = [sys.executable, "-m", "mftn", "predict", f"{work}/photos", "--output", f"{work}/faces.jsonl"]
            start = time.perf_counter()
            subprocess.run([*command, "--engine", arguments.engine], check=True, stderr=subprocess.DEVNULL)
            seconds = time.perf_counter() - start
            lines = sum(1 for _ in (Path(work) / "faces.jsonl").open())
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024  # of the largest so far: folders grow
        print(f"{lines:,} pictures: {lines / seconds:.0f} a second with the start, peak memory {peak:.0f} MB")


if __name__ == "__main__":
    main()
