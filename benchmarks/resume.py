"""Kill `mftn predict --resume` repeatedly, and compare the finished table with that of an undisturbed run.

    python benchmarks/resume.py [--images 10000] [--kills 10] [--format parquet] [--seed 0]

The images are crops of a photograph in examples/, each rotated by a different angle, in a temporary folder tree. The
kills come at random times; three of four are SIGKILL, the others SIGTERM, SIGHUP or SIGINT.
"""

import argparse
import filecmp
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image as PillowImage

PHOTOS = Path(__file__).parents[1] / "examples" / "photos"
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


def make_images(folder: Path, count: int) -> None:
    """Write a tree of folders with a hundred images each."""
    face = PillowImage.open(PHOTOS / "astronaut.jpg").crop((150, 40, 300, 210))
    for number in range(count):
        place = folder / f"{number // 100:03}"
        place.mkdir(parents=True, exist_ok=True)
        face.rotate(number * 37 % 360 / 20 - 9).resize((75, 85)).save(place / f"{number:05}.jpg")


def main() -> None:
    """Make the images, run, kill, resume and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--format", choices=("parquet", "csv", "jsonl"), default="parquet")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    numbers = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "photos")
        make_images(folder, options.images)
        undisturbed, killed = (Path(temporary, f"{name}.{options.format}") for name in ("undisturbed", "killed"))
        command = [sys.executable, "-m", "mftn", "predict", str(folder), "-q", "--output"]
        start = time.perf_counter()
        subprocess.run([*command, str(undisturbed)], check=True)
        alone = time.perf_counter() - start
        print(f"{options.images:,} images, undisturbed: {alone:.0f} s, {options.images / alone:.0f} images/s")
        start, kills = time.perf_counter(), 0
        while True:
            process = subprocess.Popen([*command, str(killed), "--resume"])
            try:
                patience = numbers.uniform(0.3, alone / options.kills) if kills < options.kills else None
                status = process.wait(patience)
            except subprocess.TimeoutExpired:
                kind = numbers.choices(SIGNALS, (9, 1, 1, 1))[0]
                process.send_signal(kind)
                process.wait()
                kills += 1
                journal = Path(f"{killed}.resume")
                kept = f"{journal.stat().st_size / 1e6:.1f} MB kept" if journal.exists() else "nothing kept yet"
                print(f"  {kind.name} after {time.perf_counter() - start:.0f} s: {kept}")
                continue
            break
        took = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1000
        same = filecmp.cmp(killed, undisturbed, shallow=False)
        left = [path.name for path in Path(temporary).iterdir() if path not in (folder, killed, undisturbed)]
        left = [name for name in left if not name.endswith((".meta.json", ".resume"))]  # both are supposed to stay
        print(f"killed {kills} times: {took:.0f} s in all, exit status {status}, peak memory {peak:.0f} MB")
        print(f"the tables are {'equal to the last byte' if same else 'DIFFERENT'}; left over: {left or 'nothing'}")
    sys.exit(not same or bool(left) or status)


if __name__ == "__main__":
    main()
