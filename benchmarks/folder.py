"""Images per second and peak memory of `mftn predict` on a folder, by the folder's size.

The folder contains photographs of 350×350 pixels with one face each, group photographs, or very large photographs:

python benchmarks/folder.py [--images 1000 10000]
python benchmarks/folder.py --faces 48 --images 20
python benchmarks/folder.py --faces 1000 --images 4
python benchmarks/folder.py --megapixels 100 --images 6
"""

import argparse
import json
import math
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


def make_folder(folder: Path, images: int) -> None:
    """Write fifty different crops of the public-domain photographs, then links to these."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    photos = [Image.open(path).convert("RGB") for path in sorted(PHOTOS.glob("*.jpg"))]
    for number in range(images):
        path = folder / f"{number:05}.jpg"
        if number >= DIFFERENT:
            path.symlink_to(folder / f"{number % DIFFERENT:05}.jpg")
            continue
        photo = photos[number % len(photos)]
        side = min(photo.size) - int(rng.integers(0, 60))
        photo.resize((350, 350), box=(photo.width - side, 0, photo.width, side)).save(path, quality=90)


def make_large_folder(folder: Path, images: int, faces: int, megapixels: float) -> None:
    """Write one image, with copies of a 75×95 face on a grey background of the given size, and links to it."""
    folder.mkdir()
    face = Image.open(PHOTOS / "astronaut.jpg").convert("RGB").crop((150, 30, 300, 220)).resize((75, 95))
    columns = math.ceil(math.sqrt(faces))
    width, height = 75 * columns, 95 * math.ceil(faces / columns)
    scale = max(1.0, math.sqrt(megapixels * 1e6 / (width * height)))
    photo = Image.new("RGB", (round(width * scale), round(height * scale)), "grey")
    for number in range(faces):
        photo.paste(face, (number % columns * 75, number // columns * 95))
    photo.save(folder / "photo.jpg", quality=90)
    for number in range(1, images):
        (folder / f"{number:05}.jpg").symlink_to(folder / "photo.jpg")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[1000, 10000])
    parser.add_argument("--faces", type=int, default=0, help="faces in each image; 0 for photographs of one")
    parser.add_argument("--megapixels", type=float, default=0, help="size of each image; 0 for what its faces need")
    parser.add_argument("--engine", default="onnxruntime", choices=("onnxruntime", "openvino"))
    arguments = parser.parse_args()
    for images in sorted(arguments.images):
        with tempfile.TemporaryDirectory() as work:
            if arguments.faces or arguments.megapixels:
                make_large_folder(Path(work) / "photos", images, arguments.faces or 1, arguments.megapixels)
            else:
                make_folder(Path(work) / "photos", images)
            command = [sys.executable, "-m", "mftn", "predict", f"{work}/photos", "--output", f"{work}/faces.jsonl"]
            start = time.perf_counter()
            subprocess.run([*command, "--engine", arguments.engine], check=True, stderr=subprocess.DEVNULL)
            seconds = time.perf_counter() - start
            lines = (Path(work) / "faces.jsonl").read_text().splitlines()
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024  # maximum so far: folders grow
        faces = sum(len(json.loads(line)["faces"]) for line in lines)
        rate = len(lines) / seconds
        print(f"{len(lines):,} images, {faces:,} faces: {rate:.1f} images/s with the start, peak memory {peak:.0f} MB")


if __name__ == "__main__":
    main()
